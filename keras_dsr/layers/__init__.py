"""State holders: sparse layers, a thin mixin over the stock Keras layers."""

from keras_dsr.layers.convolution import SparseConv1D, SparseConv2D, SparseConv3D
from keras_dsr.layers.dense import SparseDense
from keras_dsr.layers.masked import MaskedKernel

__all__ = ["MaskedKernel", "SparseConv1D", "SparseConv2D", "SparseConv3D", "SparseDense"]
