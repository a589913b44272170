import functools

import keras
import numpy as np
import pytest

import keras_dsr as dsr
import models
from keras_dsr.ops.units import SINGLE, Slices
from tests.helpers.networks import active_counts, compiled, digits

shapes_alone = pytest.mark.backends("torch")  # which no backend changes


def sparse(layer, sparsity, **arguments):
    return functools.partial(layer, sparsity=sparsity, **arguments)


def trainable(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def exact_active(model, sparsity):
    """Dense parameters and, tensor by tensor, the nearest integer to its fraction of active weights."""
    shapes = [weight.shape for weight in dsr.sparse_weights(model)]
    sizes = [int(np.prod(shape)) for shape in shapes]
    return trainable(model) - sum(sizes) + sum(round((1 - sparsity) * size) for size in sizes)


# LeNet-300-100


@shapes_alone
def test_lenet_has_the_parameters_of_the_paper():
    model = models.lenet_300_100()
    assert trainable(model) == 267_020
    assert sum(int(np.prod(layer.kernel.shape)) for layer in model.layers if hasattr(layer, "kernel")) == 266_200


@pytest.mark.parametrize(("sparsity", "active"), [(0.99, 2_662), (0.98, 5_324), (0.95, 13_310), (0.9, 26_620)])
def test_sparse_lenet_has_the_active_weights_of_the_paper(sparsity, active):
    model = models.lenet_300_100(dense=sparse(dsr.SparseDense, sparsity))
    assert sum(active_counts(model)) == active


@pytest.mark.slow_on("tensorflow", "jax")
def test_lenet_trains_on_digits_and_returns_float32_logits():
    images, classes = digits()
    model = compiled(models.lenet_300_100((8, 8), dense=sparse(dsr.SparseDense, 0.9, dtype="mixed_bfloat16")), "adam")
    model.fit(images.reshape(-1, 8, 8), classes, batch_size=128, epochs=4, verbose=0)
    assert model.evaluate(images.reshape(-1, 8, 8), classes, verbose=0)[1] > 0.8
    assert model.output.dtype == "float32"


@shapes_alone
def test_lenet_regularizes_its_three_kernels():
    model = models.lenet_300_100((4,), kernel_regularizer=keras.regularizers.L2(1e-4))
    assert len(model.losses) == 3


# The keyword spotter of Hello Edge


@shapes_alone
def test_hello_edge_has_three_hidden_layers_of_436_units():
    model = models.hello_edge()
    kernels = [tuple(layer.kernel.shape) for layer in model.layers if hasattr(layer, "kernel")]
    assert kernels == [(1568, 436), (436, 436), (436, 436), (436, 10)]
    half = models.hello_edge(width=0.5, dense=sparse(dsr.SparseDense, 0.9), kernel_regularizer="l2")
    assert [weight.shape for weight in dsr.sparse_weights(half)] == [(1568, 218), (218, 218), (218, 218), (218, 10)]
    assert len(half.losses) == 4
    with pytest.raises(ValueError, match="hello_edge.width=....* the 436 hidden units.*Received: 0"):
        models.hello_edge(width=0)


# Wide residual networks


@shapes_alone
def test_wrn_28_2_has_the_parameters_of_the_paper():
    model = models.wide_resnet(28, 2)
    assert trainable(model) == 1_467_610


@shapes_alone
@pytest.mark.parametrize(("sparsity", "of_the_paper"), [(0.9, 161_241), (0.8, 306_393), (0.5, 741_850)])
def test_sparse_wrn_28_2_has_the_parameters_of_the_paper(sparsity, of_the_paper):
    model = models.wide_resnet(28, 2, conv=sparse(dsr.SparseConv2D, sparsity))
    assert len(dsr.sparse_weights(model)) == 24
    active = dsr.summary(model).trainable_parameters
    assert active == exact_active(model, sparsity)
    # 16,090 dense parameters. The paper rounds its 24 tensors in some other way: by half a weight each at the most.
    assert abs(active - of_the_paper) <= 12


@pytest.mark.slow_on("jax")
def test_wide_resnet_is_made_of_units_of_the_granularity_asked_for():
    model = models.wide_resnet(10, 1, conv=sparse(dsr.SparseConv2D, 0.9, pattern="kernel"))
    weights = dsr.sparse_weights(model)
    assert {weight.units for weight in weights} == {Slices((0, 1))}
    assert all(weight.count() % 9 == 0 for weight in weights)
    assert model(np.zeros((1, 32, 32, 3), "float32")).shape == (1, 10)


@shapes_alone
@pytest.mark.parametrize("depth", [4, 9, 11, 27, 0, -2])
def test_a_depth_that_is_not_6n_plus_4_is_refused(depth):
    with pytest.raises(ValueError, match=rf"wide_resnet\(depth=\.\.\.\) must be 6n \+ 4 .*Received: {depth}"):
        models.wide_resnet(depth)


@shapes_alone
@pytest.mark.parametrize(("depth", "width", "name"), [(16, 4, "wide_resnet_16_4"), (10, 0.75, "wide_resnet_10_0_75")])
def test_depth_and_width_are_free(depth, width, name):
    model = models.wide_resnet(depth, width, input_shape=(8, 8, 1), classes=3)
    assert model.name == name
    assert model.output.shape == (None, 3)
    assert sum(isinstance(layer, keras.layers.Add) for layer in model.layers) == (depth - 4) // 2
    filters = {layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)}
    assert filters == {16, *(round(16 * factor * width) for factor in (1, 2, 4))}


# ResNet-50


@shapes_alone
def test_resnet_50_has_the_parameters_of_the_paper():
    model = models.resnet_50(conv=sparse(dsr.SparseConv2D, 0.9), dense=sparse(dsr.SparseDense, 0.9))
    weights = dsr.sparse_weights(model)
    assert trainable(model) == 25_557_032
    assert len(weights) == 49
    assert sum(int(np.prod(weight.shape)) for weight in weights) == 22_724_608
    active = dsr.summary(model).trainable_parameters
    assert active == exact_active(model, 0.9)
    assert abs(active - 5_104_885) <= 25  # 2,832,424 dense + a tenth of 22,724,608, rounded in each of 49 tensors


@shapes_alone
def test_resnet_50_at_80_percent_has_the_parameters_of_the_paper():
    sizes = [int(np.prod(layer.kernel.shape)) for layer in resnet_kernels()]
    assert sum(sizes) == 22_724_608
    assert abs(2_832_424 + sum(round(0.2 * size) for size in sizes) - 7_377_346) <= 25


def resnet_kernels():
    """The layers of a dense ResNet-50 that `conv` and `dense` build."""
    made = []

    def note(layer):
        return lambda *args, **kwargs: made.append(layer(*args, **kwargs)) or made[-1]

    models.resnet_50((32, 32, 3), conv=note(keras.layers.Conv2D), dense=note(keras.layers.Dense))
    return made


@shapes_alone
def test_resnet_50_halves_its_maps_five_times_and_takes_slices():
    conv = sparse(dsr.SparseConv2D, 0.9, pattern="kernel")
    model = models.resnet_50((64, 64, 3), classes=7, conv=conv, dense=sparse(dsr.SparseDense, 0.9))
    assert model.layers[-3].input.shape == (None, 2, 2, 2048)
    assert model.output.shape == (None, 7)
    assert {weight.units for weight in dsr.sparse_weights(model)} == {Slices((0, 1)), SINGLE}
