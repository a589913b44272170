"""GoogLeNet for ImageNet (Szegedy et al. 2014, arXiv 1409.4842): Inception modules, and two auxiliary heads."""

from collections.abc import Callable

import keras
from keras import layers

# A module by its filters: 1 x 1; reduction and 3 x 3; reduction and 5 x 5; projection of the pooling.
STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
AUXILIARY_HEADS = ((1, 0), (1, 3))  # the stage and the module that each stands on: 4a and 4d
SMALLEST_WITH_AUXILIARY = 65  # pixels, of which the second stage has the five that the heads' pooling needs


def googlenet(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 1000,
    conv: Callable[..., layers.Layer] = layers.Conv2D,
    dense: Callable[..., layers.Layer] = layers.Dense,
    kernel_regularizer=None,
    auxiliary: bool = False,
    dropout: float = 0.4,
    auxiliary_dropout: float = 0.7,
) -> keras.Model:
    """GoogLeNet, the first Inception network; it returns logits.

    `conv` builds the convolutions after the first (56, or 58 with the auxiliary heads) and `dense` the classifier (with
    the auxiliary heads five layers); by the convention of DSD (Han et al. 2017, arXiv 1607.04381) the first convolution
    is always dense. At the default arguments there are 6,998,552 trainable parameters, with the biases: the usual 7M.
    With the auxiliary heads there are 13,378,280: the 13M of the DSD paper, which counts them.

    The two local response normalisations are left out: Keras has no such layer, and a model of stock layers loads
    everywhere. They have no parameters. Kernels before a ReLU start from He's normal distribution.

    Args:
        input_shape: `(height, width, channels)`, of any size, or at least 65 x 65 with the auxiliary heads. Five layers
            halve the maps, 224 pixels to 7.
        classes: int, the number of outputs.
        conv: builds the convolutions, such as `functools.partial(keras_dsr.SparseConv2D, sparsity=0.9)`.
        dense: builds the fully connected layers, such as `functools.partial(keras_dsr.SparseDense, sparsity=0.9)`.
        kernel_regularizer: a Keras regularizer for every kernel.
        auxiliary: whether the model has the outputs of the two auxiliary heads too. In the paper each loss of theirs
            has the weight 0.3: `model.compile(loss=[loss] * 3, loss_weights=[1, 0.3, 0.3])`.
        dropout: float in [0, 1), the rate of the dropout before the classifier.
        auxiliary_dropout: float in [0, 1), the rate of the dropout before the classifiers of the auxiliary heads.

    Returns:
        An uncompiled functional model from `(batch, *input_shape)` to `(batch, classes)`, or with `auxiliary` to a list
        of three such outputs: the network's own, the one after module 4a, the one after module 4d.

    Raises:
        ValueError: an image smaller than 65 x 65 for a network with auxiliary heads.
    """
    if auxiliary and min(input_shape[:2]) < SMALLEST_WITH_AUXILIARY:
        raise ValueError(
            f"googlenet(input_shape=...) must be at least {SMALLEST_WITH_AUXILIARY} x {SMALLEST_WITH_AUXILIARY} pixels "
            "with auxiliary=True: the heads pool windows of 5 x 5 on maps of a sixteenth of the image's side. "
            f"Enlarge the images, or give auxiliary=False. Received: {input_shape}"
        )
    arguments = {"activation": "relu", "kernel_initializer": "he_normal", "kernel_regularizer": kernel_regularizer}

    def convolve(x, filters, size):
        return conv(filters, size, padding="same", **arguments)(x)

    def head(x, rate, name):
        x = dense(classes, kernel_regularizer=kernel_regularizer)(layers.Dropout(rate)(x))
        return layers.Activation("linear", dtype="float32", name=name)(x)

    inputs = keras.Input(input_shape)
    x, features = _trunk(inputs, convolve, arguments)
    outputs = head(layers.GlobalAveragePooling2D()(x), dropout, "logits")
    if auxiliary:
        outputs = [outputs]
        for number, x in enumerate(features, 1):
            x = convolve(layers.AveragePooling2D(5, 3)(x), 128, 1)
            x = dense(1024, **arguments)(layers.Flatten()(x))
            outputs.append(head(x, auxiliary_dropout, f"auxiliary_logits_{number}"))
    return keras.Model(inputs, outputs, name="googlenet")


def _trunk(inputs, convolve, arguments):
    """The last maps, and those on which the auxiliary heads stand."""
    # Explicit padding, the same on both sides; the poolings pad below and right alone, as the original does.
    x = layers.Conv2D(64, 7, strides=2, **arguments)(layers.ZeroPadding2D(3)(inputs))
    x = layers.MaxPooling2D(3, 2, padding="same")(x)
    x = convolve(convolve(x, 64, 1), 192, 3)
    features = []
    for stage, modules in enumerate(STAGES):
        x = layers.MaxPooling2D(3, 2, padding="same")(x)
        for module, filters in enumerate(modules):
            x = _inception(x, filters, convolve)
            if (stage, module) in AUXILIARY_HEADS:
                features.append(x)
    return x, features


def _inception(x, filters, convolve):
    """Four branches side by side, joined on their channels."""
    ones, reduction_of_threes, threes, reduction_of_fives, fives, projection = filters
    branches = [
        convolve(x, ones, 1),
        convolve(convolve(x, reduction_of_threes, 1), threes, 3),
        convolve(convolve(x, reduction_of_fives, 1), fives, 5),
        convolve(layers.MaxPooling2D(3, 1, padding="same")(x), projection, 1),
    ]
    return layers.Concatenate()(branches)
