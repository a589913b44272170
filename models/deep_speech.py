"""Deep Speech (Hannun et al. 2014, arXiv 1412.5567): from the frames of a recording to letters, for CTC."""

import math
from collections.abc import Callable

import keras
from keras import layers


def deep_speech(
    input_shape: tuple[int | None, int] = (None, 161),
    classes: int = 29,
    context: int = 5,
    dense: Callable[..., layers.Layer] = layers.Dense,
    recurrent: Callable[..., layers.Layer] = layers.SimpleRNN,
    bidirectional: Callable[..., layers.Layer] = layers.Bidirectional,
    kernel_regularizer=None,
    width: float = 1,
) -> keras.Model:
    """Three layers on each frame, a bidirectional recurrent one and one more; it returns logits for CTC.

    Hidden layers end in a ReLU clipped at 20, in the recurrent layer too, whose directions are added up. The first
    layer reads a window of frames: a convolution over time. It and the output layer are always dense, by the convention
    of Han et al. 2017 (arXiv 1607.04381).

    They name 8M parameters. With 1,024 units, 11 frames of 161 bands and 29 classes, that is 8,139,805 when both
    directions share a kernel for their inputs, as in the paper. In Keras each has its own, which takes 9,189,405. Our
    reading keeps the size: with 960 units there are 8,184,989 trainable parameters, 6,451,200 of them in the seven
    kernels that `dense` and `recurrent` build.

    Args:
        input_shape: `(frames, bands)`; frames may be None.
        classes: int, the number of outputs: letters, space and CTC's blank.
        context: int, how many frames before and after its own the first layer sees.
        dense: builds the second, third and fifth layer, such as `functools.partial(keras_dsr.SparseDense,
            sparsity=0.5)`.
        recurrent: builds the recurrent layer, such as `functools.partial(keras_dsr.SparseSimpleRNN, sparsity=0.5)`.
        bidirectional: builds the layer around it, such as `keras_dsr.SparseBidirectional`. Keras' own serves as well,
            for sparse layers too.
        kernel_regularizer: a Keras regularizer for every kernel.
        width: positive number, the factor on the 960 units (rounded, at least one).

    Returns:
        An uncompiled functional model from `(batch, frames, bands)` to `(batch, frames, classes)`.

    Raises:
        ValueError: `width` is not positive and finite.
    """
    if not 0 < width < math.inf:
        raise ValueError(
            "deep_speech(width=...) must be a positive number: the factor on the 960 units, such as 1 or 0.1. "
            f"Received: {width}"
        )
    units = max(1, round(960 * width))
    regularizers = {"kernel_regularizer": kernel_regularizer, "recurrent_regularizer": kernel_regularizer}

    def clipped():
        return layers.ReLU(max_value=20)

    inputs = keras.Input(input_shape)
    window = layers.Conv1D(units, 2 * context + 1, padding="same", kernel_regularizer=kernel_regularizer)
    x = clipped()(window(inputs))
    for _ in range(2):
        x = clipped()(dense(units, kernel_regularizer=kernel_regularizer)(x))
    steps = recurrent(units, activation=clipped(), return_sequences=True, **regularizers)
    x = bidirectional(steps, merge_mode="sum")(x)
    x = clipped()(dense(units, kernel_regularizer=kernel_regularizer)(x))
    x = layers.Dense(classes, kernel_regularizer=kernel_regularizer)(x)
    # float32, so that the loss is exact in mixed precision too
    return keras.Model(inputs, layers.Activation("linear", dtype="float32", name="logits")(x), name="deep_speech")
