"""What the tests of the experiments share."""

import os
from pathlib import Path

import pytest

from train.run import train
from train.settings import Settings

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
