"""Deep Speech 2 (Amodei et al. 2015, arXiv 1512.02595): convolutions, seven bidirectional recurrent layers, CTC."""

import math
from collections.abc import Callable

import keras
from keras import layers

CONVOLUTIONS = (((11, 41), (2, 2)), ((11, 21), (1, 2)))  # size and strides, in frames and bands


def deep_speech_2(
    input_shape: tuple[int | None, int] = (None, 161),
    classes: int = 29,
    conv: Callable[..., layers.Layer] = layers.Conv2D,
    dense: Callable[..., layers.Layer] = layers.Dense,
    recurrent: Callable[..., layers.Layer] = layers.SimpleRNN,
    bidirectional: Callable[..., layers.Layer] = layers.Bidirectional,
    kernel_regularizer=None,
    width: float = 1,
) -> keras.Model:
    """Two 2-D convolutions, seven bidirectional recurrent layers and a dense one; it returns logits for CTC.

    Each hidden layer ends in a ReLU clipped at 20, in the recurrent layers too, whose directions are added up. Batch
    norm follows each convolution and precedes every other layer: of a Keras layer's input, not of its product with the
    kernel, as in the paper. The first convolution and the output layer are always dense, by the convention of Han et
    al. 2017 (arXiv 1607.04381).

    They name 67M parameters, with seven simple recurrent layers. That is 1,760 units whose two directions share a
    kernel for their inputs. In Keras each has its own. Our reading keeps the layers and the size: with 1,528 units
    there are 67,394,077 trainable parameters, 67,285,184 of them in the 30 kernels that `conv`, `dense` and `recurrent`
    build.

    Args:
        input_shape: `(frames, bands)`; frames may be None.
        classes: int, the number of outputs: letters, space and CTC's blank.
        conv: builds the second convolution, such as `functools.partial(keras_dsr.SparseConv2D, sparsity=0.5)`.
        dense: builds the layer after the recurrent ones, such as `functools.partial(keras_dsr.SparseDense,
            sparsity=0.5)`.
        recurrent: builds the recurrent layers, such as `functools.partial(keras_dsr.SparseSimpleRNN, sparsity=0.5)`.
        bidirectional: builds the layers around them, such as `keras_dsr.SparseBidirectional`. Keras' own serves as
            well, for sparse layers too.
        kernel_regularizer: a Keras regularizer for every kernel.
        width: positive number, the factor on the 1,528 units and on the 32 channels of the convolutions (rounded, at
            least one).

    Returns:
        An uncompiled functional model from `(batch, frames, bands)` to `(batch, ceil(frames / 2), classes)`.

    Raises:
        ValueError: `width` is not positive and finite.
    """
    if not 0 < width < math.inf:
        raise ValueError(
            "deep_speech_2(width=...) must be a positive number: the factor on the 1,528 units and the 32 channels, "
            f"such as 1 or 0.1. Received: {width}"
        )
    units, channels = (max(1, round(number * width)) for number in (1528, 32))
    regularizers = {"kernel_regularizer": kernel_regularizer, "recurrent_regularizer": kernel_regularizer}

    def clipped():
        return layers.ReLU(max_value=20)

    inputs = keras.Input(input_shape)
    x = layers.Reshape((-1, input_shape[1], 1))(inputs)
    for build, (size, strides) in zip((layers.Conv2D, conv), CONVOLUTIONS, strict=True):
        settings = {"strides": strides, "padding": "same", "use_bias": False, "kernel_regularizer": kernel_regularizer}
        x = clipped()(layers.BatchNormalization()(build(channels, size, **settings)(x)))
    x = layers.Reshape((-1, x.shape[2] * x.shape[3]))(x)
    for _ in range(7):
        steps = recurrent(units, activation=clipped(), return_sequences=True, **regularizers)
        x = bidirectional(steps, merge_mode="sum")(layers.BatchNormalization()(x))
    x = clipped()(dense(units, kernel_regularizer=kernel_regularizer)(layers.BatchNormalization()(x)))
    x = layers.Dense(classes, kernel_regularizer=kernel_regularizer)(layers.BatchNormalization()(x))
    # float32, so that the loss is exact in mixed precision too
    return keras.Model(inputs, layers.Activation("linear", dtype="float32", name="logits")(x), name="deep_speech_2")
