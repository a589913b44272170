"""An optimizer that keeps the variables of any model sparse, and how it is taken off."""

from keras_dsr.optimizers.sparse_optimizer import SparseOptimizer
from keras_dsr.optimizers.sparse_variable import SparseVariable
from keras_dsr.optimizers.unwrap import fresh_without_masks, without_masks

__all__ = ["SparseOptimizer", "SparseVariable", "fresh_without_masks", "without_masks"]
