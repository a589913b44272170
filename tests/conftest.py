"""What every test has: one backend (KERAS_BACKEND), fixed random numbers, and property tests that repeat exactly."""

import os
import subprocess

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # the models are small, and the tests run in several processes

import hypothesis
import keras
import pytest

hypothesis.settings.register_profile("quick", deadline=None, derandomize=True, max_examples=15, database=None)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=300, database=None)


def pytest_addoption(parser):
    help_ = "run what takes too long for every change: large networks, and property tests with more examples"
    parser.addoption("--thorough", action="store_true", help=help_)


def pytest_configure(config):
    config.addinivalue_line("markers", "thorough: takes too long for every change; runs with --thorough")
    config.addinivalue_line("markers", "backends(*names): only there does it test anything, or anything new")
    hypothesis.settings.load_profile("thorough" if config.getoption("--thorough") else "quick")


def pytest_collection_modifyitems(config, items):
    elsewhere = [item for item in items if not _is_for_this_backend(item)]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if _is_for_this_backend(item)]
    if not config.getoption("--thorough"):
        for item in items:
            if item.get_closest_marker("thorough"):
                item.add_marker(pytest.mark.skip(reason="runs with --thorough"))


def _is_for_this_backend(item) -> bool:
    return all(keras.backend.backend() in marker.args for marker in item.iter_markers("backends"))


@pytest.fixture(autouse=True)
def fixed_random_numbers():
    keras.utils.set_random_seed(0)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 kB of its own; skips where it may not be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a file system here: {error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
