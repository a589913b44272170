"""The fully connected keyword spotter of Zhang, Suda, Lai & Chandra 2017, "Hello Edge" (arXiv 1711.07128)."""

import math
from collections.abc import Callable

import keras
from keras import layers

from models.lenet import check_width

HIDDEN = 436  # of each of three layers: the largest of the paper's DNNs


def hello_edge(
    input_shape: tuple[int, ...] = (49, 32, 1),
    classes: int = 10,
    dense: Callable[..., layers.Layer] = layers.Dense,
    kernel_regularizer=None,
    width: float = 1,
) -> keras.Model:
    """Three fully connected layers of 436 units, each normalized by batch and rectified; it returns logits.

    Args:
        input_shape: shape of one input, such as `(frames, bands, 1)`; it is flattened.
        classes: int, the number of words.
        dense: builds the four layers, such as `functools.partial(keras_dsr.SparseDense, sparsity=0.9)`.
        kernel_regularizer: a Keras regularizer for the four kernels.
        width: positive number, the factor on the hidden units (rounded, at least one).

    Returns:
        An uncompiled functional model from `(batch, *input_shape)` to `(batch, classes)`.

    Raises:
        ValueError: `width` is not positive and finite.
    """
    check_width(width, "hello_edge", f"the {HIDDEN} hidden units")
    inputs = keras.Input(input_shape)
    x = layers.Reshape((math.prod(input_shape),))(inputs)
    for _ in range(3):
        x = dense(max(1, round(HIDDEN * width)), use_bias=False, kernel_regularizer=kernel_regularizer)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.Activation("relu")(x)
    x = dense(classes, kernel_regularizer=kernel_regularizer)(x)
    return keras.Model(inputs, layers.Activation("linear", dtype="float32", name="logits")(x), name="hello_edge")
