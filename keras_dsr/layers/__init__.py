"""State holders: sparse and tied layers, thin mixins over the stock Keras layers."""

from keras_dsr.layers.attention import SparseGroupQueryAttention, SparseMultiHeadAttention
from keras_dsr.layers.compact import CompactLayer
from keras_dsr.layers.compact_kinds import COMPACT_LAYERS, CompactConv2D, CompactDense, CompactEinsumDense
from keras_dsr.layers.containers import MaskedContainer
from keras_dsr.layers.convolution import (
    SparseConv1D,
    SparseConv1DTranspose,
    SparseConv2D,
    SparseConv2DTranspose,
    SparseConv3D,
    SparseConv3DTranspose,
    SparseDepthwiseConv1D,
    SparseDepthwiseConv2D,
    SparseSeparableConv1D,
    SparseSeparableConv2D,
)
from keras_dsr.layers.dense import SparseDense, SparseEinsumDense, SparseEmbedding
from keras_dsr.layers.masked import MaskedLayer
from keras_dsr.layers.normalization import (
    SparseBatchNormalization,
    SparseGroupNormalization,
    SparseLayerNormalization,
)
from keras_dsr.layers.recurrent import (
    SparseBidirectional,
    SparseGRU,
    SparseGRUCell,
    SparseLSTM,
    SparseLSTMCell,
    SparseSimpleRNN,
    SparseSimpleRNNCell,
)
from keras_dsr.layers.tied import TiedConv2D, TiedDense, TiedKernel

MASKED_LAYERS: tuple[type[MaskedLayer], ...] = (
    SparseDense,
    SparseEinsumDense,
    SparseEmbedding,
    SparseConv1D,
    SparseConv2D,
    SparseConv3D,
    SparseConv1DTranspose,
    SparseConv2DTranspose,
    SparseConv3DTranspose,
    SparseDepthwiseConv1D,
    SparseDepthwiseConv2D,
    SparseSeparableConv1D,
    SparseSeparableConv2D,
    SparseSimpleRNNCell,
    SparseLSTMCell,
    SparseGRUCell,
    SparseBatchNormalization,
    SparseLayerNormalization,
    SparseGroupNormalization,
)
MASKED_CONTAINERS: tuple[type[MaskedContainer], ...] = (
    SparseSimpleRNN,
    SparseLSTM,
    SparseGRU,
    SparseBidirectional,
    SparseMultiHeadAttention,
    SparseGroupQueryAttention,
)

__all__ = [
    "COMPACT_LAYERS",
    "MASKED_CONTAINERS",
    "MASKED_LAYERS",
    "MaskedContainer",
    "MaskedLayer",
    *(cls.__name__ for cls in MASKED_LAYERS + MASKED_CONTAINERS),
    "CompactConv2D",
    "CompactDense",
    "CompactEinsumDense",
    "CompactLayer",
    "TiedConv2D",
    "TiedDense",
    "TiedKernel",
]
