"""What every sparse layer promises, of every kind that there is."""

import math

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.layers import MaskedLayer
from keras_dsr.layers.registry import SPARSE_CLASS_OF, SPARSE_CONTAINER_OF
from keras_dsr.ops.initial_masks import active_units
from keras_dsr.ops.units import SINGLE, Slices
from keras_dsr.weights.sparse_weights import layers_of
from tests.helpers.layer_kinds import (
    ATTENTION,
    CELLS,
    KINDS,
    LAYERS,
    built,
    fill_dead_weights,
    inputs_of,
    kinds_in_turn,
    layer_of,
    masked_values,
    model_of,
    scrambled,
    stock_layer_of,
)
from tests.helpers.networks import bits, values

every_kind = pytest.mark.parametrize("kind", KINDS)
every_layer = pytest.mark.parametrize("kind", LAYERS)
ROLES = {
    "embedding": ["embeddings"],
    **{kind: ["depthwise_kernel", "pointwise_kernel"] for kind in ("separable1d", "separable2d")},
    **{kind: ["kernel", "recurrent_kernel"] for kind in (*CELLS, "simple_rnn", "lstm", "gru")},
    **{kind: ["gamma", "beta"] for kind in KINDS if kind.endswith("normalization")},
    "bidirectional": ["kernel", "recurrent_kernel"] * 2,
    "multi_head": ["kernel"] * 4,
    "group_query": ["kernel"] * 4,
}
SLICES = {
    **dict.fromkeys(["conv1d", "conv1d_transpose", "depthwise1d", "separable1d"], (0,)),
    **dict.fromkeys(["conv2d", "conv2d_transpose", "depthwise2d", "separable2d"], (0, 1)),
    **dict.fromkeys(["conv3d", "conv3d_transpose"], (0, 1, 2)),
}


def stock_twin(kind, model):
    """The model of the stock layer, with the masked weights of a sparse one."""
    twin = model_of(kind, stock_layer_of(kind))
    masked = {id(weight.variable): masked_values(weight) for weight in dsr.sparse_weights(model)}
    state = {id(v) for w in dsr.sparse_weights(model) for v in w.layer.state_variables.values()}
    twin.set_weights([masked.get(id(v), values(v)) for v in model.weights if id(v) not in state])
    return twin


def test_no_kind_is_forgotten():
    classes = [*SPARSE_CLASS_OF.values(), *SPARSE_CONTAINER_OF.values()]
    ours = {cls for cls in classes if cls.__module__.startswith("keras_dsr.")}
    assert {kind.sparse_class for kind in KINDS.values()} == ours
    for cls in ours:
        assert getattr(dsr, cls.__name__) is cls
        assert getattr(keras.layers, cls.__name__.removeprefix("Sparse")) is cls.stock_class
        assert issubclass(cls, cls.stock_class)


# The initial state


@kinds_in_turn(2)
def test_every_weight_begins_with_an_exact_number(kind):
    for sparsity in (0, 0.3, 0.9, 0.999):
        weights = dsr.sparse_weights(model_of(kind, sparsity=sparsity))
        assert [weight.role for weight in weights] == ROLES.get(kind, ["kernel"])
        for weight in weights:
            assert weight.count() == active_units(weight.size, sparsity)
            assert not values(weight.variable)[~values(weight.mask)].any()


@kinds_in_turn(0)
def test_a_slice_is_drawn_whole_where_a_window_has_one(kind):
    for weight in dsr.sparse_weights(model_of(kind, sparsity=0.6, pattern="kernel")):
        axes = SLICES.get(kind, ()) if weight.role in ("kernel", "depthwise_kernel") else ()
        units = weight.size // math.prod(weight.shape[axis] for axis in axes)
        assert (weight.pattern, weight.units) == ("kernel", Slices(axes) if axes else SINGLE)
        assert weight.count() == active_units(units, 0.6) * (weight.size // units)
        mask = values(weight.mask)
        assert (mask.any(axis=axes) == mask.all(axis=axes)).all()


@kinds_in_turn(1)
def test_the_seed_decides_the_masks(kind):
    masks = [[bits(w.mask) for w in dsr.sparse_weights(model_of(kind, mask_seed=seed))] for seed in (3, 3, 4)]
    assert masks[0] == masks[1] != masks[2]


# Pruned is zero


@kinds_in_turn(0)
def test_the_network_sees_the_stock_layer_with_masked_weights(kind):
    model = scrambled(model_of(kind))
    twin, inputs = stock_twin(kind, model), inputs_of(kind)
    outputs = values(model(inputs))
    assert np.isfinite(outputs).all() and outputs.any()
    assert outputs.tobytes() == bits(twin(inputs))
    assert bits(model(inputs, training=True)) == bits(twin(inputs, training=True))


@kinds_in_turn(2)
def test_mixed_precision_computes_in_half_and_stores_in_full(kind):
    model = scrambled(model_of(kind, dtype="mixed_float16"))
    outputs = model(inputs_of(kind))
    if kind not in CELLS:  # `keras.layers.RNN` around a cell has a policy of its own
        assert keras.backend.standardize_dtype(outputs.dtype) == "float16"
    assert np.isfinite(values(outputs).astype("float32")).all()
    for weight in dsr.sparse_weights(model):
        assert (weight.variable.dtype, weight.mask.dtype, weight.threshold.dtype) == ("float32", "bool", "float32")


@kinds_in_turn(1)
def test_a_dead_weight_gets_no_gradient(kind):
    model, inputs = model_of(kind), inputs_of(kind)
    fill_dead_weights(model, 7.0)
    before = [values(weight.variable) for weight in dsr.sparse_weights(model)]
    targets = np.random.default_rng(1).normal(size=model(inputs).shape)
    model.compile(
        keras.optimizers.SGD(0.1),
        "mse",
        run_eagerly=keras.backend.backend() != "jax",
        jit_compile=keras.backend.backend() == "jax",
    )
    model.train_on_batch(inputs, targets)
    for weight, old in zip(dsr.sparse_weights(model), before):
        mask, new = values(weight.mask), values(weight.variable)
        assert (new[~mask] == 7).all()
        assert (new != old)[mask].any(), weight.name


@kinds_in_turn(0, LAYERS)
def test_a_regularizer_does_not_see_dead_weights(kind):
    cls = KINDS[kind].sparse_class
    regularizers = {
        initializer.replace("initializer", "regularizer"): keras.regularizers.L2(1.0)
        for role, initializer in cls.initializers.items()
        if role in ROLES.get(kind, ["kernel"])
    }
    model = model_of(kind, **regularizers)
    fill_dead_weights(model, 5.0)
    expected = sum(np.square(masked_values(weight)).sum() for weight in dsr.sparse_weights(model))
    assert sum(map(float, model.losses)) == pytest.approx(expected, rel=1e-5)


# Which weights


@kinds_in_turn(1, LAYERS)
def test_a_mapping_names_the_weights_that_are_sparse_and_the_others_stay_dense(kind):
    for role in KINDS[kind].sparse_class.initializers:
        (weight,) = dsr.sparse_weights(model_of(kind, sparsity={role: 0.4}))
        assert (weight.role, weight.count()) == (role, active_units(weight.size, 0.4))
        assert weight.layer.sparse_roles == [role]
        fill_dead_weights(weight.layer, np.nan)
        assert (values(getattr(weight.layer, role))[~values(weight.mask)] == 0).all()


@kinds_in_turn(2, LAYERS)
def test_a_mapping_gives_each_weight_its_own_sparsity(kind):
    roles = list(KINDS[kind].sparse_class.initializers)
    sparsity = {role: 0.2 + 0.2 * number for number, role in enumerate(roles)}
    model = scrambled(model_of(kind, sparsity=sparsity))
    assert {w.role: w.count() for w in dsr.sparse_weights(model)} == {
        w.role: active_units(w.size, sparsity[w.role]) for w in dsr.sparse_weights(model)
    }
    assert sorted(w.role for w in dsr.sparse_weights(model)) == sorted(roles)
    assert bits(model(inputs_of(kind))) == bits(stock_twin(kind, model)(inputs_of(kind)))


def test_an_empty_mapping_is_a_dense_layer():
    assert dsr.sparse_weights(model_of("lstm", sparsity={})) == []


@pytest.mark.backends("tensorflow")  # it holds no tensor yet
@every_layer
def test_an_unknown_weight_is_refused_at_once(kind):
    name = KINDS[kind].sparse_class.__name__
    with pytest.raises(ValueError, match=rf"{name}\(sparsity=\.\.\.\) must name weights of the layer .*'none' in"):
        layer_of(kind, sparsity={"none": 0.5})


@pytest.mark.backends("tensorflow")
@every_kind
def test_a_sparsity_out_of_range_and_an_unknown_granularity_are_refused_at_once(kind):
    for sparsity in (1.0, -0.1, math.nan, "half", True):
        with pytest.raises(ValueError, match=r"Sparse\w+\(sparsity=\.\.\.\) must be a number in \[0, 1\)"):
            layer_of(kind, sparsity=sparsity)
    with pytest.raises(ValueError, match=r"Sparse\w+\(pattern=\.\.\.\) must be 'element'"):
        layer_of(kind, pattern="row")


# Configuration and files


def with_state(model):
    """The model with random signs, and ages in another dtype, for each weight, as methods keep them."""
    for layer in layers_of(model, MaskedLayer):
        layer.add_state("age", "float32")
        layer.add_state("signs", "int8")
    for number, weight in enumerate(dsr.sparse_weights(model)):
        random = np.random.default_rng(number)
        weight.states["signs"].assign(random.choice([-1, 1], weight.shape))
        weight.states["age"].assign(random.normal(size=weight.shape))
    return model


def sparse_state(model):
    """All that is kept for the sparse weights of a model, bit for bit, with the weights as the network sees them."""
    return [
        (w.role, w.pattern, masked_values(w).tobytes(), bits(w.mask), float(w.threshold))
        + tuple((name, state.dtype, bits(state)) for name, state in w.states.items())
        for w in dsr.sparse_weights(model)
    ]


@kinds_in_turn(0)
def test_the_configuration_makes_the_same_layer(kind):
    layer = built(kind, sparsity=0.6, pattern="kernel")
    for one in layers_of(layer, MaskedLayer):
        one.add_state("signs", "int8")
    again = type(layer).from_config(layer.get_config())
    model_of(kind, again)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    assert [(w.role, bits(w.mask)) for w in dsr.sparse_weights(again)] == [
        (w.role, bits(w.mask)) for w in dsr.sparse_weights(layer)
    ]
    assert all(w.states["signs"].dtype == "int8" for w in dsr.sparse_weights(again))


FILES = [(kind, suffix) for kind in KINDS for suffix in (".keras", ".weights.h5")]
SOME_FILES = [(kind, ".keras") for kind in list(KINDS)[2::3]] + [(kind, ".weights.h5") for kind in list(KINDS)[::3]]


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [pytest.param(*case, marks=[] if case in SOME_FILES else pytest.mark.thorough) for case in FILES],
)
def test_files_restore_masks_weights_thresholds_and_states(tmp_path, kind, suffix):
    model = with_state(scrambled(model_of(kind, pattern="kernel")))
    path, expected = tmp_path / f"model{suffix}", sparse_state(model)
    (model.save if suffix == ".keras" else model.save_weights)(path)
    models = [model_of(kind, pattern="kernel", mask_seed=99)]  # starts from other masks, without states
    assert [bits(w.mask) for w in dsr.sparse_weights(models[0])] != [bits(w.mask) for w in dsr.sparse_weights(model)]
    models[0].load_weights(path)
    if suffix == ".keras":
        models.append(keras.models.load_model(path))
    for loaded in models:
        assert sparse_state(loaded) == expected
        assert [bits(w.variable) for w in dsr.sparse_weights(loaded)] == [state[2] for state in expected]  # zeros
        assert bits(loaded(inputs_of(kind))) == bits(model(inputs_of(kind)))


@kinds_in_turn(1)
def test_a_file_keeps_which_weights_are_sparse_biases_too(tmp_path, kind):
    roles = ["bias"] if kind in ("simple_rnn", "lstm", "gru", "bidirectional") else ["key"]
    if kind in LAYERS:
        roles = list(KINDS[kind].sparse_class.initializers)[1:] or ["embeddings"]
    sparsity = dict.fromkeys(roles, 0.7)
    if kind in ATTENTION:
        sparsity["value"] = {"bias": 0.5, "kernel": 0.2}
    model = scrambled(model_of(kind, sparsity=sparsity))
    assert [w.role for w in dsr.sparse_weights(model)]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert sparse_state(loaded) == sparse_state(model)
    assert bits(loaded(inputs_of(kind))) == bits(model(inputs_of(kind)))


@kinds_in_turn(2)
def test_weights_of_a_dense_model_do_not_load_into_a_sparse_one_nor_the_other_way(tmp_path, kind):
    sparse, dense = model_of(kind), model_of(kind, stock_layer_of(kind))
    dense.save_weights(tmp_path / "dense.weights.h5")
    before = sparse_state(sparse)
    with pytest.raises(ValueError, match=r"have masks for no weight, and the layer has sparse weights: \w+") as error:
        sparse.load_weights(tmp_path / "dense.weights.h5")
    assert "load first, then call `keras_dsr.sparsify(model, mask='magnitude')`" in str(error.value)
    assert sparse_state(sparse) == before


@pytest.mark.parametrize("kind", ["separable2d", "lstm_cell", "lstm", "bidirectional", "layer_normalization"])
def test_weights_with_masks_of_other_roles_are_refused(tmp_path, kind):
    first, second = ROLES[kind][:2]
    model, other = model_of(kind, sparsity={first: 0.5}), model_of(kind, sparsity={second: 0.5})
    model.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(ValueError, match=f"have masks for {first}, and the layer has sparse weights: {second}"):
        other.load_weights(tmp_path / "model.weights.h5")


@pytest.mark.backends("tensorflow")
@every_layer
def test_an_unbuilt_layer_has_no_weight_to_show(kind):
    layer = layer_of(kind)
    assert isinstance(layer, MaskedLayer) and layer.sparse_roles == [] and layer.state_variables == {}
    with pytest.raises(ValueError, match="has not been built"):
        dsr.sparse_weights(layer)


@keras.saving.register_keras_serializable("tests")
class Scaled(keras.layers.Dense):
    """A layer of a user's own, which reads its kernel as `Dense` does."""

    def call(self, inputs):
        return 2 * super().call(inputs)


@keras.saving.register_keras_serializable("tests")
class SparseScaled(MaskedLayer, Scaled):
    stock_class = Scaled


def test_a_sparse_class_of_a_users_own_stands_for_the_stock_class_that_it_names(tmp_path):
    model = keras.Sequential([keras.Input((6,)), Scaled(5), keras.layers.Dense(3)])
    report = dsr.sparsify(model, sparsity=0.5)
    assert [row.layer for row in report.rows] == ["Scaled", "Dense"]
    assert [type(layer) for layer in model.layers] == [SparseScaled, dsr.SparseDense]
    x = np.ones((2, 6), "float32")
    outputs = values(model(x))
    weight, _ = dsr.sparse_weights(model)
    kernel = np.zeros(30)
    kernel[weight.positions()] = weight.values()
    np.testing.assert_allclose(values(model.layers[0](x)), 2 * x @ kernel.reshape(6, 5), rtol=1e-5)
    dsr.save(model, tmp_path / "model.keras", resumable=True)
    assert bits(keras.models.load_model(tmp_path / "model.keras")(x)) == bits(outputs)
    assert [type(layer) for layer in dsr.strip(model).layers] == [Scaled, keras.layers.Dense]


def test_a_subclass_that_names_no_stock_class_stands_for_none():
    class Mine(dsr.SparseDense):
        pass

    assert SPARSE_CLASS_OF[keras.layers.Dense] is dsr.SparseDense
    assert Mine not in SPARSE_CLASS_OF.values()
