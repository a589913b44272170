"""Files that need nothing of keras_dsr to load: SavedModel, ONNX and LiteRT."""

from keras_dsr.exporting.export import export

__all__ = ["export"]
