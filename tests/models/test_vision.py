"""The image networks of the DSD paper: their numbers of parameters, what their constructors build, what they return."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pytest

import keras_dsr as dsr
import models
from tests.helpers.networks import compiled, shapes_only, values

pytestmark = pytest.mark.slow_on("tensorflow", "jax")  # it is above the backends, and takes long there

shapes_alone = pytest.mark.backends("torch")  # which no backend changes
with_heads = functools.partial(models.googlenet, auxiliary=True)


class Network(NamedTuple):
    builder: Callable
    parameters: int  # at the default arguments
    published: float
    rounding: float  # half a unit of the last digit that is published
    convs: int  # that `conv` builds
    denses: int  # that `dense` builds
    stock: int  # convolutions that stay dense: the first and those of the shortcuts
    small: tuple[int, int, int]  # the smallest input, or a small one where every size will do
    outputs: int = 1


NETWORKS = {
    "alexnet": Network(models.alexnet, 60_965_224, 61e6, 0.5e6, 4, 3, 1, (67, 67, 3)),
    "googlenet": Network(models.googlenet, 6_998_552, 7e6, 0.5e6, 56, 1, 1, (64, 64, 3)),
    "googlenet, auxiliary": Network(with_heads, 13_378_280, 13e6, 0.5e6, 58, 5, 1, (65, 65, 3), 3),
    "lenet_5": Network(models.lenet_5, 431_080, 431e3, 0.5e3, 1, 2, 1, (16, 16, 1)),
    "resnet_18": Network(models.resnet_18, 11_689_512, 11.7e6, 0.05e6, 16, 1, 4, (64, 64, 3)),
    "resnet_50": Network(models.resnet_50, 25_557_032, 25.6e6, 0.05e6, 48, 1, 5, (64, 64, 3)),
    "resnet_152": Network(models.resnet_152, 60_192_808, 60.2e6, 0.05e6, 150, 1, 5, (64, 64, 3)),
    "squeezenet": Network(models.squeezenet, 1_248_424, 1_248_424, 0, 25, 0, 1, (35, 35, 3)),
    "vgg_16": Network(models.vgg_16, 138_357_544, 138e6, 0.5e6, 12, 3, 1, (32, 32, 3)),
}
each_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
# One of each kind. The ResNets differ in their blocks alone.
KINDS = {name: network for name, network in NETWORKS.items() if network.builder != models.resnet_152}
each_kind = pytest.mark.parametrize("network", KINDS.values(), ids=KINDS)
# Those that get values. Left out are VGG-16, which has 33 million weights at its smallest input (135 MB, and with masks
# and copies above 300 MB; AlexNet stands for it), and GoogLeNet without the heads, a part of the one with them.
LIGHT = {name: network for name, network in KINDS.items() if network.builder not in (models.vgg_16, models.googlenet)}
EVERYWHERE = ("lenet_5",)  # the others compute on TensorFlow only, to save time
each_light_network = pytest.mark.parametrize(
    "network",
    [
        pytest.param(network, id=name, marks=() if name in EVERYWHERE else pytest.mark.backends("tensorflow"))
        for name, network in LIGHT.items()
    ],
)


def trainable(model):
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def constructors(network, conv, dense):
    return {"conv": conv, "dense": dense} if network.denses else {"conv": conv}


def halved(network):
    """The arguments that build every layer at sparsity 0.5."""
    conv = functools.partial(dsr.SparseConv2D, sparsity=0.5)
    return constructors(network, conv, functools.partial(dsr.SparseDense, sparsity=0.5))


def images_for(network):
    return np.random.default_rng(0).normal(size=(2, *network.small)).astype("float32")


# Parameters


@shapes_alone
@each_network
def test_a_network_has_the_parameters_of_the_paper(network):
    with shapes_only():
        model = network.builder()
    assert trainable(model) == network.parameters
    assert abs(network.parameters - network.published) <= network.rounding


@shapes_alone
def test_alexnet_in_one_group_would_not_have_the_parameters_of_the_paper():
    def ungrouped(*args, groups, **kwargs):
        return keras.layers.Conv2D(*args, **kwargs)

    with shapes_only():
        assert trainable(models.alexnet(conv=ungrouped)) == 62_378_344


@shapes_alone
@pytest.mark.parametrize(("shape", "parameters"), [((28, 28, 1), 431_080), ((32, 32, 3), 657_080)])
def test_lenet_5_takes_the_images_of_mnist_and_of_cifar(shape, parameters):
    assert trainable(models.lenet_5(shape)) == parameters


@shapes_alone
def test_lenet_5_scales_its_channels_by_its_width():
    model = models.lenet_5(width=0.1)
    kernels = [layer.kernel.shape for layer in model.layers if hasattr(layer, "kernel")]
    assert kernels == [(5, 5, 1, 2), (5, 5, 2, 5), (80, 50), (50, 10)]


@shapes_alone
@pytest.mark.parametrize("builder", [models.resnet_18, models.resnet_50])
def test_resnets_scale_their_channels_by_their_width(builder):
    with shapes_only():
        wide, thin = builder((32, 32, 3)), builder((32, 32, 3), width=0.5)
    filters = [
        [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)] for model in (wide, thin)
    ]
    assert filters[1] == [count // 2 for count in filters[0]]


# What the constructors build


@shapes_alone
@each_network
def test_the_constructors_build_every_layer_but_the_first_convolution_and_the_shortcuts(network):
    made = []

    def noted(layer):
        return lambda *args, **kwargs: made.append(layer(*args, **kwargs)) or made[-1]

    with shapes_only():
        given = constructors(network, noted(keras.layers.Conv2D), noted(keras.layers.Dense))
        model = network.builder(network.small, classes=3, **given)
    with_kernels = [layer for layer in model.layers if hasattr(layer, "kernel")]
    assert isinstance(with_kernels[0], keras.layers.Conv2D) and with_kernels[0] not in made
    assert sum(isinstance(layer, keras.layers.Conv2D) for layer in made) == network.convs
    assert sum(isinstance(layer, keras.layers.Dense) for layer in made) == network.denses
    left = [layer for layer in with_kernels if layer not in made]
    assert len(left) == network.stock
    assert all(layer.kernel_size == (1, 1) for layer in left[1:])


@shapes_alone
@each_network
def test_a_sparse_network_has_the_sparse_weights_that_the_constructors_build(network):
    with shapes_only():
        model = network.builder(network.small, classes=3, **halved(network))
    weights = dsr.sparse_weights(model)
    assert len(weights) == network.convs + network.denses
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    assert type(first) is keras.layers.Conv2D


@shapes_alone
@each_kind
def test_every_kernel_is_regularized(network):
    with shapes_only():
        model = network.builder(network.small, classes=3, kernel_regularizer=keras.regularizers.L2(1e-4))
    regularized = [layer for layer in model.layers if getattr(layer, "kernel_regularizer", None)]
    assert len(regularized) == network.convs + network.denses + network.stock


# What a network returns


@each_light_network
def test_a_sparse_network_returns_finite_logits(network):
    thin = {"width": 0.25} if network.builder == models.resnet_50 else {}
    model = network.builder(network.small, classes=3, **halved(network), **thin)
    outputs = model(images_for(network))
    outputs = [values(output) for output in (outputs if network.outputs > 1 else [outputs])]
    assert [output.shape for output in outputs] == [(2, 3)] * network.outputs
    assert all(np.isfinite(output).all() and output.std() > 0 for output in outputs)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(NETWORKS["lenet_5"], id="lenet_5"),
        pytest.param(NETWORKS["alexnet"], id="alexnet", marks=pytest.mark.backends("tensorflow", "torch")),
    ],
)
def test_a_sparse_network_trains_with_groups_too(network):
    model = network.builder(network.small, classes=3, conv=functools.partial(dsr.SparseConv2D, sparsity=0.5))
    compiled(model, "sgd")
    kernels = [values(layer.kernel) for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert np.isfinite(model.train_on_batch(images_for(network), np.array([0, 2]))).all()
    trained = [values(layer.kernel) for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert all(np.isfinite(after).all() and (before != after).any() for before, after in zip(kernels, trained))


@each_kind
def test_logits_are_float32_in_mixed_precision_and_named(network):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with shapes_only():
            model = network.builder(network.small, classes=3)
    finally:
        keras.config.set_dtype_policy("float32")
    assert [output.dtype for output in model.outputs] == ["float32"] * network.outputs
    assert [output.shape for output in model.outputs] == [(None, 3)] * network.outputs
    names = ["logits", "auxiliary_logits_1", "auxiliary_logits_2"]
    assert model.output_names == names[: network.outputs]


@shapes_alone
@pytest.mark.parametrize(
    ("builder", "rates"),
    [
        (models.alexnet, [0.5, 0.5]),
        (models.vgg_16, [0.5, 0.5]),
        (models.squeezenet, [0.5]),
        (models.googlenet, [0.4]),
        (with_heads, [0.4, 0.7, 0.7]),
        (functools.partial(models.alexnet, dropout=0.1), [0.1, 0.1]),
        (functools.partial(models.vgg_16, dropout=0.1), [0.1, 0.1]),
        (functools.partial(models.squeezenet, dropout=0.1), [0.1]),
        (functools.partial(with_heads, dropout=0.1, auxiliary_dropout=0.2), [0.1, 0.2, 0.2]),
    ],
)
def test_dropout_has_the_rates_of_the_paper_or_those_asked_for(builder, rates):
    with shapes_only():
        model = builder((96, 96, 3), classes=3)
    assert sorted(layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)) == rates


@shapes_alone
def test_the_maps_of_the_default_images_have_the_sizes_of_the_papers():
    sides = {
        models.alexnet: [55, 27, 13, 6],
        models.googlenet: [112, 56, 28, 14, 7],
        models.squeezenet: [111, 55, 27, 13],
        models.vgg_16: [224, 112, 56, 28, 14, 7],
    }
    for builder, expected in sides.items():
        with shapes_only():
            model = builder()
        windows = (keras.layers.Conv2D, keras.layers.MaxPooling2D)
        found = [layer.output.shape[1] for layer in model.layers if isinstance(layer, windows)]
        assert list(dict.fromkeys(found)) == expected


def test_a_network_of_stock_layers_loads_with_plain_keras(tmp_path):
    model = models.squeezenet((35, 35, 3), classes=3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    images = np.ones((1, 35, 35, 3), "float32")
    np.testing.assert_array_equal(values(loaded(images)), values(model(images)))
    assert all(type(layer).__module__.startswith("keras.") for layer in loaded.layers)


# Errors


@shapes_alone
@pytest.mark.parametrize(
    ("builder", "smallest", "advice"),
    [
        (models.alexnet, 67, "Enlarge the images, or use models.lenet_5"),
        (models.vgg_16, 32, "Enlarge the images, or use models.lenet_5"),
        (models.squeezenet, 35, "Enlarge the images, or use models.wide_resnet"),
        (models.lenet_5, 16, "Enlarge the images, or use models.lenet_300_100"),
        (with_heads, 65, "Enlarge the images, or give auxiliary=False"),
    ],
)
def test_an_image_that_is_too_small_is_refused(builder, smallest, advice):
    name = getattr(builder, "func", builder).__name__
    text = rf"{name}\(input_shape=\.\.\.\) must be at least {smallest} x {smallest} pixels.*{advice}\. Received: "
    with shapes_only():
        for shape in ((smallest - 1, 2 * smallest, 3), (2 * smallest, smallest - 1, 3)):
            with pytest.raises(ValueError, match=text + rf"\({shape[0]}, {shape[1]}, 3\)"):
                builder(shape)
        assert builder((smallest, smallest, 3), classes=3).outputs[0].shape == (None, 3)


@shapes_alone
@pytest.mark.parametrize("width", [0, -1, math.inf, math.nan])
@pytest.mark.parametrize("builder", [models.lenet_5, models.resnet_18, models.resnet_50, models.resnet_152])
def test_a_width_that_is_not_positive_is_refused(builder, width):
    text = rf"{builder.__name__}\(width=\.\.\.\) must be a positive number: the factor on .*Received: {width}"
    with pytest.raises(ValueError, match=text):
        builder(width=width)
