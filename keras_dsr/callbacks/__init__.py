"""Callbacks for `model.fit`."""

from keras_dsr.callbacks.dsd import DSDCallback
from keras_dsr.callbacks.reallocate import DSRCallback, Reallocate

__all__ = ["DSDCallback", "DSRCallback", "Reallocate"]
