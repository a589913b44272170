"""GraNet: as many weights as gradual pruning leaves, some of them where the gradient is largest."""

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.methods import GradualPruning, GraNet
from tests.helpers.networks import compiled, digits, fit, perceptron, values
from tests.helpers.views import EIGHT_GRADIENTS, updated, view


def eight(method, step: int) -> tuple[list[int], int]:
    """A tensor of eight weights 1, -2, ... 8, all active: which are after an update, and how many are gone."""
    weights = np.array([(-1.0) ** place * (place + 1) for place in range(8)], "float32")
    seen = view([weights], [np.ones(8, bool)], step=step, gradients=[EIGHT_GRADIENTS])
    _, (mask,), state = updated(method, seen, method.init(seen), 0)
    return values(mask).astype(int).tolist(), int(state["pruned"])


def test_what_is_dropped_beyond_the_schedule_comes_back_where_the_gradient_is_largest():
    # Half of eight are pruned: 1 to 4. Of the four left a quarter is dropped, 5; where it and the first four are, the
    # gradients are 9, 9, 9, 0.3 and 0.1: the first grows. At the end nothing is dropped.
    constant = {"initial_sparsity": 0.5, "final_sparsity": 0.5}
    assert eight(GraNet(**constant, end_step=10**6, fraction=0.25), 1) == ([1, 0, 0, 0, 0, 1, 1, 1], 4)
    assert eight(GraNet(**constant, end_step=7, fraction=0.25), 7) == ([0, 0, 0, 0, 1, 1, 1, 1], 4)


@pytest.mark.slow_on("tensorflow", "jax")
@pytest.mark.parametrize("scope", ["tensor", "global"])
@pytest.mark.parametrize("by", ["layers", "optimizer"])
def test_the_number_is_that_of_gradual_pruning_and_weights_move(scope, by):
    counts, methods = [], [GradualPruning(final_sparsity=0.8, end_step=60, scope=scope)]
    methods.append(GraNet(final_sparsity=0.8, end_step=60, scope=scope))
    for method in methods:
        keras.utils.set_random_seed(0)
        if by == "layers":
            model = compiled(perceptron(sparsity=0.0), keras.optimizers.SGD(0.1))
        else:
            layers = [keras.layers.Dense(24, "relu"), keras.layers.Dense(10)]
            model = keras.Sequential([keras.Input((64,)), *layers])
            compiled(model, dsr.SparseOptimizer(keras.optimizers.SGD(0.1), 0.0, seed=1))
        history = fit(model, dsr.Reallocate(method, period=10), batches=10, epochs=8).history
        counts.append([round(sparsity, 6) for sparsity in history["sparsity"]])
        moved = history["dsr_pruned"]
    assert counts[0] == counts[1]
    places = 64 * 24 + 24 * 10
    assert sum(moved) > 0.8 * places + 10  # more has gone than is missing
    assert moved[6:] == [0, 0]
    images, classes = digits()
    assert model.evaluate(images[:320], classes[:320], verbose=0)[1] > 0.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fraction": 0}, r"GraNet\(fraction=...\) must be a float in .0, 1.*fraction=0"),
        (
            {"initial_sparsity": 0.9, "final_sparsity": 0.5},
            r"GraNet\(initial_sparsity=..., final.*initial_sparsity=0.9",
        ),
        ({"end_step": 0}, r"GraNet\(begin_step=..., end_step=...\) needs ints.*end_step=0"),
        ({"scope": "layer"}, r"GraNet\(scope=...\) must be 'tensor' or 'global'.*scope='layer'"),
    ],
)
def test_bad_arguments(given, message):
    with pytest.raises(ValueError, match=message):
        GraNet(**given)
