"""A small network with either storage of masks, how it is trained here, and how far two trained ones lie apart."""

import contextlib
import dataclasses

import keras
import numpy as np

import keras_dsr as dsr
from tests.devices.devices import Scope
from tests.helpers.networks import active_counts, bits, compiled, fit, values

BATCHES = 25  # an epoch


def network(storage: str, convolutional: bool = False) -> keras.Model:
    """64-64-12, perhaps after a convolution, at sparsity 0.8.

    Args:
        storage: `"layers"`: sparse layers; `"compact"`: those in compact storage (not the convolution);
            `"compact convolution"`: with one in compact storage first; `"sparsified"`: by `dsr.sparsify`;
            `"optimizer"`: by `dsr.SparseOptimizer`; `"dense"`: nothing is sparse.
        convolutional: with 8 filters of 3x3 first.
    """
    keras.utils.set_random_seed(0)
    layers = storage in ("layers", "compact", "compact convolution")
    held = {"storage": "compact"} if storage.startswith("compact") else {}
    of_convolution = held if storage == "compact convolution" else {}
    conv, dense = (dsr.SparseConv2D, dsr.SparseDense) if layers else (keras.layers.Conv2D, keras.layers.Dense)
    settings = [{"sparsity": 0.8, "mask_seed": seed} if layers else {} for seed in (1, 2, 3)]
    images = []
    if convolutional or of_convolution:
        filters = conv(8, 3, activation="relu", name="conv", **settings[0], **of_convolution)
        images = [keras.layers.Reshape((8, 8, 1)), filters, keras.layers.Flatten()]
    model = keras.Sequential(
        [
            keras.Input((64,)),
            *images,
            dense(64, activation="relu", name="hidden", **settings[1], **held),
            dense(12, name="classes", **settings[2], **held),
        ],
        name="network",
    )
    if storage == "sparsified":
        dsr.sparsify(model, 0.8, seed=1)
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    return compiled(model, dsr.SparseOptimizer(optimizer, 0.8, seed=1) if storage == "optimizer" else optimizer)


class MasksAfter(keras.callbacks.Callback):
    """Keeps the masks that the model has when so many batches of the first epoch are done."""

    def __init__(self, batches: int):
        super().__init__()
        self._batches = batches
        self.masks = None

    def on_train_batch_end(self, batch, logs=None):
        if self.masks is None and batch + 1 == self._batches:
            self.masks = [active_places(weight) for weight in dsr.sparse_weights(self.model)]


def active_places(weight) -> np.ndarray:
    """A flat mask of a sparse weight in either storage."""
    mask = np.zeros(weight.size, bool)
    mask[weight.positions()] = True
    return mask


def dense_values(weight) -> np.ndarray:
    """All positions of a sparse weight in either storage, flat."""
    dense = np.zeros(weight.size, "float32")
    dense[weight.positions()] = weight.values()
    return dense


@dataclasses.dataclass
class Run:
    """A trained model, the budget that it began with, and its masks after the first reallocation."""

    model: keras.Model
    budget: int
    first_masks: list[np.ndarray]
    reallocations: int


def fit_scope(scope: Scope) -> contextlib.AbstractContextManager:
    """Where `fit` is called: inside a `keras.distribution`, but outside of a `tf.distribute.Strategy`."""
    return scope() if keras.backend.backend() == "jax" else contextlib.nullcontext()


def trained(scope: Scope, model: keras.Model, callback: keras.callbacks.Callback, period: int, epochs: int) -> Run:
    """Train a model on the same batches of 32 in the same order, whatever it lies on."""
    budget = sum(active_counts(model))
    first = MasksAfter(period)
    with fit_scope(scope):
        history = fit(model, callback, first, batches=BATCHES, epochs=epochs)
    return Run(model, budget, first.masks, sum(history.history.get("dsr_reallocations", [])))


def all_variables(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]


def difference(one: Run, other: Run) -> dict:
    """How far two runs lie apart: their masks, as a fraction of the active weights; weights where both are active."""
    pairs = list(zip(dsr.sparse_weights(one.model), dsr.sparse_weights(other.model), strict=True))
    masks = [(active_places(left), active_places(right)) for left, right in pairs]
    weights = [np.abs(dense_values(left) - dense_values(right)) for left, right in pairs]
    return {
        "budgets": [one.budget, sum(active_counts(one.model)), other.budget, sum(active_counts(other.model))],
        "reallocations": [one.reallocations, other.reallocations],
        "moved": sum(int((before & ~mask).sum()) for before, (mask, _) in zip(one.first_masks, masks)) / one.budget,
        "first_masks_are_equal": all(map(np.array_equal, one.first_masks, other.first_masks)),
        "masks": sum(int((left & ~right).sum()) for left, right in masks) / one.budget,
        "weights": max(float(apart[left & right].max()) for apart, (left, right) in zip(weights, masks)),
        "thresholds": [float(values(run.threshold)) for run in pairs[0]],
    }


def same_bits(one: keras.Model, other: keras.Model) -> bool:
    """Of all variables of both models and their optimizers."""
    pairs = zip(all_variables(one), all_variables(other), strict=True)
    return all(bits(left) == bits(right) for left, right in pairs)
