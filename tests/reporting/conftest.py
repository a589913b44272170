"""A run to report."""

import pytest

import keras_dsr as dsr
from tests.helpers.networks import compiled, fit, perceptron
from train.experiment.settings import Settings
from train.run import train


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The folder of a short run of DSR on digits, which tests must not change."""
    return train(Settings(epochs=2, seed=1, out=str(tmp_path_factory.mktemp("reported") / "run"))).folder


@pytest.fixture(scope="session")
def fitted():
    """A network trained by DSR, which tests must not change, and what `fit` returned."""
    model = compiled(perceptron())
    return model, fit(model, dsr.DSRCallback(target=20, period=3), epochs=2, validation_split=0.25)
