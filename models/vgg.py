"""VGG-16 for ImageNet (Simonyan & Zisserman 2014, arXiv 1409.1556): 3 x 3 convolutions, then three dense layers."""

from collections.abc import Callable

import keras
from keras import layers

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # filters, convolutions before the max-pooling
SMALLEST = 2 ** len(STAGES)  # pixels: each stage halves them


def vgg_16(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 1000,
    conv: Callable[..., layers.Layer] = layers.Conv2D,
    dense: Callable[..., layers.Layer] = layers.Dense,
    kernel_regularizer=None,
    dropout: float = 0.5,
) -> keras.Model:
    """VGG-16, configuration D of its paper; it returns logits.

    `conv` builds the 12 convolutions after the first and `dense` the three fully connected layers; by the convention of
    DSD (Han et al. 2017, arXiv 1607.04381) the first convolution is always dense. At the default arguments there are
    138,357,544 trainable parameters, with the biases: the 138M of both papers. The first fully connected layer has
    three quarters of them, and fewer at smaller images.

    Kernels before a ReLU start from He's normal distribution: with it, all 16 layers train from the start.

    Args:
        input_shape: `(height, width, channels)`, at least 32 x 32.
        classes: int, the number of outputs.
        conv: builds the convolutions, such as `functools.partial(keras_dsr.SparseConv2D, sparsity=0.9)`.
        dense: builds the fully connected layers, such as `functools.partial(keras_dsr.SparseDense, sparsity=0.9)`.
        kernel_regularizer: a Keras regularizer for every kernel.
        dropout: float in [0, 1), the rate of the dropout after each of the two hidden fully connected layers.

    Returns:
        An uncompiled functional model from `(batch, *input_shape)` to `(batch, classes)`.

    Raises:
        ValueError: an image smaller than 32 x 32.
    """
    if min(input_shape[:2]) < SMALLEST:
        raise ValueError(
            f"vgg_16(input_shape=...) must be at least {SMALLEST} x {SMALLEST} pixels: the network halves its maps "
            f"{len(STAGES)} times. Enlarge the images, or use models.lenet_5. Received: {input_shape}"
        )
    arguments = {"activation": "relu", "kernel_initializer": "he_normal", "kernel_regularizer": kernel_regularizer}

    inputs = x = keras.Input(input_shape)
    build = layers.Conv2D
    for filters, convolutions in STAGES:
        for _ in range(convolutions):
            x = build(filters, 3, padding="same", **arguments)(x)
            build = conv
        x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    for _ in range(2):
        x = layers.Dropout(dropout)(dense(4096, **arguments)(x))
    x = dense(classes, kernel_regularizer=kernel_regularizer)(x)
    return keras.Model(inputs, layers.Activation("linear", dtype="float32", name="logits")(x), name="vgg_16")
