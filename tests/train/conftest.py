"""What the tests of the experiments share."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from keras_dsr import sparse_weights
from train.experiment.settings import Settings
from train.run import execute, prepare, train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def prepared_data() -> str:
    """A folder of prepared TensorFlow Datasets with mnist and cifar10, where this machine has one."""
    for folder in (os.environ.get("TFDS_DATA_DIR"), ROOT.parent / "shared" / "data" / "tfds"):
        if folder and Path(folder, "mnist").is_dir() and Path(folder, "cifar10").is_dir():
            return str(folder)
    pytest.skip("needs mnist and cifar10 prepared by TFDS in TFDS_DATA_DIR or ../shared/data/tfds")


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Settings and result of a short run of DSR on digits, in a folder that tests must not change."""
    settings = Settings(epochs=3, seed=1, out=str(tmp_path_factory.mktemp("finished") / "run"))
    return settings, train(settings)


@pytest.fixture(scope="session")
def finished_slices(tmp_path_factory):
    """A run of SET that moved slices of the convolutions of a small wide residual network, and its result."""
    small = {"method": "set", "depth": 10, "width": 0.5, "epochs": 1, "batch_size": 10, "target": 0.1}
    settings = Settings(dataset="digits", recipe="wide_resnet_cifar10", pattern="kernel", **small)
    run = prepare(replace(settings, out=str(tmp_path_factory.mktemp("slices") / "run")))
    before = [weight.mask.numpy() for weight in sparse_weights(run.network.model)]
    return before, run, execute(run, Console(quiet=True))
