"""LeNets (LeCun et al. 1998): 300-100 as in Mostafa & Wang 2019 (batch norm, no bias), and Caffe's LeNet-5."""

import math
from collections.abc import Callable

import keras
from keras import layers

SMALLEST = 16  # pixels, of which LeNet-5's last pooling makes one


def lenet_300_100(
    input_shape: tuple[int, ...] = (28, 28, 1),
    classes: int = 10,
    dense: Callable[..., layers.Layer] = layers.Dense,
    kernel_regularizer=None,
    width: float = 1,
    dropout: float = 0,
) -> keras.Model:
    """A fully connected network with 300 and 100 hidden units; it returns logits.

    Args:
        input_shape: shape of one input; it is flattened. `(28, 28, 1)` gives 267,020 trainable parameters, 266,200 of
            them in the three kernels.
        classes: int, the number of outputs.
        dense: builds the three layers, such as `functools.partial(keras_dsr.SparseDense, sparsity=0.99)`.
        kernel_regularizer: a Keras regularizer for the three kernels.
        width: positive number, the factor on the 300 and 100 hidden units (rounded, at least one).
        dropout: number in [0, 1), the fraction of the hidden units that is dropped in training.

    Returns:
        An uncompiled functional model from `(batch, *input_shape)` to `(batch, classes)`.

    Raises:
        ValueError: `width` is not positive and finite.
    """
    check_width(width, "lenet_300_100", "the 300 and 100 hidden units")
    # Uniform in +-1/sqrt(fan_in), as in the paper.
    initializer = keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")

    hidden = [max(1, round(units * width)) for units in (300, 100)]
    inputs = keras.Input(input_shape)
    x = layers.Reshape((math.prod(input_shape),))(inputs)
    for units, activation in ((hidden[0], "relu"), (hidden[1], "relu"), (classes, None)):
        x = dense(units, use_bias=False, kernel_initializer=initializer, kernel_regularizer=kernel_regularizer)(x)
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        if activation:
            x = layers.Activation(activation)(x)
            x = layers.Dropout(dropout)(x) if dropout else x
    # float32, so that the loss is exact in mixed precision too
    return keras.Model(inputs, layers.Activation("linear", dtype="float32", name="logits")(x), name="lenet_300_100")


def lenet_5(
    input_shape: tuple[int, int, int] = (28, 28, 1),
    classes: int = 10,
    conv: Callable[..., layers.Layer] = layers.Conv2D,
    dense: Callable[..., layers.Layer] = layers.Dense,
    kernel_regularizer=None,
    width: float = 1,
    dropout: float = 0,
) -> keras.Model:
    """Caffe's LeNet, a later reading of LeNet-5: two convolutions and two fully connected layers; it returns logits.

    `conv` builds the second convolution and `dense` the two fully connected layers; by the convention of DSD (Han et
    al. 2017, arXiv 1607.04381) the first convolution is always dense. At the default arguments there are 431,080
    trainable parameters, with the biases: the 431K of Han et al. (2015, arXiv 1506.02626). LeCun's own network of 1998
    is another one, of 60,000.

    As in Caffe only the hidden fully connected layer has a ReLU.

    Args:
        input_shape: `(height, width, channels)`, at least 16 x 16.
        classes: int, the number of outputs.
        conv: builds the second convolution, such as `functools.partial(keras_dsr.SparseConv2D, sparsity=0.9)`.
        dense: builds the fully connected layers, such as `functools.partial(keras_dsr.SparseDense, sparsity=0.9)`.
        kernel_regularizer: a Keras regularizer for the four kernels.
        width: positive number, the factor on the 20 and 50 filters and the 500 hidden units (rounded, at least one).
        dropout: number in [0, 1), the fraction of those 500 units that is dropped in training.

    Returns:
        An uncompiled functional model from `(batch, *input_shape)` to `(batch, classes)`.

    Raises:
        ValueError: an image smaller than 16 x 16, or `width` is not positive and finite.
    """
    check_width(width, "lenet_5", "the 20 and 50 filters and the 500 hidden units")
    if min(input_shape[:2]) < SMALLEST:
        raise ValueError(
            f"lenet_5(input_shape=...) must be at least {SMALLEST} x {SMALLEST} pixels: nothing is left of a smaller "
            f"image after the second pooling. Enlarge the images, or use models.lenet_300_100. Received: {input_shape}"
        )
    # Uniform with the variance 1 / fan_in, as in Caffe.
    arguments = {"kernel_initializer": "lecun_uniform", "kernel_regularizer": kernel_regularizer}

    filters, more_filters, units = (max(1, round(channels * width)) for channels in (20, 50, 500))
    inputs = keras.Input(input_shape)
    x = layers.MaxPooling2D(2)(layers.Conv2D(filters, 5, **arguments)(inputs))
    x = layers.MaxPooling2D(2)(conv(more_filters, 5, **arguments)(x))
    x = dense(units, activation="relu", **arguments)(layers.Flatten()(x))
    x = dense(classes, **arguments)(layers.Dropout(dropout)(x) if dropout else x)
    return keras.Model(inputs, layers.Activation("linear", dtype="float32", name="logits")(x), name="lenet_5")


def check_width(width: float, builder: str, what: str) -> None:
    """Raise `ValueError` if a width is not positive and finite; it is the factor on `what` that `builder` takes."""
    if not 0 < width < math.inf:
        raise ValueError(
            f"{builder}(width=...) must be a positive number: the factor on {what}, such as 1 or 0.5. Received: {width}"
        )
