import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_dsr as dsr
from keras_dsr.layers.initial_scale import largest_draw, scale_factor
from keras_dsr.methods import SET
from keras_dsr.ops.randomness import StepSeed
from keras_dsr.weights.reallocation import Reallocation
from tests.helpers.layer_kinds import built, kinds_in_turn, layer_of, model_of
from tests.helpers.networks import bits, compiled, selected, values

pytestmark = pytest.mark.slow_on("tensorflow", "jax")  # it is above the backends, and they trace or compile for long

INITIALIZERS = keras.initializers
BY_FANS = {
    "glorot_uniform": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "glorot_normal": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he_normal": lambda fan_in, fan_out: 2 / fan_in,
    "he_uniform": lambda fan_in, fan_out: 2 / fan_in,
    "lecun_normal": lambda fan_in, fan_out: 1 / fan_in,
    "lecun_uniform": lambda fan_in, fan_out: 1 / fan_in,
    "fan_out": lambda fan_in, fan_out: 3 / fan_out,
}
OTHERS = {
    "random_normal": "random_normal",
    "random_uniform": "random_uniform",
    "truncated_normal": "truncated_normal",
    "ones": "ones",
    "constant": INITIALIZERS.Constant(0.3),
    "identity": "identity",
    "function": lambda shape, dtype=None: keras.ops.full(shape, 0.5, dtype=dtype),
}


class OwnScaling(keras.initializers.VarianceScaling):
    """A user's subclass, of half the variance of LeCun's."""

    def __init__(self, seed=None):
        super().__init__(0.5, "fan_in", "untruncated_normal", seed)

    def get_config(self):
        return {"seed": self._init_seed}


def initializer_named(name: str):
    return INITIALIZERS.VarianceScaling(3.0, "fan_out", "untruncated_normal") if name == "fan_out" else name


def active_values(layer) -> np.ndarray:
    """The weights that exist, of a layer in either storage."""
    return dsr.sparse_weights(keras.Sequential([layer]))[0].values()


def check_deviation(drawn: np.ndarray, variance: float):
    """Of n draws the sample deviation is off by at most 1 / sqrt(2n), one standard error."""
    assert drawn.std() == pytest.approx(math.sqrt(variance), rel=5 / math.sqrt(2 * drawn.size))
    assert abs(drawn.mean()) < 5 * math.sqrt(variance / drawn.size)


# The factor


@pytest.mark.parametrize(
    ("initializer", "shape", "density", "expected"),
    [
        (INITIALIZERS.HeNormal(), (100, 50), 0.25, 2),
        (INITIALIZERS.GlorotUniform(), (1000, 600), 0.01, 10),
        (INITIALIZERS.VarianceScaling(1, "fan_out"), (100, 64), 1 / 16, 4),
        (INITIALIZERS.LecunNormal(), (3, 3, 4, 8), 0.25, 2),  # 36 inputs, 9 of them
        (INITIALIZERS.HeNormal(), (20, 50), 0.01, math.sqrt(20)),  # 0.2 inputs on average, but one where there is any
        (INITIALIZERS.Orthogonal(), (16, 64), 0.25, 2),
        (INITIALIZERS.HeNormal(), (100, 50), 1.0, 1),
        (INITIALIZERS.HeNormal(input_axes=[1], output_axes=[0]), (50, 100), 0.01, 10),
        (INITIALIZERS.RandomNormal(), (100, 50), 0.01, 1),
        (INITIALIZERS.Identity(), (100, 100), 0.01, 1),
        (len, (100, 50), 0.01, 1),
    ],
)
def test_the_factor_is_the_root_of_the_dense_fan_over_the_active_one(initializer, shape, density, expected):
    assert scale_factor("active", initializer, shape, density) == pytest.approx(expected)
    assert scale_factor("dense", initializer, shape, density) == 1


@given(
    shape=st.lists(st.integers(1, 40), min_size=1, max_size=5).map(tuple),
    density=st.floats(1e-4, 1),
    mode=st.sampled_from(["fan_in", "fan_out", "fan_avg"]),
)
def test_the_variance_becomes_that_of_the_active_fan_for_every_shape_and_mode(shape, density, mode):
    window = math.prod(shape[:-2])
    fan_in, fan_out = (shape[0],) * 2 if len(shape) == 1 else (window * shape[-2], window * shape[-1])
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    factor = scale_factor("active", INITIALIZERS.VarianceScaling(2.0, mode), shape, density)
    assert 2.0 / fan * factor**2 == pytest.approx(2.0 / max(1, fan * density))


@given(
    name=st.sampled_from(["glorot_uniform", "he_normal", "lecun_uniform", "orthogonal"]),
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_no_draw_is_larger_than_the_largest_one(name, shape):
    initializer = INITIALIZERS.get(name)
    drawn = values(initializer(shape, dtype="float32"))
    assert np.abs(drawn).max() <= largest_draw(initializer, shape) * 1.0001


# What layers draw


@given(
    name=st.sampled_from(list(BY_FANS)),
    inputs=st.integers(150, 400),
    units=st.integers(150, 400),
    sparsity=st.floats(0.5, 0.97),
    storage=st.sampled_from(["masked", "compact"]),
)
@pytest.mark.filterwarnings("ignore:.*likely to be slower")
def test_first_weights_have_the_variance_promised_for_the_active_fan(name, inputs, units, sparsity, storage):
    layer = dsr.SparseDense(
        units,
        sparsity=sparsity,
        mask_seed=0,
        kernel_initializer=initializer_named(name),
        initial_scale="active",
        storage=storage,
    )
    layer.build((None, inputs))
    drawn = active_values(layer)
    density = drawn.size / (inputs * units)
    check_deviation(drawn, BY_FANS[name](inputs * density, units * density))


@given(
    filters=st.integers(40, 80),
    groups=st.sampled_from([1, 2]),
    pattern=st.sampled_from(["element", "kernel"]),
    sparsity=st.floats(0.5, 0.9),
)
def test_a_convolution_in_groups_sums_over_the_inputs_of_one(filters, groups, pattern, sparsity):
    layer = dsr.SparseConv2D(
        filters - filters % groups,
        3,
        groups=groups,
        pattern=pattern,
        sparsity=sparsity,
        mask_seed=0,
        kernel_initializer="he_normal",
        initial_scale="active",
    )
    layer.build((None, 8, 8, 40))
    drawn = active_values(layer)
    check_deviation(drawn, 2 / (9 * 40 / groups * drawn.size / values(layer.kernel_mask).size))


def test_an_einsum_that_sums_over_two_axes_has_their_product_as_fan_in():
    for storage in ("masked", "compact"):
        layer = dsr.SparseEinsumDense(
            "abcd,cde->abe",
            (7, 60),
            sparsity=0.95,
            mask_seed=0,
            kernel_initializer="lecun_normal",
            initial_scale="active",
            storage=storage,
        )
        layer.build((None, 7, 20, 30))
        check_deviation(active_values(layer), 1 / (600 * 0.05))


def test_compact_and_masked_scale_by_the_same_factor():
    def factor(**settings):
        layer = dsr.SparseDense(500, sparsity=0.98, mask_seed=0, **settings)
        layer.build((None, 400))
        return dsr.sparse_weights(keras.Sequential([layer]))[0].holder.scale_factor_of("kernel")

    assert factor(initial_scale="active") == factor(initial_scale="active", storage="compact")
    assert factor(initial_scale="active") == pytest.approx(math.sqrt(50))
    assert factor() == factor(storage="compact") == 1


@kinds_in_turn(0)
def test_every_kind_draws_what_it_draws_at_dense_scale_times_the_factor(kind):
    def drawn(scale):
        keras.utils.set_random_seed(5)
        return {weight.role + weight.name: weight for weight in dsr.sparse_weights(model_of(kind, initial_scale=scale))}

    dense, active = drawn("dense"), drawn("active")
    scaled = "embedding" not in kind and "normalization" not in kind  # theirs are drawn uniformly, ones and zeros
    for before, after in zip(dense.values(), active.values(), strict=True):
        np.testing.assert_array_equal(before.positions(), after.positions())
        factor = math.sqrt(before.size / before.count()) if scaled else 1
        np.testing.assert_allclose(after.values(), before.values() * np.float32(factor), rtol=1e-6)
        assert not values(after.variable)[~values(after.mask)].any()


@pytest.mark.parametrize("name", list(OTHERS))
def test_initializers_that_do_not_scale_by_fans_draw_the_same_bits(name):
    def drawn(scale):
        keras.utils.set_random_seed(5)
        layer = dsr.SparseDense(
            12, sparsity=0.8, mask_seed=1, kernel_initializer=OTHERS[name], initial_scale=scale, use_bias=False
        )
        layer.build((None, 12))
        return bits(layer.kernel)

    assert drawn("active") == drawn("dense")


def test_a_subclass_of_variance_scaling_is_scaled():
    layer = dsr.SparseDense(
        300, sparsity=0.9, mask_seed=0, kernel_initializer=OwnScaling(), initial_scale="active", use_bias=False
    )
    layer.build((None, 200))
    check_deviation(active_values(layer), 0.5 / 20)


def test_dense_scale_is_the_default_and_has_the_bits_of_the_initializer():
    initializer = keras.initializers.GlorotUniform(seed=4)
    layer = dsr.SparseDense(12, sparsity=0.5, mask_seed=1, kernel_initializer=initializer)
    layer.build((None, 7))
    assert layer.initial_scale == "dense"
    whole = values(keras.initializers.GlorotUniform(seed=4)((7, 12)))
    assert bits(layer.kernel) == bits(np.where(values(layer.kernel_mask), whole, np.float32(0)))


@pytest.mark.parametrize("dtype", selected(["float16", "bfloat16", "float64", "mixed_float16"], ["bfloat16"]))
def test_first_weights_keep_their_dtype(dtype):
    layer = dsr.SparseDense(300, sparsity=0.9, mask_seed=0, initial_scale="active", dtype=dtype)
    layer.build((None, 200))
    variable = layer.variable_of("kernel")
    assert keras.backend.standardize_dtype(variable.dtype) == layer.variable_dtype
    drawn = values(variable).astype("float64")
    check_deviation(drawn[drawn != 0], 2 / 50)


def test_a_deep_network_at_active_scale_passes_its_signal_on():
    """He's initializer promises that the mean square of what a ReLU network computes neither falls nor grows."""

    def mean_square(scale):
        settings = {"sparsity": 0.98, "kernel_initializer": "he_normal", "activation": "relu", "initial_scale": scale}
        layers = [dsr.SparseDense(500, mask_seed=seed, **settings) for seed in range(6)]
        model = keras.Sequential([keras.Input((500,)), *layers])
        inputs = np.random.default_rng(0).normal(size=(64, 500)).astype("float32")
        return float(np.square(model.predict(inputs, verbose=0)).mean())

    assert 0.2 < mean_square("active") < 5
    assert mean_square("dense") < 1e-8  # 0.02 a layer


# Grown weights


@pytest.mark.parametrize("storage", ["masked", "compact"])
def test_newborn_weights_are_drawn_at_the_scale_of_first_weights(storage):
    def drawn(scale):
        layer = dsr.SparseDense(300, sparsity=0.96, mask_seed=0, initial_scale=scale, storage=storage)
        model = keras.Sequential([keras.Input((200,)), layer])
        (weight,) = dsr.sparse_weights(model)
        places = () if storage == "masked" else (500,)
        return values(weight.initial_values(StepSeed(0, 0, 1, "test"), *places))

    np.testing.assert_allclose(drawn("active"), drawn("dense") * 5, rtol=1e-6)


def test_weights_that_a_reallocation_grows_have_the_promised_variance():
    layer = dsr.SparseDense(200, sparsity=0.9, mask_seed=1, initial_scale="active")
    model = compiled(keras.Sequential([keras.Input((150,)), layer]))
    old = values(layer.kernel_mask)
    Reallocation(model, SET(0.5, growth="initializer"), seed=0)()
    born = values(layer.kernel_mask) & ~old
    assert born.sum() == 1500
    check_deviation(values(layer.variable_of("kernel"))[born], 2 / 35)


def test_newborn_weights_of_a_layer_that_lost_some_keep_the_scale_of_its_first_weights():
    layer = dsr.SparseDense(200, sparsity=0.9, mask_seed=1, initial_scale="active")
    model = keras.Sequential([keras.Input((150,)), layer])
    (weight,) = dsr.sparse_weights(model)
    seed = StepSeed(0, 0, 1, "test")
    before = bits(weight.initial_values(seed))
    fewer = values(layer.kernel_mask)
    fewer[:75] = False
    weight.set_mask(fewer)
    assert bits(weight.initial_values(seed)) == before


# Configs


@kinds_in_turn(1)
def test_configs_keep_the_scale_and_those_without_it_mean_dense(kind):
    layer = built(kind, initial_scale="active")
    config = layer.get_config()
    again = type(layer).from_config(config)
    model_of(kind, again)
    assert again.get_config() == config

    def scales(model):
        return {weight.holder.initial_scale for weight in dsr.sparse_weights(model)}

    assert scales(model_of(kind, type(layer).from_config(config))) == {"active"}
    if kind == "bidirectional":
        del config["layer"]["config"]["initial_scale"], config["backward_layer"]["config"]["initial_scale"]
    else:
        del config["initial_scale"]
    assert scales(model_of(kind, type(layer).from_config(config))) == {"dense"}


@pytest.mark.parametrize("storage", ["masked", "compact", "auto"])
def test_the_storages_take_the_scale(storage):
    layer = dsr.SparseDense(30, sparsity=0.95, initial_scale="active", storage=storage)
    model = keras.Sequential([keras.Input((20,), batch_size=8), layer])
    (weight,) = dsr.sparse_weights(model)
    assert layer.get_config()["initial_scale"] == "active"
    assert np.abs(weight.values()).max() > math.sqrt(6 / 50)  # the largest that Glorot draws at dense scale


@kinds_in_turn(2)
def test_strip_leaves_no_trace_of_the_scale(kind):
    model = dsr.strip(model_of(kind, initial_scale="active"))
    assert not [layer for layer in model._flatten_layers() if hasattr(layer, "initial_scale")]


@pytest.mark.parametrize("kind", ["dense", "lstm", "multi_head"])
@pytest.mark.parametrize("scale", ["sparse", None, 1.0, ["active"]])
def test_an_unknown_scale_is_refused(kind, scale):
    with pytest.raises(
        ValueError, match=r"initial_scale=\.\.\.\) must be 'active' .* or 'dense' .*Received: initial_s"
    ):
        layer_of(kind, initial_scale=scale)


def test_compact_layers_refuse_an_unknown_scale_too():
    with pytest.raises(ValueError, match=r"CompactDense\(initial_scale=\.\.\.\) must be 'active'"):
        dsr.layers.CompactDense(5, sparsity=0.95, initial_scale="sparse")
