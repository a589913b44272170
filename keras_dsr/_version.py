"""The version of the package, read by its build too, which imports no Keras."""

__version__ = "0.2.0"
