"""The report of a model: one page of HTML that needs no other file."""

from keras_dsr.reporting.report import report

__all__ = ["report"]
