import contextlib

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.methods import DeepR
from keras_dsr.seam import stripped
from tests.networks import batch, bits, compiled, fill_dead, fit, perceptron, state_bits, values
from tests.seam.test_weights import functional_model, nested_model, shared_model, subclassed_model


def layers_of(model):
    return list(model._flatten_layers())


@pytest.mark.parametrize("build", [perceptron, functional_model, shared_model, nested_model, subclassed_model])
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
            dsr.SparseConv2D(4, 2, sparsity=0.5, granularity="kernel"),
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
    assert all(weight.state("signs") is not None for weight in dsr.sparse_weights(model))
    return model


def test_strip_takes_off_what_a_method_kept_for_each_weight():
    model = with_state()
    before, variables = bits(model(batch())), len(model.trainable_variables)
    dsr.strip(model)
    assert bits(model(batch())) == before
    assert [variable.name for variable in model.non_trainable_variables] == []
    assert len(model.trainable_variables) == variables == 4
    for layer in model.layers:
        assert not any(name.startswith("kernel_") and isinstance(v, keras.Variable) for name, v in vars(layer).items())
        assert "kernel_state" not in layer.get_config()


@pytest.mark.parametrize("fails", [False, True])
def test_after_stripped_what_a_method_kept_is_back(fails):
    model = with_state()
    variables, before = [id(variable) for variable in model.variables], state_bits(model)
    states = [weight.state("signs") for weight in dsr.sparse_weights(model)]
    with contextlib.suppress(KeyError), stripped(model):
        assert not any("signs" in variable.path for variable in model.variables)
        if fails:
            raise KeyError
    assert [id(variable) for variable in model.variables] == variables
    assert state_bits(model) == before
    assert all(weight.state("signs") is state for weight, state in zip(dsr.sparse_weights(model), states))
    assert [layer.get_config()["kernel_state"] for layer in model.layers] == [{"signs": "int8"}] * 2


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
