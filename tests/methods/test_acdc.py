"""AC/DC: compressed and dense phases in turn, the last one compressed."""

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.methods import ACDC
from tests.helpers.networks import compiled, digits, fit, perceptron, values
from tests.helpers.views import updated, view_of

PHASES = {"begin_step": 10, "phase": 5, "end_step": 28}


def active_at(step: int, sizes=(20, 5), **settings) -> tuple[list[int], int]:
    """Of dense tensors of weights 1, -2, 3, ...: the active units of each after an update, and how many were cut."""
    method = ACDC(0.6, **{**PHASES, **settings})
    seen = view_of(*([(-1.0) ** place * (place + 1) for place in range(size)] for size in sizes), step=step)
    _, masks, state = updated(method, seen, method.init(seen), 0)
    return [int(values(mask).sum()) for mask in masks], int(state["pruned"])


@pytest.mark.slow_on("jax")
@pytest.mark.parametrize(
    ("step", "compressed"),
    [(0, False), (9, False), (10, True), (14, True), (15, False), (19, False), (20, True), (25, False), (27, False)]
    + [(28, True), (33, True), (2**31 - 1, True)],
)
def test_phases_take_turns_and_the_end_is_compressed(step, compressed):
    assert active_at(step, scope="tensor") == (([8, 2], 15) if compressed else ([20, 5], 0))


def test_the_largest_of_the_whole_network_stay_and_one_in_each_tensor():
    assert active_at(10) == ([10 - 1, 1], 15)  # 20, 19, ... 12 of the first; of the second, which has none, its 5
    assert active_at(15) == ([20, 5], 0)


@pytest.mark.slow_on("tensorflow", "jax")
@pytest.mark.parametrize("scope", ["global", pytest.param("tensor", marks=pytest.mark.slow_on("tensorflow", "jax"))])
def test_a_network_trains_through_all_phases(scope):
    model = compiled(perceptron(sparsity=0.0), keras.optimizers.Adam(3e-3))
    method = ACDC(0.8, begin_step=40, phase=20, end_step=100, scope=scope)
    history = fit(model, dsr.Reallocate(method, period=1), batches=20, epochs=8).history
    found = np.round(history["sparsity"], 3)
    assert found.tolist() == [0, 0.8, 0, 0.8, 0.8, 0.8, 0.8, 0.8]  # the first update of a phase ends an epoch
    images, classes = digits()
    assert model.evaluate(images[640:], classes[640:], verbose=0)[1] > 0.5
    dead = [values(weight.variable)[~values(weight.mask)] for weight in dsr.sparse_weights(model)]
    assert not any(of_it.any() for of_it in dead)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sparsity": 1.0}, "must be a float in .0, 1.*sparsity=1.0"),
        ({"phase": 0}, "phase >= 1.*phase=0"),
        ({"begin_step": 9_000}, "0 <= begin_step <= end_step.*begin_step=9000"),
        ({"end_step": 2.5}, "needs ints.*end_step=2.5"),
        ({"scope": "layer"}, "'tensor' or 'global'.*scope='layer'"),
    ],
)
def test_bad_arguments(given, message):
    with pytest.raises(ValueError, match=message):
        ACDC(**given)


def test_compact_storage_has_no_room():
    model = keras.Sequential([keras.Input((64,)), dsr.SparseDense(10, sparsity=0.9, storage="compact")])
    with pytest.raises(ValueError, match="ACDC restores all weights.*compact storage.*masked"):
        dsr.Reallocator(compiled(model), ACDC())
