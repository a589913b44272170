"""What every test has: one backend (KERAS_BACKEND), fixed random numbers, and property tests that repeat exactly."""

import atexit
import gc
import os
import pathlib
import shutil
import subprocess
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# The models are small, and the tests run in several processes, in which threads would wait for each other.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
if os.environ.get("KERAS_BACKEND") == "jax" and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # Nearly all of the time is XLA's: compile each of the small programs once, and fast rather than into fast code.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jax-of-tests-")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import hypothesis
import keras
import pytest

hypothesis.settings.register_profile("quick", deadline=None, derandomize=True, max_examples=8, database=None)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=300, database=None)


TESTS = pathlib.Path(__file__).parent
SLOWEST_FIRST = ("train", "devices", "weights", "layers", "callbacks")


if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    # tf.data tunes the reading of arrays in a thread of its own, for which an iterator that is collected now and then
    # waits for up to a minute.
    untuned = tf.data.Options()
    untuned.autotune.enabled = False
    tuned = ArrayDataAdapter.get_tf_dataset
    ArrayDataAdapter.get_tf_dataset = lambda self: tuned(self).with_options(untuned)


def pytest_addoption(parser):
    help_ = "run what takes too long for every change: large networks, and property tests with more examples"
    parser.addoption("--thorough", action="store_true", help=help_)


def pytest_configure(config):
    config.addinivalue_line("markers", "thorough: takes too long for every change; runs with --thorough")
    config.addinivalue_line("markers", "backends(*names): only there does it test anything, or anything new")
    config.addinivalue_line(
        "markers", "once: what it tests lies above the backend; on others than torch, the quickest, thorough"
    )
    config.addinivalue_line("markers", "slow_on(*names): thorough there, as others test it sooner")
    config.addinivalue_line("markers", "one_case_on(*names): of its cases all but the first are thorough there")
    hypothesis.settings.load_profile("thorough" if config.getoption("--thorough") else "quick")


def pytest_collection_modifyitems(config, items):
    elsewhere = [item for item in items if not _is_for_this_backend(item)]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if _is_for_this_backend(item)]
    items.sort(key=_turn)  # so that no process works alone at the end
    if not config.getoption("--thorough"):
        seen = set()
        for item in items:
            if _takes_too_long(item) or _is_one_more_case(item, seen):
                item.add_marker(pytest.mark.skip(reason="runs with --thorough"))


def _turn(item) -> int:
    folder = item.path.relative_to(TESTS).parts[0]
    return SLOWEST_FIRST.index(folder) if folder in SLOWEST_FIRST else len(SLOWEST_FIRST)


def _is_for_this_backend(item) -> bool:
    return all(keras.backend.backend() in marker.args for marker in item.iter_markers("backends"))


def _takes_too_long(item) -> bool:
    backend = keras.backend.backend()
    slow_here = any(backend in marker.args for marker in item.iter_markers("slow_on"))
    elsewhere = backend != "torch" and item.get_closest_marker("once")
    return bool(item.get_closest_marker("thorough") or slow_here or elsewhere)


def _is_one_more_case(item, seen: set) -> bool:
    """Whether a case of this test runs already where one is enough; `seen` holds those that do."""
    if not any(keras.backend.backend() in marker.args for marker in item.iter_markers("one_case_on")):
        return False
    test = item.path, item.originalname
    is_another = test in seen
    seen.add(test)
    return is_another


def pytest_collection_finish(session):
    gc.freeze()  # what the libraries hold need not be walked through either
    gc.set_threshold(200_000, 50, 100)  # an eighth of the time of tests that trace graphs went into collections


@pytest.fixture(autouse=True)
def fixed_random_numbers():
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True, scope="module")
def nothing_left_of_other_files():
    """What a file has compiled is forgotten after it, or memory grows to several times of what one file needs."""
    yield
    if keras.backend.backend() == "tensorflow":
        from tensorflow.python.framework import ops

        # TensorFlow registers the gradient of each function that is traced with one of its own, and so keeps its graph.
        registered = ops.gradient_registry._registry
        for name in [name for name in registered if name.startswith("CustomGradient-")]:
            del registered[name]
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()
    gc.collect()
    gc.freeze()  # what stays with Keras and TensorFlow need not be walked through by later collections


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
