import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.ops.randomness import StepSeed
from tests.helpers.model_kinds import functional_model, nested_model, shared_model, subclassed_model
from tests.helpers.networks import bits, perceptron, values


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (perceptron, ["hidden", "classes"]),
        (functional_model, ["a", "b", "c"]),
        (shared_model, ["shared"]),
        (nested_model, ["inner", "outer"]),
        (subclassed_model, ["first", "second", "third", "fourth", "head"]),
    ],
)
def test_finds_every_sparse_weight_once_in_the_order_of_the_model(build, names):
    assert [weight.layer.name for weight in dsr.sparse_weights(build())] == names


def test_a_layer_that_two_models_share_is_found_in_both():
    layer = dsr.SparseDense(4, name="shared")
    models = [keras.Sequential([keras.Input((8,)), layer]) for _ in range(2)]
    assert [dsr.sparse_weights(model)[0].layer for model in models] == [layer, layer]


def test_a_single_layer_has_sparse_weights_too():
    layer = dsr.SparseDense(4)
    layer.build((None, 8))
    assert [weight.layer for weight in dsr.sparse_weights(layer)] == [layer]


def test_a_model_without_sparse_layers_has_none():
    assert dsr.sparse_weights(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])) == []


def test_a_sparse_weight_shows_its_parts():
    (weight,) = dsr.sparse_weights(keras.Sequential([keras.Input((3,)), dsr.SparseDense(4, sparsity=0.5, name="it")]))
    layer = weight.layer
    assert weight.variable is layer._kernel
    assert weight.mask is layer.kernel_mask
    assert weight.threshold is layer.kernel_threshold
    assert weight.name.endswith("it/kernel")
    assert (weight.shape, weight.count(), weight.pattern, weight.units.are_single) == ((3, 4), 6, "element", True)
    assert repr(weight) == f"<SparseWeight {weight.name} shape=(3, 4) active=6>"


def test_positions_are_sorted_flat_and_int64_and_values_are_in_their_order():
    (weight,) = dsr.sparse_weights(keras.Sequential([keras.Input((2,)), dsr.SparseDense(4, sparsity=0.5)]))
    weight.mask.assign([[False, True, False, True], [True, False, False, False]])
    weight.variable.assign([[9, 1, 9, 2], [3, 9, 9, 9]])
    assert weight.count() == 3
    assert weight.positions().dtype == np.int64
    assert weight.positions().tolist() == [1, 3, 4]
    assert weight.values().tolist() == [1, 2, 3]


def test_positions_and_values_rebuild_the_kernel():
    for weight in dsr.sparse_weights(functional_model()):
        kernel = np.zeros(weight.shape, "float32")
        kernel.reshape(-1)[weight.positions()] = weight.values()
        assert kernel.tobytes() == bits(weight.layer.kernel)
        assert weight.count() == weight.positions().size == values(weight.mask).sum()


@pytest.mark.parametrize(
    "build",
    [
        lambda: keras.Sequential([dsr.SparseDense(4, name="late")], name="net"),
        lambda: keras.Sequential([keras.layers.Dense(4)], name="net"),
        lambda: dsr.SparseDense(4, name="net"),
    ],
)
def test_an_unbuilt_model_is_refused_with_what_to_do(build):
    with pytest.raises(ValueError, match=r"'net' do not exist yet: .*has not been built\. Give the model an `Input`"):
        dsr.sparse_weights(build())


def small_weight(**settings):
    layer = dsr.SparseDense(4, sparsity=0.5, mask_seed=1, name="it", **settings)
    return dsr.sparse_weights(keras.Sequential([keras.Input((3,)), layer]))[0]


def test_the_size_counts_all_places():
    assert small_weight().size == 12
    model = keras.Sequential([keras.Input((8, 8, 2)), dsr.SparseConv2D(4, 3, pattern="kernel")])
    assert dsr.sparse_weights(model)[0].size == 72


@pytest.mark.parametrize("kind", [np.array, np.ndarray.tolist, lambda mask: mask.astype("float32")])
def test_set_mask_replaces_the_mask_and_clears_what_is_dead_by_it(kind):
    weight = small_weight()
    weight.variable.assign(np.arange(1, 13).reshape(3, 4) * -1.0)
    mask = np.arange(12).reshape(3, 4) % 3 == 0
    weight.set_mask(kind(mask))
    np.testing.assert_array_equal(values(weight.mask), mask)
    np.testing.assert_array_equal(values(weight.variable), np.where(mask, -np.arange(1, 13).reshape(3, 4), 0))
    assert not np.signbit(values(weight.variable)[~mask]).any()
    assert weight.positions().tolist() == [0, 3, 6, 9]


@pytest.mark.parametrize(
    ("mask", "received"),
    [
        (np.ones((4, 3), bool), r"shape \(4, 3\) with 12 true entries"),
        (np.ones(12, bool), r"shape \(12,\) with 12"),
        (np.zeros((3, 4), bool), r"shape \(3, 4\) with 0 true entries"),
        (True, r"shape \(\) with 1"),
        (np.full((3, 4), 2), r"mask=array\(\[\[2, 2, 2, 2\],"),
        (np.full((3, 4), np.nan), r"mask=array\(\[\[nan,"),
        ("x", "mask='x'"),
    ],
)
def test_set_mask_refuses_another_shape_and_an_empty_mask_and_changes_nothing(mask, received):
    weight = small_weight()
    before = bits(weight.mask), bits(weight.variable)
    with pytest.raises(
        ValueError,
        match=rf"it/kernel' must be a bool array of shape \(3, 4\) with at least one true entry\. Received: {received}",
    ):
        weight.set_mask(mask)
    assert (bits(weight.mask), bits(weight.variable)) == before


def test_state_is_found_by_name():
    weight = small_weight()
    assert "signs" not in weight.states
    weight.add_state("signs", "int8")
    variable = weight.layer.kernel_signs
    assert weight.states["signs"] is variable
    assert "mask" not in weight.states, "it is the layer's, not a method's"
    assert "other" not in weight.states


@pytest.mark.parametrize("seed", [None, 7])
def test_initial_values_are_drawn_by_the_initializer_from_the_given_seed(seed):
    weight = small_weight(kernel_initializer=keras.initializers.RandomUniform(2, 3, seed=seed))

    def drawn(step):
        return values(weight.initial_values(StepSeed(0, 0, step, "test")))

    assert drawn(1).shape == (3, 4)
    assert drawn(1).dtype == np.float32
    assert ((drawn(1) >= 2) & (drawn(1) <= 3)).all()
    assert bits(drawn(1)) == bits(drawn(1)) != bits(drawn(2))


def test_initial_values_of_an_initializer_without_a_seed_are_what_it_gives():
    seed = StepSeed(0, 0, 1, "test")
    assert (values(small_weight(kernel_initializer="ones").initial_values(seed)) == 1).all()
    weight = small_weight(kernel_initializer=lambda shape, dtype=None: keras.ops.full(shape, 0.5, dtype=dtype))
    assert (values(weight.initial_values(seed)) == 0.5).all()


@pytest.mark.parametrize("storage", ["masked", "compact"])
def test_newborn_weights_of_an_einsum_have_the_scale_of_the_first_ones(storage):
    if storage == "compact" and keras.backend.backend() == "jax":
        pytest.skip("no compact storage")
    layer = dsr.SparseEinsumDense("abc,cde->abde", (None, 8, 64), sparsity=0.5, storage=storage)
    layer.build((None, 3, 32))
    (weight,) = dsr.sparse_weights(layer)
    seed = StepSeed(0, 0, 1, "test")
    drawn = values(weight.initial_values(seed) if storage == "masked" else weight.initial_values(seed, 8_192))
    assert drawn.std() == pytest.approx(weight.values().std(), rel=0.03)


@pytest.mark.parametrize(
    "dtype",
    ["float16", "bfloat16", pytest.param("float64", marks=pytest.mark.backends("tensorflow", "torch"))],  # not on JAX
)
def test_initial_values_have_the_dtype_of_the_weight(dtype):
    drawn = small_weight(dtype=dtype).initial_values(StepSeed(0, 0, 1, "test"))
    assert keras.backend.standardize_dtype(drawn.dtype) == dtype
