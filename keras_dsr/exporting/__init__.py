"""Files that need nothing of keras_dsr to load: SavedModel, ONNX and LiteRT; and products by sparse tensor cores."""

from keras_dsr.exporting.export import export
from keras_dsr.exporting.semi_structured import semi_structured

__all__ = ["export", "semi_structured"]
