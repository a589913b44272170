"""A model to report."""

import pytest

import keras_dsr as dsr
from tests.helpers.networks import compiled, fit, perceptron


@pytest.fixture(scope="session")
def fitted():
    """A network trained by DSR, which tests must not change, and what `fit` returned."""
    model = compiled(perceptron())
    return model, fit(model, dsr.DSRCallback(target=20, period=3), epochs=2, validation_split=0.25)
