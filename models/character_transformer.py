"""A small decoder-only transformer that reads and writes characters, in the manner of GPT-2 (Radford et al. 2019)."""

import math
from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from models.lenet import check_width

UNITS, HEADS = 256, 4
DROPOUT = 0.1


def character_transformer(
    vocabulary: int = 96,
    length: int = 128,
    dense: Callable[..., layers.Layer] = layers.Dense,
    kernel_regularizer=None,
    width: float = 1,
    depth: int = 3,
) -> keras.Model:
    """A transformer of blocks of causal attention and two feed-forward layers; it returns logits of the next character.

    Normalization comes first in each block, and before the last layer; dropout of 0.1 behind the embedding and each
    half of a block; positions are sine and cosine waves (Vaswani et al. 2017, arXiv 1706.03762, section 3.5). At the
    default arguments there are 2,419,040 trainable parameters, 2,359,296 of them in the 18 kernels of the blocks. The
    embedding and the last layer are always dense.

    Args:
        vocabulary: int, the number of characters.
        length: int, positions of a text.
        dense: builds the six layers of each block (query, key, value, output; up and down), such as
            `functools.partial(keras_dsr.SparseDense, sparsity=0.9)`.
        kernel_regularizer: a Keras regularizer for their kernels.
        width: positive number, the factor on the 256 units (rounded to a multiple of 8, at least 8).
        depth: int, the number of blocks, at least 1.

    Returns:
        An uncompiled functional model from characters, ints of shape `(batch, length)`, to `(batch, length,
        vocabulary)`. Position t depends on characters 0 to t alone.

    Raises:
        ValueError: `width` is not positive and finite, or `depth` is not a positive int.
    """
    check_width(width, "character_transformer", f"the {UNITS} units")
    if not isinstance(depth, int) or isinstance(depth, bool) or depth < 1:
        raise ValueError(
            f"character_transformer(depth=...) must be a positive int, the number of blocks. Received: {depth!r}"
        )
    size = 2 * max(1, round(UNITS * width / HEADS / 2))  # of a head
    units = HEADS * size

    def projection(outputs, **arguments):
        return dense(outputs, kernel_regularizer=kernel_regularizer, **arguments)

    def attention(x):
        query, key, value = (layers.Reshape((length, HEADS, size))(projection(units)(x)) for _ in range(3))
        seen = ops.dot_product_attention(query, key, value, is_causal=True)
        return projection(units)(layers.Reshape((length, units))(seen))

    def feed_forward(x):
        return projection(units)(projection(4 * units, activation="gelu")(x))

    characters = keras.Input((length,), dtype="int32", name="characters")
    x = layers.Embedding(vocabulary, units)(characters) + waves(length, units)
    x = layers.Dropout(DROPOUT)(x)
    for _ in range(depth):
        for half in (attention, feed_forward):
            x = x + layers.Dropout(DROPOUT)(half(layers.LayerNormalization()(x)))
    logits = layers.Dense(vocabulary)(layers.LayerNormalization()(x))
    outputs = layers.Activation("linear", dtype="float32", name="logits")(logits)
    return keras.Model(characters, outputs, name="character_transformer")


def waves(length: int, units: int) -> np.ndarray:
    """Sine and cosine waves of positions, float32 of shape `(1, length, units)`, of the size of embeddings."""
    rates = np.exp(-math.log(10_000) * np.arange(units // 2) / (units // 2))
    angles = np.arange(length)[:, None] * rates
    return 0.05 * np.concatenate([np.sin(angles), np.cos(angles)], axis=1)[None].astype("float32")
