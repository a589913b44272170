"""Looking at a model: what it holds, and what each of its layers bears."""

from keras_dsr.analysis.sensitivity import sensitivity
from keras_dsr.analysis.summary import Summary, summary

__all__ = ["Summary", "sensitivity", "summary"]
