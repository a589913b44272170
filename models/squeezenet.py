"""SqueezeNet 1.0 for ImageNet (Iandola et al. 2016, arXiv 1602.07360): fire modules, and no fully connected layer."""

from collections.abc import Callable

import keras
from keras import layers

SMALLEST = 35  # pixels, of which the last pooling makes one

# The fire modules between two poolings: filters of the squeeze convolution, filters of each of the two expansions.
STAGES = (((16, 64), (16, 64), (32, 128)), ((32, 128), (48, 192), (48, 192), (64, 256)), ((64, 256),))


def squeezenet(
    input_shape: tuple[int, int, int] = (227, 227, 3),
    classes: int = 1000,
    conv: Callable[..., layers.Layer] = layers.Conv2D,
    kernel_regularizer=None,
    dropout: float = 0.5,
) -> keras.Model:
    """SqueezeNet 1.0, without bypass connections; it returns logits.

    `conv` builds the 25 convolutions after the first, of which the last is the classifier; by the convention of DSD
    (Han et al. 2017, arXiv 1607.04381) the first convolution is always dense. At the default arguments there are
    1,248,424 trainable parameters, with the biases: the 1.25M of the paper before it cuts the network.

    As in the paper a ReLU follows the last convolution too: no logit is negative.

    Args:
        input_shape: `(height, width, channels)`, at least 35 x 35. At 227 x 227 the maps have the sizes of the paper's
            table: 111, 55, 27 and 13.
        classes: int, the number of outputs.
        conv: builds the convolutions, such as `functools.partial(keras_dsr.SparseConv2D, sparsity=0.9)`.
        kernel_regularizer: a Keras regularizer for every kernel.
        dropout: float in [0, 1), the rate of the dropout before the classifier.

    Returns:
        An uncompiled functional model from `(batch, *input_shape)` to `(batch, classes)`.

    Raises:
        ValueError: an image smaller than 35 x 35.
    """
    if min(input_shape[:2]) < SMALLEST:
        raise ValueError(
            f"squeezenet(input_shape=...) must be at least {SMALLEST} x {SMALLEST} pixels: nothing is left of a "
            "smaller image after the third pooling. Enlarge the images, or use models.wide_resnet. "
            f"Received: {input_shape}"
        )

    def convolve(x, build, filters, size, strides=1, padding="same", initializer="he_normal"):
        return build(
            filters,
            size,
            strides=strides,
            padding=padding,
            activation="relu",
            kernel_initializer=initializer,
            kernel_regularizer=kernel_regularizer,
        )(x)

    inputs = keras.Input(input_shape)
    x = convolve(inputs, layers.Conv2D, 96, 7, strides=2, padding="valid")
    for fires in STAGES:
        x = layers.MaxPooling2D(3, 2)(x)
        for squeezed, expanded in fires:
            x = convolve(x, conv, squeezed, 1)
            x = layers.Concatenate()([convolve(x, conv, expanded, size) for size in (1, 3)])
    x = layers.Dropout(dropout)(x)
    x = convolve(x, conv, classes, 1, initializer=keras.initializers.RandomNormal(stddev=0.01))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Activation("linear", dtype="float32", name="logits")(x), name="squeezenet")
