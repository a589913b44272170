"""keras_dsr: sparse training for Keras 3, with a fixed number of weights from the first step to the last."""

from keras_dsr import methods, schedules
from keras_dsr._version import __version__ as __version__
from keras_dsr.acts import DSRCallback, Reallocate, export, save, summary
from keras_dsr.layers import SparseConv1D, SparseConv2D, SparseConv3D, SparseDense, TiedConv2D, TiedDense
from keras_dsr.seam import sparse_weights, strip

__all__ = [
    "DSRCallback",
    "Reallocate",
    "SparseConv1D",
    "SparseConv2D",
    "SparseConv3D",
    "SparseDense",
    "TiedConv2D",
    "TiedDense",
    "export",
    "methods",
    "save",
    "schedules",
    "sparse_weights",
    "strip",
    "summary",
]
