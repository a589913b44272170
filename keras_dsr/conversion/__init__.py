"""Making a model sparse in place, and dense or plain again."""

from keras_dsr.conversion.convert import densify, strip, stripped
from keras_dsr.conversion.initialization import masks_at_initialization
from keras_dsr.conversion.sparsify import sparsify
from keras_dsr.conversion.sparsify_report import SparsifyReport

__all__ = ["SparsifyReport", "densify", "masks_at_initialization", "sparsify", "strip", "stripped"]
