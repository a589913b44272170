"""One of every sparse layer, in a model that maps a batch of examples, and the same model of stock layers."""

from typing import Any, NamedTuple

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from tests.helpers.networks import selected, values


class Kind(NamedTuple):
    """A sparse class, the arguments that it shares with its stock class, and the shape of an example."""

    sparse_class: type
    arguments: dict[str, Any]
    shape: tuple[int, ...]


WINDOW = {"filters": 6, "kernel_size": 3}
KINDS = {
    "dense": Kind(dsr.SparseDense, {"units": 6}, (7,)),
    "einsum": Kind(
        dsr.SparseEinsumDense, {"equation": "abc,cd->abd", "output_shape": (5, 6), "bias_axes": "d"}, (5, 4)
    ),
    "embedding": Kind(dsr.SparseEmbedding, {"input_dim": 9, "output_dim": 5}, (6,)),
    "conv1d": Kind(dsr.SparseConv1D, WINDOW, (6, 4)),
    "conv2d": Kind(dsr.SparseConv2D, WINDOW, (5, 5, 4)),
    "conv3d": Kind(dsr.SparseConv3D, WINDOW, (4, 4, 4, 3)),
    "conv1d_transpose": Kind(dsr.SparseConv1DTranspose, WINDOW, (4, 4)),
    "conv2d_transpose": Kind(dsr.SparseConv2DTranspose, WINDOW, (4, 4, 4)),
    "conv3d_transpose": Kind(dsr.SparseConv3DTranspose, WINDOW, (3, 3, 3, 4)),
    "depthwise1d": Kind(dsr.SparseDepthwiseConv1D, {"kernel_size": 3, "depth_multiplier": 2}, (6, 4)),
    "depthwise2d": Kind(dsr.SparseDepthwiseConv2D, {"kernel_size": 3, "depth_multiplier": 2}, (5, 5, 4)),
    "separable1d": Kind(dsr.SparseSeparableConv1D, WINDOW, (6, 4)),
    "separable2d": Kind(dsr.SparseSeparableConv2D, WINDOW, (5, 5, 4)),
    "simple_rnn_cell": Kind(dsr.SparseSimpleRNNCell, {"units": 4}, (5, 3)),
    "lstm_cell": Kind(dsr.SparseLSTMCell, {"units": 4}, (5, 3)),
    "gru_cell": Kind(dsr.SparseGRUCell, {"units": 4}, (5, 3)),
    "batch_normalization": Kind(dsr.SparseBatchNormalization, {}, (8,)),
    "layer_normalization": Kind(dsr.SparseLayerNormalization, {}, (8,)),
    "group_normalization": Kind(dsr.SparseGroupNormalization, {"groups": 2}, (3, 8)),
    "simple_rnn": Kind(dsr.SparseSimpleRNN, {"units": 4}, (5, 3)),
    "lstm": Kind(dsr.SparseLSTM, {"units": 4}, (5, 3)),
    "gru": Kind(dsr.SparseGRU, {"units": 4}, (5, 3)),
    "bidirectional": Kind(dsr.SparseBidirectional, {"layer": dsr.SparseLSTM}, (5, 3)),
    "multi_head": Kind(dsr.SparseMultiHeadAttention, {"num_heads": 2, "key_dim": 3}, (5, 4)),
    "group_query": Kind(
        dsr.SparseGroupQueryAttention, {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}, (5, 4)
    ),
}
CELLS = [kind for kind in KINDS if kind.endswith("_cell")]
ATTENTION = ["multi_head", "group_query"]
LAYERS = [kind for kind in KINDS if kind not in [*ATTENTION, "simple_rnn", "lstm", "gru", "bidirectional"]]


def kinds_in_turn(turn: int, kinds=tuple(KINDS)):
    """Parametrize a test with one kind of each family, another one each turn: 0, 1, 2; the rest is thorough."""
    return pytest.mark.parametrize("kind", selected(kinds, list(kinds)[turn::3]))


def layer_of(kind: str, **arguments):
    """The sparse layer, about half of it pruned, its masks drawn from seed 3."""
    arguments = {"sparsity": 0.5, "mask_seed": 3, **arguments}
    if kind == "bidirectional":
        wrapper = {name: arguments.pop(name) for name in ("dtype", "name") if name in arguments}
        return dsr.SparseBidirectional(dsr.SparseLSTM(4, **arguments, **wrapper), **wrapper)
    return KINDS[kind].sparse_class(**KINDS[kind].arguments, **arguments)


def stock_layer_of(kind: str):
    if kind == "bidirectional":
        return keras.layers.Bidirectional(keras.layers.LSTM(4))
    return KINDS[kind].sparse_class.stock_class(**KINDS[kind].arguments)


def applied(kind: str, layer, inputs):
    """What a layer makes of inputs: a cell as a recurrent layer, attention as self-attention."""
    if kind in CELLS:
        return keras.layers.RNN(layer)(inputs)
    return layer(inputs, inputs) if kind in ATTENTION else layer(inputs)


def model_of(kind: str, layer=None, **arguments) -> keras.Model:
    """A model of one layer: the given one, or the sparse one of the kind."""
    inputs = keras.Input(KINDS[kind].shape, dtype="int32" if kind == "embedding" else None)
    return keras.Model(inputs, applied(kind, layer or layer_of(kind, **arguments), inputs))


def built(kind: str, **arguments):
    """The sparse layer of the kind, built."""
    layer = layer_of(kind, **arguments)
    model_of(kind, layer)
    return layer


def inputs_of(kind: str, examples: int = 3) -> np.ndarray:
    random, shape = np.random.default_rng(0), (examples, *KINDS[kind].shape)
    return random.integers(0, 9, shape) if kind == "embedding" else random.normal(size=shape).astype("float32")


def fill_dead_weights(model, value: float) -> None:
    """Store a value at the pruned positions of every sparse weight of a model, where no network or file may see it."""
    for weight in dsr.sparse_weights(model):
        weight.variable.assign(np.where(values(weight.mask), values(weight.variable), value))


def scrambled(model, garbage: float = np.nan) -> keras.Model:
    """The model with other masks of the same counts, other weights, an H, and garbage at the pruned positions."""
    for number, weight in enumerate(dsr.sparse_weights(model)):
        random = np.random.default_rng(number)
        units = weight.units.active(values(weight.mask), np)
        units = random.permutation(units.reshape(-1)).reshape(units.shape)
        weight.mask.assign(weight.units.mask(units, weight.shape, np))
        weight.variable.assign(random.normal(size=weight.shape))
        weight.threshold.assign(0.25)
    fill_dead_weights(model, garbage)
    return model


def masked_values(weight) -> np.ndarray:
    return np.where(values(weight.mask), values(weight.variable), np.zeros((), weight.variable.dtype))
