"""LiteRT (TensorFlow Lite) files: sparse tensors, in the forms that its interpreters are fast with."""

from keras_dsr.exporting.litert.rows import FormRow
from keras_dsr.exporting.litert.write import write_litert

__all__ = ["FormRow", "write_litert"]
