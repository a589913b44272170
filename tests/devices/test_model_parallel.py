"""Weights that are split over devices by `keras.distribution.ModelParallel`: what belongs to them is split alike."""

import keras
import pytest

from keras_dsr.backend.distribution import Initial
from tests.devices.programs import findings

pytestmark = pytest.mark.backends("jax")

LAYOUTS = {"conv/kernel": [None, None, None, "model"], "hidden/kernel": [None, "model"]}


@pytest.fixture(scope="module")
def found(request, tmp_path_factory):
    thorough = ["thorough"] if request.config.getoption("--thorough") else []
    return findings("model_parallel", 4, tmp_path_factory.mktemp("files"), *thorough)


def layouts_of(run: dict) -> dict:
    """By paths without the model's name, which Keras puts in front of some."""
    return {path.removeprefix("network/"): axes for path, axes in run["layouts"].items()}


def test_kernels_are_still_split_after_training(found):
    for name, run in found["trained"].items():
        assert layouts_of(run) == {**LAYOUTS, "classes/kernel": [None, "model"]}, name
        assert set(run["a_share"].values()) == {0.25 if "1x4" in name else 0.5}, name


def test_masks_slots_and_what_methods_keep_are_split_as_their_kernels_and_thresholds_are_whole(found):
    runs = found["trained"]
    assert {name: run["unlike_their_weight"] for name, run in runs.items() if run["unlike_their_weight"]} == {}


def test_devices_that_hold_the_same_part_hold_the_same_bits(found):
    runs = found["trained"]
    assert {name: run["differing_copies"] for name, run in runs.items() if run["differing_copies"]} == {}


def test_the_budget_is_exact_and_weights_move(found):
    for name, run in found["trained"].items():
        assert run["budgets"] == [3854] * 4, name
        assert run["moved"] > 0.05, name


def test_masks_and_weights_are_those_of_one_device(found):
    for name, run in found["trained"].items():
        assert run["first_masks_are_equal"], name
        assert run["masks"] <= 0.01, name
        assert run["weights"] <= 1e-5, name
        assert run["thresholds"][0] == run["thresholds"][1], name


def test_files_of_a_split_model_load_whole_and_split(found):
    saved = found["saved"]
    assert saved["bits_here"]
    assert saved["bits_there"]
    assert saved["plain_kernel"]


def test_a_loaded_split_model_trains_on_split(found):
    saved = found["saved"]
    assert saved["active"] == [3854, 3854]
    assert saved["trained_on"]["unlike_their_weight"] == []
    assert layouts_of(saved["trained_on"]) == {**LAYOUTS, "classes/kernel": [None, "model"]}


def test_a_model_that_fit_builds_is_split_as_well(found):
    run = found["built_by_fit"]
    assert set(map(tuple, run["layouts"].values())) == {(None, "model")}
    assert run["unlike_their_weight"] == []


@pytest.mark.thorough
def test_kernels_that_keras_makes_in_a_compiled_program_are_split_and_zero_where_dead(found):
    assert len(found["large"]) == 2
    for run in found["large"]:
        assert set(run["a_share"].values()) == {0.5}
        assert run["unlike_their_weight"] == []
        assert run["active"] == round(0.1 * run["size"])
        assert run["not_zero_at_dead_places"] == 0


def test_initial_values_can_be_made_in_a_compiled_program():
    import jax

    initial = Initial(lambda shape, dtype: keras.ops.ones(shape, dtype))
    made = jax.jit(initial.__call__, static_argnames=["shape", "dtype"])(shape=(2, 3), dtype="float32")
    assert made.shape == (2, 3)
    assert made.sum() == 6
