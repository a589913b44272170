import math

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dsr as dsr
from keras_dsr.ops.initial_masks import active_units
from keras_dsr.ops.units import SINGLE, Slices
from tests.helpers.layer_kinds import scrambled
from tests.helpers.networks import (
    active_counts,
    batch,
    bits,
    compiled,
    fill_dead,
    fit,
    gradient_of,
    perceptron,
    selected,
    values,
)

LAYERS = {
    "dense": (lambda **k: dsr.SparseDense(12, **k), (7,)),
    "conv1d": (lambda **k: dsr.SparseConv1D(6, 3, **k), (9, 4)),
    "conv2d": (lambda **k: dsr.SparseConv2D(6, (3, 2), **k), (8, 8, 4)),
    "conv3d": (lambda **k: dsr.SparseConv3D(4, 2, **k), (5, 5, 5, 3)),
    "grouped": (lambda **k: dsr.SparseConv2D(6, 3, groups=2, **k), (8, 8, 4)),
    "pointwise": (lambda **k: dsr.SparseConv2D(6, 1, strides=2, **k), (8, 8, 4)),
}
every_layer = pytest.mark.parametrize("kind", LAYERS)


def built(kind, **arguments):
    make, shape = LAYERS[kind]
    layer = make(**{"sparsity": 0.7, "mask_seed": 3, **arguments})
    layer.build((None, *shape))
    return layer


def inputs(kind, examples=2):
    return np.random.default_rng(0).normal(size=(examples, *LAYERS[kind][1])).astype("float32")


def stock_twin(layer, kind):
    """The stock layer of the same configuration, with the masked kernel and the bias of a sparse one."""
    config = layer.get_config()
    for argument in ("sparsity", "pattern", "mask_seed", "initial_scale"):
        del config[argument]
    twin = layer.stock_class.from_config(config)
    twin.build((None, *LAYERS[kind][1]))
    twin.set_weights([np.where(values(layer.kernel_mask), values(layer._kernel), 0), *map(values, [layer.bias])])
    return twin


# The initial state


@pytest.mark.parametrize("pattern", ["element", "kernel"])
@pytest.mark.parametrize("sparsity", [0, 0.5, 0.9, 0.999])
@every_layer
def test_the_initial_number_of_units_is_exact(kind, sparsity, pattern):
    layer = built(kind, sparsity=sparsity, pattern=pattern)
    mask = values(layer.kernel_mask)
    units = layer.units_of_role().count(mask.shape)
    assert mask.dtype == bool
    assert mask.shape == tuple(layer._kernel.shape)
    assert mask.sum() == active_units(units, sparsity) * (mask.size // units)
    assert not values(layer._kernel)[~mask].any()
    assert np.count_nonzero(values(layer.kernel)) == mask.sum()


@settings(max_examples=15)
@given(inputs=st.integers(1, 12), outputs=st.integers(1, 12), sparsity=st.floats(0, 0.999), seed=st.integers(0, 99))
def test_the_initial_number_is_exact_for_any_shape(inputs, outputs, sparsity, seed):
    layer = dsr.SparseDense(outputs, sparsity=sparsity, mask_seed=seed)
    layer.build((None, inputs))
    assert values(layer.kernel_mask).sum() == active_units(inputs * outputs, sparsity)


@pytest.mark.parametrize(
    ("kind", "pattern", "axes"),
    [
        ("dense", "kernel", ()),
        ("conv1d", "kernel", (0,)),
        ("conv2d", "kernel", (0, 1)),
        ("conv3d", "kernel", (0, 1, 2)),
        ("pointwise", "kernel", ()),
        ("conv2d", "element", ()),
    ],
)
def test_a_unit_is_a_slice_only_where_a_window_has_one(kind, pattern, axes):
    assert built(kind, pattern=pattern).units_of_role() == (Slices(axes) if axes else SINGLE)


def test_the_seed_decides_the_mask_and_none_draws_another():
    first, same, other = (built("dense", mask_seed=seed) for seed in (3, 3, 4))
    assert bits(first.kernel_mask) == bits(same.kernel_mask) != bits(other.kernel_mask)
    assert bits(built("dense", mask_seed=None).kernel_mask) != bits(built("dense", mask_seed=None).kernel_mask)


def test_set_random_seed_fixes_the_mask_of_a_layer_without_a_seed():
    masks = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        masks.append(bits(built("conv2d", mask_seed=None).kernel_mask))
    assert masks[0] == masks[1]


def test_the_mask_and_the_threshold_are_not_trainable_and_the_bias_is_dense():
    layer = built("dense")
    assert [variable.name for variable in layer.trainable_variables] == ["kernel", "bias"]
    assert [variable.name for variable in layer.non_trainable_variables] == [
        "kernel_mask",
        "kernel_threshold",
        "kernel_record",
    ]
    assert float(layer.kernel_threshold) == 0
    assert layer.bias.shape == (12,)


# Pruned is zero


@pytest.mark.parametrize("garbage", [np.nan, -1.0, np.inf, -0.0])
@pytest.mark.parametrize("kind", selected(LAYERS, ["dense", "conv2d"]))
def test_the_network_never_sees_a_dead_weight(kind, garbage):
    layer = built(kind)
    mask, expected = values(layer.kernel_mask), values(layer(inputs(kind)))
    fill_dead(layer, garbage)
    kernel = values(layer.kernel)
    assert (kernel[~mask] == 0).all()
    assert not np.signbit(kernel[~mask]).any()
    assert kernel[mask].tobytes() == values(layer._kernel)[mask].tobytes()
    assert bits(layer(inputs(kind))) == expected.tobytes()


@every_layer
def test_the_output_is_that_of_the_stock_layer_with_the_masked_kernel(kind):
    layer = built(kind)
    layer.bias.assign(np.arange(layer.bias.shape[0]))
    fill_dead(layer, np.nan)
    assert bits(layer(inputs(kind))) == bits(stock_twin(layer, kind)(inputs(kind)))


def test_a_dead_weight_gets_no_gradient():
    layer = built("dense")
    gradient = values(gradient_of(lambda: keras.ops.sum(keras.ops.square(layer(inputs("dense")))), layer._kernel))
    mask = values(layer.kernel_mask)
    assert not gradient[~mask].any()
    assert gradient[mask].all()


def test_dead_stays_zero_under_weight_decay_regularization_and_averages():
    model = keras.Sequential(
        [keras.Input((64,)), dsr.SparseDense(10, sparsity=0.8, kernel_regularizer=keras.regularizers.L2(1e-2))]
    )
    compiled(model, keras.optimizers.AdamW(0.01, weight_decay=0.1, use_ema=True, ema_overwrite_frequency=2))
    fill_dead(model.layers[0], 3.0)
    fit(model)
    (weight,) = dsr.sparse_weights(model)
    assert np.flatnonzero(values(model.layers[0].kernel)).size == weight.count() == 128


def test_a_regularizer_does_not_see_dead_weights():
    layer = built("dense", kernel_regularizer=keras.regularizers.L2(1.0))
    expected = float(keras.ops.sum(keras.ops.square(layer.kernel)))
    fill_dead(layer, 5.0)
    assert float(layer.losses[0]) == pytest.approx(expected, rel=1e-6)


# Configuration


@every_layer
def test_the_configuration_makes_the_same_layer(kind):
    layer = built(kind, sparsity=0.6, pattern="kernel", activation="relu", use_bias=False)
    again = type(layer).from_config(layer.get_config())
    again.build((None, *LAYERS[kind][1]))
    assert again.get_config() == layer.get_config()
    assert bits(again.kernel_mask) == bits(layer.kernel_mask)


def test_a_layer_without_a_seed_keeps_the_one_it_drew():
    layer = built("dense", mask_seed=None)
    assert type(layer).from_config(layer.get_config()).mask_seed == layer.mask_seed


@pytest.mark.backends("tensorflow")  # it holds no tensor yet
@pytest.mark.parametrize("sparsity", [-0.1, 1, 1.5, math.nan, "0.9", True, None])
@pytest.mark.parametrize("kind", ["dense", "conv1d", "conv2d", "conv3d"])
def test_a_sparsity_out_of_range_is_refused_at_once(kind, sparsity):
    with pytest.raises(
        ValueError, match=r"Sparse(Dense|Conv[123]D)\(sparsity=\.\.\.\) must be a number in \[0, 1\)"
    ) as e:
        LAYERS[kind][0](sparsity=sparsity)
    assert str(e.value).endswith(f"Received: sparsity={sparsity!r}")


@pytest.mark.parametrize("pattern", ["row", None, 3, "Element"])
def test_an_unknown_pattern_is_refused_at_once(pattern):
    with pytest.raises(ValueError, match=r"SparseConv2D\(pattern=\.\.\.\) must be 'element'.*'kernel'.*a pair"):
        dsr.SparseConv2D(4, 3, pattern=pattern)


# Files


def stored_arrays(path):
    """Every array of an HDF5 weights file by its path."""
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return arrays


def mixed_model(seed=1, dtype=None):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            dsr.SparseConv2D(4, 3, sparsity=0.5, mask_seed=seed, pattern="kernel", dtype=dtype),
            keras.layers.Flatten(),
            dsr.SparseDense(10, sparsity=0.9, mask_seed=seed, dtype=dtype),
        ]
    )


@pytest.mark.parametrize("garbage", [np.nan, -7.0])
def test_weight_files_hold_zeros_at_dead_places(tmp_path, garbage):
    model = scrambled(mixed_model(), garbage)
    model.save_weights(tmp_path / "model.weights.h5")
    stored = stored_arrays(tmp_path / "model.weights.h5")
    for weight in dsr.sparse_weights(model):
        kernels = [array for array in stored.values() if array.shape == weight.shape and array.dtype == "float32"]
        masks = [array for array in stored.values() if array.shape == weight.shape and array.dtype != "float32"]
        assert len(kernels) == len(masks) == 1
        np.testing.assert_array_equal(masks[0], values(weight.mask))
        np.testing.assert_array_equal(kernels[0], np.where(values(weight.mask), values(weight.variable), 0))
        assert not np.signbit(kernels[0][~masks[0].astype(bool)]).any()
    assert [float(array) for array in stored.values() if array.shape == () and array.dtype == "float32"] == [0.25] * 2


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5"])
def test_files_restore_masks_weights_and_threshold(tmp_path, suffix):
    model = scrambled(mixed_model())
    path = tmp_path / f"model{suffix}"
    if suffix == ".weights.h5":
        model.save_weights(path)
        loaded = mixed_model(seed=99)  # starts from other masks
        assert bits(loaded.layers[0].kernel_mask) != bits(model.layers[0].kernel_mask)
        loaded.load_weights(path)
    else:
        model.save(path)
        loaded = keras.models.load_model(path)
    images = batch().reshape(-1, 8, 8, 1)
    assert bits(loaded(images)) == bits(model(images))
    for weight, again in zip(dsr.sparse_weights(model), dsr.sparse_weights(loaded)):
        assert bits(again.mask) == bits(weight.mask)
        assert float(again.threshold) == 0.25
        assert bits(again.layer.kernel) == bits(weight.layer.kernel)
        if suffix != ".h5":  # Keras's legacy format reads the variables past every hook of a layer
            assert bits(again.variable) == bits(weight.layer.kernel)


# What a method keeps for each weight


def with_state(model):
    """The model with random signs, and ages in another dtype, for each weight."""
    for number, weight in enumerate(dsr.sparse_weights(model)):
        random = np.random.default_rng(number)
        weight.add_state("signs", "int8")
        weight.states["signs"].assign(random.choice([-1, 1], weight.shape))
        weight.add_state("age", "float32")
        weight.states["age"].assign(random.normal(size=weight.shape))
    return model


def states_of(model):
    return [(bits(weight.states["signs"]), bits(weight.states["age"])) for weight in dsr.sparse_weights(model)]


@pytest.mark.parametrize("kind", selected(LAYERS, ["dense", "conv3d"]))
def test_added_state_has_the_shape_of_the_kernel_and_starts_at_zero(kind):
    layer = built(kind, dtype="mixed_float16")
    output = values(layer(inputs(kind)))
    trainable = [variable.path for variable in layer.trainable_variables]
    layer.add_state("signs", "int8")
    variable = layer.kernel_signs
    assert (variable.dtype, tuple(variable.shape)) == ("int8", tuple(layer._kernel.shape))
    assert not values(variable).any()
    assert [v.path for v in layer.trainable_variables] == trainable
    assert [v.name for v in layer.non_trainable_variables] == [
        "kernel_mask",
        "kernel_threshold",
        "kernel_record",
        "kernel_signs",
    ]
    assert list(layer.state_variables) == ["kernel_mask", "kernel_threshold", "kernel_record", "kernel_signs"]
    assert bits(layer(inputs(kind))) == output.tobytes()


@every_layer
def test_the_configuration_announces_the_state(kind):
    assert "method_state" not in built(kind).get_config()
    layer = built(kind)
    layer.add_state("signs", "int8")
    layer.add_state("age", "float32")
    assert layer.get_config()["method_state"] == {"signs": "int8", "age": "float32"}
    again = type(layer).from_config(layer.get_config())
    again.build((None, *LAYERS[kind][1]))
    assert again.get_config() == layer.get_config()
    assert [(name, v.dtype) for name, v in again.state_variables.items()] == [
        ("kernel_mask", "bool"),
        ("kernel_threshold", "float32"),
        ("kernel_record", "int32"),
        ("kernel_signs", "int8"),
        ("kernel_age", "float32"),
    ]


def test_two_layers_do_not_share_a_configuration_of_state():
    first, second = built("dense"), built("dense")
    first.add_state("signs", "int8")
    assert second.method_state == {}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file_of_a_model_brings_the_state_along(tmp_path, suffix):
    model = with_state(scrambled(mixed_model()))
    model.save(tmp_path / f"model{suffix}")
    loaded = keras.models.load_model(tmp_path / f"model{suffix}")
    assert states_of(loaded) == states_of(model)
    assert [bits(w.mask) for w in dsr.sparse_weights(loaded)] == [bits(w.mask) for w in dsr.sparse_weights(model)]


@pytest.mark.parametrize("has_some", [False, True])
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_weights_bring_the_state_along_into_a_model_that_has_none_yet(tmp_path, suffix, has_some):
    model = with_state(scrambled(mixed_model()))
    path = tmp_path / f"model{suffix}"
    (model.save_weights if suffix == ".weights.h5" else model.save)(path)
    other = mixed_model(seed=99)
    if has_some:
        for weight in dsr.sparse_weights(other):
            weight.layer.add_state("signs", "int8")
    other.load_weights(path)
    assert states_of(other) == states_of(model)
    assert [bits(w.mask) for w in dsr.sparse_weights(other)] == [bits(w.mask) for w in dsr.sparse_weights(model)]
    assert [layer.layer.method_state["signs"] for layer in dsr.sparse_weights(other)] == ["int8"] * 2
    images = batch().reshape(-1, 8, 8, 1)
    assert bits(other(images)) == bits(model(images))
    other.save(tmp_path / "again.keras")
    assert states_of(keras.models.load_model(tmp_path / "again.keras")) == states_of(model)


def test_weights_of_another_architecture_are_refused(tmp_path):
    perceptron(hidden=24).save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(ValueError, match="shape"):
        perceptron(hidden=25).load_weights(tmp_path / "model.weights.h5")


# Mixed precision, and models that are built late


@pytest.mark.parametrize(("policy", "compute"), [("mixed_float16", "float16"), ("mixed_bfloat16", "bfloat16")])
@pytest.mark.parametrize("kind", selected(LAYERS, ["dense", "grouped"]))
def test_mixed_precision_computes_in_half_and_stores_in_full(kind, policy, compute):
    layer = built(kind, dtype=policy)
    fill_dead(layer, np.nan)
    output = layer(inputs(kind))
    assert keras.backend.standardize_dtype(output.dtype) == compute
    assert layer._kernel.dtype == "float32"
    assert layer.kernel_threshold.dtype == "float32"
    assert layer.kernel_mask.dtype == "bool"
    assert np.isfinite(values(output).astype("float32")).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_precisions_keep_the_mask_and_the_zeros(dtype):
    layer = built("conv2d", dtype=dtype)
    mask = values(layer.kernel_mask)
    assert layer._kernel.dtype == dtype
    assert np.count_nonzero(values(layer.kernel).astype("float32")) == mask.sum()


class LateModel(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = dsr.SparseDense(20, sparsity=0.8, activation="relu")
        self.classes = dsr.SparseDense(10, sparsity=0.5)

    def call(self, x):
        return self.classes(self.hidden(x))


@pytest.mark.parametrize("run_eagerly", selected([False, True], [False]))
def test_a_model_built_by_fit_starts_with_its_masks_and_zeros(run_eagerly):
    model = compiled(LateModel(), keras.optimizers.SGD(0.0), run_eagerly=run_eagerly)
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if self.model.hidden.built:
                seen.append([np.count_nonzero(values(layer._kernel)) for layer in (model.hidden, model.classes)])

    fit(model, Look(), batches=2)
    assert seen[-1] == [256, 100]
    assert active_counts(model) == [256, 100]
    assert not values(model.hidden._kernel)[~values(model.hidden.kernel_mask)].any()


def test_fit_moves_active_weights_only():
    model = compiled(perceptron(), keras.optimizers.SGD(0.1, momentum=0.9))
    before = [(values(weight.variable), values(weight.mask)) for weight in dsr.sparse_weights(model)]
    fit(model)
    for weight, (kernel, mask) in zip(dsr.sparse_weights(model), before):
        assert bits(weight.mask) == mask.tobytes()
        assert (values(weight.variable) != kernel)[mask].mean() > 0.5
        assert not values(weight.variable)[~mask].any()
