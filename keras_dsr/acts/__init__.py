"""The acts: what a user does with a sparse model. They ask the seam, and never assume how a weight is stored."""

from keras_dsr.acts.callbacks import DSRCallback, Reallocate
from keras_dsr.acts.dsd_callback import DSDCallback
from keras_dsr.acts.exporting import export
from keras_dsr.acts.saving import save
from keras_dsr.acts.sensitivity import sensitivity
from keras_dsr.acts.sparsify import sparsify
from keras_dsr.acts.sparsify_report import SparsifyReport
from keras_dsr.acts.summary import Summary, summary

__all__ = [
    "DSDCallback",
    "DSRCallback",
    "Reallocate",
    "SparsifyReport",
    "Summary",
    "export",
    "save",
    "sensitivity",
    "sparsify",
    "summary",
]
