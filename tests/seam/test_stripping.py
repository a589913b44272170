import keras
import numpy as np
import pytest

import keras_dsr as dsr
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
