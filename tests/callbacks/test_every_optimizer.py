"""Fifty steps with reallocations under every optimizer of Keras, with sparse layers and with a `SparseOptimizer`."""

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from tests.helpers.every_optimizer import OPTIMIZERS
from tests.helpers.networks import active_counts, bits, compiled, fit, perceptron, values


@pytest.mark.backends("tensorflow")
def test_none_is_missing():
    wrappers = {"Optimizer", "LossScaleOptimizer", "MultiOptimizer"}
    shipped = {name for name, kind in vars(keras.optimizers).items() if isinstance(kind, type)} - wrappers
    shipped = {name for name in shipped if issubclass(getattr(keras.optimizers, name), keras.optimizers.Optimizer)}
    assert set(OPTIMIZERS) == shipped


class Watch(keras.callbacks.Callback):
    """Counts, after every step, the pruned weights that are not 0: in what the network sees, and as they are stored."""

    def __init__(self):
        super().__init__()
        self.seen, self.stored, self.totals = 0, 0, set()

    def on_train_batch_end(self, batch, logs=None):
        weights = dsr.sparse_weights(self.model)
        self.totals.add(sum(weight.count() for weight in weights))
        for weight in weights:
            dead = ~values(weight.mask)
            self.seen += np.count_nonzero(values(weight.layer.kernel)[dead])
            self.stored += np.count_nonzero(values(weight.variable)[dead])


def _marks(index: int, turn: int):
    is_default = index % 2 == turn and (keras.backend.backend() != "tensorflow" or index % 4 in (0, 3))
    return () if is_default else pytest.mark.thorough


# Each optimizer once on JAX and torch, with sparse layers and with a `SparseOptimizer` in turn, and half of them on
# TensorFlow, where each is traced anew; all pairs with --thorough.
PAIRS = [
    pytest.param(name, held_by, marks=_marks(index, turn))
    for index, name in enumerate(OPTIMIZERS)
    for turn, held_by in enumerate(("layers", "optimizer"))
]


@pytest.mark.parametrize(("name", "held_by"), PAIRS)
def test_dead_weights_are_zero_at_every_step_and_nothing_is_nan(name, held_by):
    optimizer = OPTIMIZERS[name]()
    if held_by == "layers":
        model = compiled(perceptron(), optimizer)
    else:
        layers = [keras.layers.Dense(24, activation="relu"), keras.layers.Dense(10)]
        model = compiled(
            keras.Sequential([keras.Input((64,)), *layers]), dsr.SparseOptimizer(optimizer, sparsity=0.8, seed=1)
        )
    first = [bits(weight.mask) for weight in dsr.sparse_weights(model)]
    watch = Watch()
    history = fit(model, dsr.DSRCallback(target=0.1, period=10), watch, batches=50).history
    assert history["dsr_reallocations"] == [5]
    assert [bits(weight.mask) for weight in dsr.sparse_weights(model)] != first
    assert watch.totals == {355} and sum(active_counts(model)) == 355
    assert watch.seen == 0
    if held_by == "optimizer":
        assert watch.stored == 0
    assert np.isfinite(history["loss"][0])
    for variable in [*model.variables, *model.optimizer.variables]:
        assert np.isfinite(values(variable).astype("float64")).all(), variable.path
