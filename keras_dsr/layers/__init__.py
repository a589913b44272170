"""Sparse, compact and tied layers: mixins over the stock Keras layers.

A class of your own becomes sparse by `MaskedLayer`:

>>> @keras.saving.register_keras_serializable()
... class SparseMyDense(keras_dsr.layers.MaskedLayer, MyDense):
...     stock_class = MyDense
"""

from keras_dsr.layers.attention import SparseGroupQueryAttention, SparseMultiHeadAttention
from keras_dsr.layers.compact import CompactLayer as CompactLayer
from keras_dsr.layers.compact_kinds import CompactConv1D as CompactConv1D
from keras_dsr.layers.compact_kinds import CompactConv2D as CompactConv2D
from keras_dsr.layers.compact_kinds import CompactConv3D as CompactConv3D
from keras_dsr.layers.compact_kinds import CompactDense as CompactDense
from keras_dsr.layers.compact_kinds import CompactEinsumDense as CompactEinsumDense
from keras_dsr.layers.containers import MaskedContainer as MaskedContainer
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
from keras_dsr.layers.masked import MaskedLayer as MaskedLayer
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
from keras_dsr.layers.tied import TiedConv2D, TiedDense
from keras_dsr.layers.tied import TiedKernel as TiedKernel

__all__ = [
    "SparseBatchNormalization",
    "SparseBidirectional",
    "SparseConv1D",
    "SparseConv1DTranspose",
    "SparseConv2D",
    "SparseConv2DTranspose",
    "SparseConv3D",
    "SparseConv3DTranspose",
    "SparseDense",
    "SparseDepthwiseConv1D",
    "SparseDepthwiseConv2D",
    "SparseEinsumDense",
    "SparseEmbedding",
    "SparseGRU",
    "SparseGRUCell",
    "SparseGroupNormalization",
    "SparseGroupQueryAttention",
    "SparseLSTM",
    "SparseLSTMCell",
    "SparseLayerNormalization",
    "SparseMultiHeadAttention",
    "SparseSeparableConv1D",
    "SparseSeparableConv2D",
    "SparseSimpleRNN",
    "SparseSimpleRNNCell",
    "TiedConv2D",
    "TiedDense",
]
