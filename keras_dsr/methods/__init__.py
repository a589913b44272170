"""Methods: which weights die and which are born. One file a method, all under the contract of `View`."""

from keras_dsr.methods.dsr import DSR
from keras_dsr.methods.view import View

__all__ = ["DSR", "View"]
