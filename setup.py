"""A shim for tools that still call it; the metadata is in pyproject.toml."""

from setuptools import setup

setup()
