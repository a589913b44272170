"""The sparse weights of a model, one face for each, and a reallocation of them."""

from keras_dsr.weights.reallocation import Outcome, Reallocation
from keras_dsr.weights.reallocator import Reallocator
from keras_dsr.weights.sparse_weight import SparseWeight
from keras_dsr.weights.sparse_weights import sparse_weights

__all__ = ["Outcome", "Reallocation", "Reallocator", "SparseWeight", "sparse_weights"]
