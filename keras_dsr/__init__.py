"""keras_dsr: sparse training for Keras 3, with a fixed number of weights from the first step to the last."""

from keras_dsr import layers, methods, schedules
from keras_dsr._version import __version__ as __version__
from keras_dsr.analysis import sensitivity, summary
from keras_dsr.callbacks import DSDCallback, DSRCallback, Reallocate
from keras_dsr.conversion import densify, masks_at_initialization, sparsify, strip
from keras_dsr.exporting import export, semi_structured
from keras_dsr.layers import *  # noqa: F403
from keras_dsr.optimizers import SparseOptimizer
from keras_dsr.reporting import report
from keras_dsr.saving import save
from keras_dsr.selectors.language import pointwise_convolutions
from keras_dsr.shrinking import shrink
from keras_dsr.weights import Reallocator, sparse_weights

__all__ = [
    *layers.__all__,
    "DSDCallback",
    "DSRCallback",
    "Reallocate",
    "Reallocator",
    "SparseOptimizer",
    "densify",
    "export",
    "masks_at_initialization",
    "methods",
    "pointwise_convolutions",
    "report",
    "save",
    "schedules",
    "semi_structured",
    "sensitivity",
    "shrink",
    "sparse_weights",
    "sparsify",
    "strip",
    "summary",
]
