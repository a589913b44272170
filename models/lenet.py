"""LeNet-300-100 (LeCun et al. 1998) as in Mostafa & Wang 2019: batch norm after each layer, no bias."""

import math
from collections.abc import Callable

import keras
from keras import layers


def lenet_300_100(
    input_shape: tuple[int, ...] = (28, 28, 1),
    classes: int = 10,
    dense: Callable[..., layers.Layer] = layers.Dense,
    kernel_regularizer=None,
    width: float = 1,
) -> keras.Model:
    """A fully connected network with 300 and 100 hidden units; it returns logits.

    Args:
        input_shape: shape of one input; it is flattened. `(28, 28, 1)` gives 267,020 trainable parameters, 266,200 of
            them in the three kernels.
        classes: int, the number of outputs.
        dense: builds the three layers, such as `functools.partial(keras_dsr.SparseDense, sparsity=0.99)`.
        kernel_regularizer: a Keras regularizer for the three kernels.
        width: positive number, the factor on the 300 and 100 hidden units (rounded, at least one).

    Returns:
        An uncompiled functional model from `(batch, *input_shape)` to `(batch, classes)`.

    Raises:
        ValueError: `width` is not positive and finite.
    """
    if not 0 < width < math.inf:
        raise ValueError(
            "lenet_300_100(width=...) must be a positive number: the factor on the 300 and 100 hidden units, such as "
            f"1 or 0.5. Received: {width}"
        )
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
    # float32, so that the loss is exact in mixed precision too
    return keras.Model(inputs, layers.Activation("linear", dtype="float32", name="logits")(x), name="lenet_300_100")
