"""A model with a copy on each device: `tf.distribute.MirroredStrategy` and `keras.distribution.DataParallel`."""

import keras
import pytest

from tests.devices.programs import findings

pytestmark = [pytest.mark.backends("tensorflow", "jax"), pytest.mark.slow_on("jax")]

# How many devices for sparse layers, and for the optimizer.
COUNTS = "4,2" if keras.backend.backend() == "jax" else "2,2"


@pytest.fixture(scope="module")
def found(request, tmp_path_factory):
    thorough = ["thorough"] if request.config.getoption("--thorough") else []
    return findings("data_parallel", 4, tmp_path_factory.mktemp("files"), COUNTS, *thorough)


def each_run(found) -> dict:
    return {**found["reallocated"], **found["methods"]}


def test_every_device_holds_the_same_bits_of_every_variable(found):
    runs = each_run(found) | ({"DSD": found["dense_sparse_dense"]} if "dense_sparse_dense" in found else {})
    assert {name: run["differing_copies"] for name, run in runs.items() if run["differing_copies"]} == {}


def test_the_budget_is_exact_on_every_number_of_devices(found):
    for name, run in each_run(found).items():
        budget = 14 + 3686 + 154 if "convolution" in name else 819 + 154  # a fifth of each kernel's positions
        assert run["budgets"] == [budget] * 4, name


def test_reallocations_move_weights(found):
    assert all(run["reallocations"] == [5, 5] for run in found["reallocated"].values())
    assert all(run["moved"] > 0.05 for run in each_run(found).values())


def test_the_masks_after_the_first_reallocation_are_those_of_one_device(found):
    compared = {name: run for name, run in each_run(found).items() if run.get("compared", True)}
    assert {name: run["first_masks_are_equal"] for name, run in compared.items()} == dict.fromkeys(compared, True)


def test_weights_and_masks_at_the_end_are_those_of_one_device_but_for_rounding(found):
    for name, run in each_run(found).items():
        assert run["masks"] <= 0.01, name
        assert run["weights"] <= 1e-5, name
        assert run["thresholds"][0] == run["thresholds"][1], name


def test_the_gradients_that_rigl_remembers_are_those_of_the_whole_batch(found):
    run = found["methods"]["RigL"]
    assert run["largest_gradient"] > 0.01
    assert run["gradients"] <= 1e-5 * run["largest_gradient"]


@pytest.mark.backends("tensorflow")
def test_gradients_that_each_replica_sees_for_itself_are_refused(found):
    assert "compact storage: each replica sees those of its own examples" in found["refused"]


def test_files_of_a_distributed_model_load_on_one_device(found):
    for saved in found["saved"].values():
        assert saved["plain_classes"] == ["Dense", "Dense"]
        assert saved["plain_weights"]
        assert saved["whole_bits"]
        assert saved["weights_bits"]
        assert saved["outputs"] == 0


@pytest.mark.thorough
def test_a_run_that_is_interrupted_goes_on_to_the_same_bits(found):
    assert found["resumed"] == {"steps": [50, 100], "same_bits": True}


@pytest.mark.thorough
def test_dense_sparse_dense_cuts_and_leaves_a_plain_model(found):
    run = found["dense_sparse_dense"]
    assert run["phases"] == [1, 2, 2]
    assert run["sparsities"] == [0.5, 0, 0]
    assert run["classes"] == ["Dense", "Dense"]
    assert run["zeros"] < 64 * 64 / 4
