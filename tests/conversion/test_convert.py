import contextlib

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.backend.keras_slots import optimizer_slots
from keras_dsr.conversion.convert import stripped
from keras_dsr.methods import DeepR
from tests.helpers.layer_kinds import (
    KINDS,
    fill_dead_weights,
    inputs_of,
    kinds_in_turn,
    model_of,
    scrambled,
    stock_layer_of,
)
from tests.helpers.model_kinds import functional_model, nested_model, shared_model, subclassed_model
from tests.helpers.networks import batch, bits, compiled, fill_dead, fit, perceptron, selected, state_bits, values


def layers_of(model):
    return list(model._flatten_layers())


@pytest.mark.parametrize(
    "build",
    [
        *(perceptron, functional_model, shared_model, nested_model),
        pytest.param(subclassed_model, marks=pytest.mark.slow_on("tensorflow")),
    ],
)
def test_strip_leaves_the_same_network_of_stock_layers(build):
    model = build()
    for weight in dsr.sparse_weights(model):
        fill_dead(weight.layer, np.nan)
    before = bits(model(batch()))

    assert dsr.strip(model) is model

    assert bits(model(batch())) == before
    assert dsr.sparse_weights(model) == []
    assert not any(type(layer).__module__.startswith("keras_dsr") for layer in layers_of(model))
    assert not any("kernel_mask" in v.path or "kernel_threshold" in v.path for v in model.variables)


def test_strip_knows_every_sparse_layer():
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Reshape((64, 1)),
            dsr.SparseConv1D(4, 3, groups=1, sparsity=0.5),
            keras.layers.Reshape((62, 2, 2)),
            dsr.SparseConv2D(4, 2, sparsity=0.5, pattern="kernel"),
            keras.layers.Reshape((61, 2, 2, 1)),
            dsr.SparseConv3D(4, 2, sparsity=0.5, data_format="channels_last"),
            keras.layers.Flatten(),
            dsr.SparseDense(10, sparsity=0.5),
        ]
    )
    before = bits(model(batch()))
    dsr.strip(model)
    assert [type(layer) for layer in model.layers if layer.weights] == [
        keras.layers.Conv1D,
        keras.layers.Conv2D,
        keras.layers.Conv3D,
        keras.layers.Dense,
    ]
    assert bits(model(batch())) == before


def test_stripped_weights_are_those_of_the_sparse_model_and_dead_ones_plus_zero():
    model = perceptron()
    weights = dsr.sparse_weights(model)
    kernels = [np.where(values(weight.mask), values(weight.variable), 0) for weight in weights]
    for weight in weights:
        fill_dead(weight.layer, -0.0)
    dsr.strip(model)
    assert [values(layer.kernel).tobytes() for layer in model.layers] == [kernel.tobytes() for kernel in kernels]


@pytest.mark.slow_on("jax")
def test_a_stripped_model_trains_dense_with_the_optimizer_it_had():
    model = compiled(perceptron())
    fit(model)
    loss = model.evaluate(batch(), np.zeros(8), verbose=0)
    dsr.strip(model)
    assert model.evaluate(batch(), np.zeros(8), verbose=0) == pytest.approx(loss)
    fit(model)
    assert int(model.optimizer.iterations) == 12
    assert np.count_nonzero(values(model.layers[0].kernel)) > 307


def with_state():
    """A trained model with signs and optimizer state."""
    model = compiled(perceptron())
    fit(model, dsr.Reallocate(DeepR()), batches=2)
    assert all(weight.states["signs"] is not None for weight in dsr.sparse_weights(model))
    return model


@pytest.mark.slow_on("tensorflow", "jax")
def test_strip_takes_off_what_a_method_kept_for_each_weight():
    model = with_state()
    before, variables = bits(model(batch())), len(model.trainable_variables)
    dsr.strip(model)
    assert bits(model(batch())) == before
    assert [variable.name for variable in model.non_trainable_variables] == []
    assert len(model.trainable_variables) == variables == 4
    for layer in model.layers:
        assert not any(name.startswith("kernel_") and isinstance(v, keras.Variable) for name, v in vars(layer).items())
        assert "method_state" not in layer.get_config()


@pytest.mark.slow_on("tensorflow")
@pytest.mark.parametrize("fails", selected([False, True], [True]))
def test_after_stripped_what_a_method_kept_is_back(fails):
    model = with_state()
    variables, before = [id(variable) for variable in model.variables], state_bits(model)
    states = [weight.states["signs"] for weight in dsr.sparse_weights(model)]
    with contextlib.suppress(KeyError), stripped(model):
        assert not any("signs" in variable.path for variable in model.variables)
        if fails:
            raise KeyError
    assert [id(variable) for variable in model.variables] == variables
    assert state_bits(model) == before
    assert all(weight.states["signs"] is state for weight, state in zip(dsr.sparse_weights(model), states))
    assert [layer.get_config()["method_state"] for layer in model.layers] == [{"signs": "int8"}] * 2


@pytest.mark.slow_on("tensorflow")
def test_saving_a_plain_file_keeps_what_a_method_kept_in_the_model_and_out_of_the_file(tmp_path):
    model = with_state()
    before = state_bits(model)
    dsr.save(model, tmp_path / "plain.keras")
    assert state_bits(model) == before
    plain = keras.models.load_model(tmp_path / "plain.keras")
    assert [type(layer) for layer in plain.layers] == [keras.layers.Dense] * 2
    assert [variable.name for variable in plain.variables] == ["kernel", "bias"] * 2
    assert bits(plain(batch())) == bits(model(batch()))


def test_strip_of_a_plain_model_changes_nothing():
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)])
    before = state_bits(model)
    assert dsr.strip(model) is model
    assert state_bits(model) == before


def test_strip_twice_is_strip_once():
    model = dsr.strip(perceptron())
    before = state_bits(model)
    assert state_bits(dsr.strip(model)) == before


def test_strip_refuses_an_unbuilt_model():
    with pytest.raises(ValueError, match="has not been built"):
        dsr.strip(keras.Sequential([dsr.SparseDense(4)]))


def test_inside_stripped_layers_are_stock_and_after_it_as_they_were():
    model = compiled(perceptron())
    fit(model)
    variables, before, classes = list(model.variables), state_bits(model), [type(layer) for layer in model.layers]
    with stripped(model):
        assert [type(layer) for layer in model.layers] == [keras.layers.Dense] * 2
        assert [v.name for v in model.variables if v.dtype == "bool"] == []
    assert [type(layer) for layer in model.layers] == classes
    assert [id(variable) for variable in model.variables] == [id(variable) for variable in variables]
    assert state_bits(model) == before


def test_an_error_inside_stripped_brings_the_layers_back():
    model = perceptron()
    before = state_bits(model)
    with pytest.raises(KeyError), stripped(model):
        raise KeyError
    assert [type(layer) for layer in model.layers] == [dsr.SparseDense] * 2
    assert state_bits(model) == before


# Every kind of layer, and the containers of layers


def stock_model_of(kind):
    return model_of(kind, stock_layer_of(kind))


def types_of(model):
    return [type(layer) for layer in layers_of(model)]


def assert_same_outputs(received, expected):
    if keras.backend.backend() == "torch":  # there the last bit depends on how a kernel lies in memory
        np.testing.assert_allclose(received, expected, rtol=1e-6, atol=1e-6)
    else:
        assert bits(received) == bits(expected)


@kinds_in_turn(1)
def test_every_kind_is_made_sparse_in_place_and_back(kind):
    model, inputs = stock_model_of(kind), inputs_of(kind)
    random, stock_types = np.random.default_rng(0), types_of(model)
    for variable in model.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    variables, before = list(model.trainable_variables), [values(v) for v in model.trainable_variables]

    report = dsr.sparsify(model, 0.5, include=".*")

    assert sum(type(layer).__module__.startswith("keras_dsr") for layer in layers_of(model)) > 0
    assert KINDS[kind].sparse_class in types_of(model)
    masks = {id(weight.variable): values(weight.mask) for weight in dsr.sparse_weights(model)}
    assert len(masks) == len(report.rows)
    assert [id(variable) for variable in model.trainable_variables] == [id(variable) for variable in variables]
    expected = [np.where(masks.get(id(v), True), old, np.float32(0)) for v, old in zip(variables, before)]
    assert [bits(variable) for variable in variables] == [array.tobytes() for array in expected]
    twin = stock_model_of(kind)
    for variable, array in zip(twin.trainable_variables, expected):
        variable.assign(array)
    outputs = values(twin(inputs))
    fill_dead_weights(model, np.nan)
    assert_same_outputs(values(model(inputs)), outputs)

    with stripped(model):
        assert types_of(model) == stock_types
        assert_same_outputs(values(model(inputs)), outputs)
    assert KINDS[kind].sparse_class in types_of(model)
    assert {id(weight.variable) for weight in dsr.sparse_weights(model)} == set(masks)

    dsr.strip(model)
    assert types_of(model) == stock_types
    assert model.get_config()["layers"][-1]["class_name"] == twin.get_config()["layers"][-1]["class_name"]
    assert "keras_dsr" not in model.to_json()
    assert [bits(variable) for variable in model.trainable_variables] == [array.tobytes() for array in expected]
    assert_same_outputs(values(model(inputs)), outputs)


@kinds_in_turn(2)
def test_a_layer_that_was_built_sparse_is_stripped_to_what_its_stock_class_saves_and_loads(tmp_path, kind):
    model = scrambled(model_of(kind))
    outputs = bits(model(inputs_of(kind)))
    dsr.strip(model).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert types_of(loaded) == types_of(model) == types_of(stock_model_of(kind))
    assert bits(loaded(inputs_of(kind))) == bits(model(inputs_of(kind))) == outputs


# densify


def masked_kernels(model):
    return [np.where(values(weight.mask), values(weight.variable), 0) for weight in dsr.sparse_weights(model)]


def dense_perceptron():
    layers = [keras.layers.Dense(24, "relu", name="hidden"), keras.layers.Dense(10, name="classes")]
    return keras.Sequential([keras.Input((64,)), *layers])


def test_densify_keeps_the_values_drops_the_masks_and_goes_on_dense_with_its_optimizer():
    model = compiled(perceptron())
    fit(model, dsr.DSRCallback(target=20, period=2))
    kernels, optimizer = masked_kernels(model), model.optimizer
    slots = [bits(variable) for variable in optimizer.variables]
    fill_dead(model.layers[0], np.nan)

    assert dsr.densify(model) is model

    assert [type(layer) for layer in model.layers] == [keras.layers.Dense] * 2
    assert dsr.sparse_weights(model) == []
    assert [values(layer.kernel).tobytes() for layer in model.layers] == [kernel.tobytes() for kernel in kernels]
    assert [variable.name for variable in model.variables if variable in model.non_trainable_variables] == []
    assert model.optimizer is optimizer
    assert [bits(variable) for variable in optimizer.variables] == slots
    fit(model)
    assert int(optimizer.iterations) == 12
    for layer, kernel in zip(model.layers, kernels):
        assert np.count_nonzero(values(layer.kernel)[kernel == 0]) > 0.5 * (kernel == 0).sum()


@pytest.mark.slow_on("tensorflow", "jax")
def test_densify_gives_the_model_the_optimizer_that_a_sparse_one_wraps():
    inner = keras.optimizers.Adam(1e-3)
    model = compiled(dense_perceptron(), dsr.SparseOptimizer(inner, sparsity=0.9))
    fit(model)
    dsr.densify(model)
    assert model.optimizer is inner
    assert dsr.sparse_weights(model) == []
    fit(model)
    assert int(inner.iterations) == 12
    assert np.count_nonzero(values(model.layers[0].kernel)) > 1000


def test_a_regularizer_is_that_of_active_weights_while_the_layer_is_sparse():
    regularizer = keras.regularizers.L2(1.0)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, kernel_regularizer=regularizer)])
    config = model.layers[0].get_config()
    dsr.sparsify(model, 0.5)
    kernel = values(model.layers[0].kernel)
    fill_dead(model.layers[0], 5.0)
    assert float(model.losses[0]) == pytest.approx(np.square(kernel).sum(), rel=1e-5)
    with stripped(model):
        assert model.layers[0].kernel.regularizer is regularizer
    assert float(model.losses[0]) == pytest.approx(np.square(kernel).sum(), rel=1e-5)
    dsr.densify(model)
    assert model.layers[0].kernel.regularizer is regularizer
    assert model.layers[0].get_config() == config


# A model that has been trained


def dead_values(model):
    """What is stored at the pruned positions, and the slots of the optimizer there."""
    found = []
    for weight in dsr.sparse_weights(model):
        slots = [slot.variable for slot in optimizer_slots(model.optimizer, weight.variable)]
        found += [values(variable)[~values(weight.mask)] for variable in (weight.variable, *slots)]
    return found


def sees_no_dead_weight(model):
    """Whether the traced predict, test and training functions read masked weights: pruned NaN is not seen."""
    outputs = model.predict(batch(), verbose=0)
    for weight in dsr.sparse_weights(model):
        fill_dead(weight.layer, np.nan)
    results = [model.predict(batch(), verbose=0), *model.evaluate(batch(), np.zeros(8), verbose=0)]
    loss = fit(model, batches=1).history["loss"]
    return results[0].tobytes() == outputs.tobytes() and all(np.isfinite([*results[1:], *loss]))


@pytest.mark.slow_on("tensorflow")
@pytest.mark.parametrize("policy", selected([None, "mixed_float16"], ["mixed_float16"]))
def test_making_a_trained_model_sparse_keeps_its_optimizer_and_clears_the_slots_of_dead_places(policy):
    layers = [keras.layers.Dense(24, "relu", dtype=policy), keras.layers.Dense(10, dtype=policy)]
    model = compiled(keras.Sequential([keras.Input((64,)), *layers]))
    fit(model)
    optimizer, before = model.optimizer, [bits(variable) for variable in model.optimizer.variables]
    slots = [[values(slot.variable) for slot in optimizer_slots(optimizer, layer.kernel)] for layer in model.layers]
    dsr.sparsify(model, 0.8)
    assert model.optimizer is optimizer
    weights = dsr.sparse_weights(model)
    assert [len(of_weight) for of_weight in slots] == [2, 2]
    for weight, of_weight in zip(weights, slots):
        found = [slot.variable for slot in optimizer_slots(optimizer, weight.variable)]
        expected = [np.where(values(weight.mask), slot, 0) for slot in of_weight]
        assert [values(variable).tolist() for variable in found] == [slot.tolist() for slot in expected]
    changed = [bits(variable) for variable in optimizer.variables]
    assert sum(new != old for new, old in zip(changed, before)) == 4
    fit(model)
    assert not any(array.any() for array in dead_values(model))


@pytest.mark.slow_on("jax")
def test_a_slot_that_does_not_start_at_zero_is_cleared_to_its_initial_value():
    model = compiled(dense_perceptron(), keras.optimizers.Adagrad(0.01, initial_accumulator_value=0.25))
    fit(model)
    dsr.sparsify(model, 0.8)
    assert {float(value) for array in dead_values(model)[1::2] for value in array} == {0.25}
    fit(model)
    assert all(np.isfinite(values(weight.variable)).all() for weight in dsr.sparse_weights(model))


@pytest.mark.parametrize("run_eagerly", selected([False, True], [False]))
def test_a_model_that_has_trained_goes_on_with_its_masks(run_eagerly):
    model = compiled(dense_perceptron(), run_eagerly=run_eagerly)
    fit(model)
    model.predict(batch(), verbose=0)
    model.evaluate(batch(), np.zeros(8), verbose=0)
    model.train_on_batch(batch(), np.zeros(8))
    dsr.sparsify(model, 0.8)
    masks = [bits(weight.mask) for weight in dsr.sparse_weights(model)]
    before = values(model.layers[0].kernel)
    fit(model)
    assert not any(array.any() for array in dead_values(model))
    assert (values(model.layers[0].kernel) != before).any()
    model.train_on_batch(batch(), np.zeros(8))
    assert not any(array.any() for array in dead_values(model))
    assert [bits(weight.mask) for weight in dsr.sparse_weights(model)] == masks
    assert sees_no_dead_weight(model)


def test_a_model_that_a_callback_trained_goes_on_dense_and_then_sparse_again():
    model = compiled(perceptron())
    fit(model, dsr.DSRCallback(target=20, period=2))
    dsr.densify(model)
    fit(model)
    assert np.count_nonzero(values(model.layers[0].kernel)) > 1000
    dsr.sparsify(model, 0.9)
    before = [weight.positions() for weight in dsr.sparse_weights(model)]
    fit(model, dsr.DSRCallback(target=20, period=2, initial_threshold=0.05))
    assert not any(array.any() for array in dead_values(model))
    weights = dsr.sparse_weights(model)
    assert sum(weight.count() for weight in weights) == 154 + 24
    assert any(not np.array_equal(weight.positions(), old) for weight, old in zip(weights, before))
    assert sees_no_dead_weight(model)


@pytest.mark.slow_on("tensorflow", "jax")
def test_a_callback_that_trained_a_model_trains_it_again_after_it_was_converted():
    callback = dsr.DSRCallback(target=20, period=2, initial_threshold=0.05)
    model = compiled(perceptron())
    fit(model, callback)
    dsr.densify(model)
    dsr.sparsify(model, 0.9)
    first = [bits(weight.mask) for weight in dsr.sparse_weights(model)]
    fit(model, callback)
    weights = dsr.sparse_weights(model)
    assert sum(weight.count() for weight in weights) == 154 + 24
    assert [bits(weight.mask) for weight in weights] != first
    assert not any(array.any() for array in dead_values(model))


def test_a_compiled_model_inside_the_model_goes_on_with_its_masks_too():
    inner = compiled(dense_perceptron())
    fit(inner)
    dsr.sparsify(keras.Sequential([keras.Input((64,)), inner, keras.layers.Dense(4)]), 0.8)
    fit(inner)
    assert not any(array.any() for array in dead_values(inner))
    assert sees_no_dead_weight(inner)


@pytest.mark.slow_on("tensorflow", "jax")
def test_making_a_model_sparse_in_two_steps_is_making_it_sparse():
    model = compiled(dense_perceptron())
    dsr.sparsify(model, 0.8, exclude="classes")
    fit(model)
    mask = bits(model.layers[0].kernel_mask)
    dsr.sparsify(model, 0.5, exclude="hidden")
    fit(model)
    assert [weight.count() for weight in dsr.sparse_weights(model)] == [307, 120]
    assert bits(model.layers[0].kernel_mask) == mask
    assert not any(array.any() for array in dead_values(model))


@pytest.mark.slow_on("tensorflow", "jax")
def test_the_graph_stays_and_frozen_layers_stay_frozen():
    model = dense_perceptron()
    model.layers[0].trainable = False
    outputs, layers = model.outputs, list(model.layers)
    dsr.sparsify(model, 0.0, include=".*")
    assert model.outputs is outputs and model.layers == layers
    assert [variable.path.split("/")[-2] for variable in model.trainable_variables] == ["classes"] * 2
    dsr.densify(model)
    assert [layer.trainable for layer in model.layers] == [False, True]
    assert model.count_params() == 64 * 24 + 24 + 240 + 10
