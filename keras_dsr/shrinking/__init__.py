"""Removing the units that sparsity has left without input or output: a smaller, dense model with equal outputs."""

from keras_dsr.shrinking.report import LeftRow, ShrinkReport, ShrunkRow
from keras_dsr.shrinking.shrink import shrink

__all__ = ["LeftRow", "ShrinkReport", "ShrunkRow", "shrink"]
