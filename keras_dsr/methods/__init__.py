"""Methods: which weights die and which are born. One file a method, all under the contract of `View`."""

from keras_dsr.methods.base import View
from keras_dsr.methods.deepr import DeepR
from keras_dsr.methods.dsd import DSD
from keras_dsr.methods.dsr import DSR
from keras_dsr.methods.gradual_pruning import GradualPruning
from keras_dsr.methods.rigl import RigL
from keras_dsr.methods.set import SET
from keras_dsr.methods.snfs import SNFS
from keras_dsr.methods.static import Static

__all__ = ["DSD", "DSR", "SET", "SNFS", "DeepR", "GradualPruning", "RigL", "Static", "View"]
