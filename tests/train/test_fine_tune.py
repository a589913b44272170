"""Sparse fine-tuning of a dense run, by the program."""

import numpy as np
import pytest
from rich.console import Console

import keras_dsr as dsr
from tests.helpers.networks import values
from train.experiment.settings import Settings
from train.fine_tune import fine_tune
from train.run import train

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def dense_run(tmp_path_factory):
    return train(Settings(method="dense", epochs=8, out=str(tmp_path_factory.mktemp("dense") / "run")))


def test_a_network_that_was_cut_by_magnitude_gets_its_accuracy_back(dense_run):
    console = Console(record=True, width=120, quiet=True)
    model = fine_tune(str(dense_run.folder), 0.9, 3, "erk", None, console)
    weights = dsr.sparse_weights(model)
    assert sum(weight.count() for weight in weights) == 5020
    assert not any(np.any(values(weight.layer.kernel)[~values(weight.mask)]) for weight in weights)
    test = model.evaluate(*_test_digits(), verbose=0, return_dict=True)
    assert test["accuracy"] > dense_run.test_score - 0.02


def _test_digits():
    from train.data.in_memory import digits

    images, labels = zip(*digits().test())
    return np.concatenate(images), np.concatenate(labels)


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"--run=.* holds no run"):
        fine_tune(str(tmp_path), 0.9, 1, "erk", None, Console(quiet=True))
