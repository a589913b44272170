"""State holders: sparse and tied layers, thin mixins over the stock Keras layers."""

from keras_dsr.layers.convolution import SparseConv1D, SparseConv2D, SparseConv3D
from keras_dsr.layers.dense import SparseDense
from keras_dsr.layers.masked import MaskedKernel
from keras_dsr.layers.tied import TiedConv2D, TiedDense, TiedKernel

__all__ = [
    "MaskedKernel",
    "SparseConv1D",
    "SparseConv2D",
    "SparseConv3D",
    "SparseDense",
    "TiedConv2D",
    "TiedDense",
    "TiedKernel",
]
