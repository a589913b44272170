"""Whether Keras is writing a model for other programs, which cannot call back to this one."""

import sys
import types

_WRITING = "keras.src.export."


def is_exporting() -> bool:
    """Whether `model.export` or a `keras.export.ExportArchive` is what called."""
    frame: types.FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(_WRITING):
            return True
        frame = frame.f_back
    return False
