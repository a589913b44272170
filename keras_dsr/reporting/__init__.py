"""The report of a model or a run: one page that needs nothing else."""

from keras_dsr.reporting.report import report

__all__ = ["report"]
