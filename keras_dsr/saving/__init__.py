"""Keras files of a sparse model, and the one way in which anything is written."""

from keras_dsr.saving.save import save

__all__ = ["save"]
