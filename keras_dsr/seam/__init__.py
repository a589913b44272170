"""The seam: knows where a model keeps its sparse weights, masks and optimizer slots, and alone writes them."""

from keras_dsr.seam.conversion import densify, strip, stripped
from keras_dsr.seam.reallocation import Outcome, Reallocation
from keras_dsr.seam.reallocator import Reallocator
from keras_dsr.seam.weights import SparseWeight, sparse_weights

__all__ = ["Outcome", "Reallocation", "Reallocator", "SparseWeight", "densify", "sparse_weights", "strip", "stripped"]
