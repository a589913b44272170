"""AlexNet for ImageNet (Krizhevsky et al. 2012), in Caffe's two groups and without local response normalisation."""

from collections.abc import Callable

import keras
from keras import layers

SMALLEST = 67  # pixels, of which the last pooling makes one

# Of the convolutions after the first: filters, size, groups, and whether a max-pooling follows.
CONVOLUTIONS = ((256, 5, 2, True), (384, 3, 1, False), (384, 3, 2, False), (256, 3, 2, True))


def alexnet(
    input_shape: tuple[int, int, int] = (227, 227, 3),
    classes: int = 1000,
    conv: Callable[..., layers.Layer] = layers.Conv2D,
    dense: Callable[..., layers.Layer] = layers.Dense,
    kernel_regularizer=None,
    dropout: float = 0.5,
) -> keras.Model:
    """AlexNet, with the second, fourth and fifth convolution in two groups; it returns logits.

    `conv` builds the four convolutions after the first and `dense` the three fully connected layers; by the convention
    of DSD (Han et al. 2017, arXiv 1607.04381) the first convolution is always dense. At the default arguments there are
    60,965,224 trainable parameters: the 61M of the DSD paper, which is the reading with two groups. One group
    everywhere, as some later implementations have it, gives 62,378,344.

    The two local response normalisations are left out: Keras has no such layer, and a model of stock layers loads
    everywhere. They have no parameters. For want of them the kernels before a ReLU start from He's normal distribution.

    Args:
        input_shape: `(height, width, channels)`, at least 67 x 67. At 227 x 227 the maps are those of the paper.
        classes: int, the number of outputs.
        conv: builds the convolutions, such as `functools.partial(keras_dsr.SparseConv2D, sparsity=0.9)`; it takes
            `groups`.
        dense: builds the fully connected layers, such as `functools.partial(keras_dsr.SparseDense, sparsity=0.9)`.
        kernel_regularizer: a Keras regularizer for every kernel.
        dropout: float in [0, 1), the rate of the dropout after each of the two hidden fully connected layers.

    Returns:
        An uncompiled functional model from `(batch, *input_shape)` to `(batch, classes)`.

    Raises:
        ValueError: an image smaller than 67 x 67.
    """
    if min(input_shape[:2]) < SMALLEST:
        raise ValueError(
            f"alexnet(input_shape=...) must be at least {SMALLEST} x {SMALLEST} pixels: nothing is left of a smaller "
            f"image after the third pooling. Enlarge the images, or use models.lenet_5. Received: {input_shape}"
        )
    arguments = {"activation": "relu", "kernel_initializer": "he_normal", "kernel_regularizer": kernel_regularizer}

    inputs = keras.Input(input_shape)
    x = layers.Conv2D(96, 11, strides=4, **arguments)(inputs)
    x = layers.MaxPooling2D(3, 2)(x)
    for filters, size, groups, pooled in CONVOLUTIONS:
        x = conv(filters, size, padding="same", groups=groups, **arguments)(x)
        x = layers.MaxPooling2D(3, 2)(x) if pooled else x
    x = layers.Flatten()(x)
    for _ in range(2):
        x = layers.Dropout(dropout)(dense(4096, **arguments)(x))
    x = dense(classes, kernel_regularizer=kernel_regularizer)(x)
    return keras.Model(inputs, layers.Activation("linear", dtype="float32", name="logits")(x), name="alexnet")
