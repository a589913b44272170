"""The one place that writes to a model: apply a method's decision to its weights, masks and optimizer slots."""

import math
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_dsr.decisions.selection import count_true
from keras_dsr.decisions.sharing import LARGEST_TOTAL
from keras_dsr.decisions.units import mask_weights, unit_mask, unit_shape
from keras_dsr.methods.view import View
from keras_dsr.seam.slots import optimizer_slots
from keras_dsr.seam.weights import SparseWeight, sparse_weights


class Outcome(NamedTuple):
    """What one reallocation did, on the host.

    Attributes:
        active: int64 array of shape `(tensors,)`, the active units of each tensor after it.
        state: dict of numpy scalars, what the method reported: for DSR `"threshold"` and `"pruned"`.
    """

    active: np.ndarray
    state: dict


class Reallocation:
    """A method bound to a model. Each call decides in one compiled program, then writes.

    Args:
        model: a built Keras model with at least one sparse layer; all of one granularity.
        method: a method (see `methods.View`).
        seed: int, the seed of its random numbers.

    Attributes:
        weights: the model's sparse weights, a list of `SparseWeight`.
        initial_state: what the method starts from, a dict of numpy arrays.

    Raises:
        ValueError: an unbuilt model, no sparse layer, or layers of different granularity; or what the method refuses.
    """

    def __init__(self, model: keras.Model, method, seed: int = 0):
        self.model = model
        self.method = method
        self.seed = seed
        self.weights = sparse_weights(model)
        _check(model, self.weights)
        self.initial_state = {name: ops.convert_to_numpy(value) for name, value in method.init(self._view()).items()}
        self._decide = _compiled(self._decision)

    def __call__(self) -> Outcome:
        """Reallocate once, at the optimizer's present step.

        Raises:
            RuntimeError: the method changed a total that it conserves, or left a tensor with no active weight. The
                model is as it was before.
        """
        slots = [optimizer_slots(self._optimizer, weight.variable) for weight in self.weights]
        slot_values = [[ops.convert_to_tensor(slot.variable) for slot in row] for row in slots]
        initial_values = [[slot.initial_value for slot in row] for row in slots]
        weights, masks, slot_values, before, after, state = self._decide(
            self._view()._replace(unit_axes=None),  # static, so not an argument of the compiled program
            ops.convert_to_tensor(self.weights[0].threshold),
            slot_values,
            initial_values,
        )
        before, after = ops.convert_to_numpy(before), ops.convert_to_numpy(after)
        self._check_postconditions(before, after)
        state = {name: ops.convert_to_numpy(value) for name, value in state.items()}

        for index, weight in enumerate(self.weights):
            weight.variable.assign(weights[index])
            weight.mask.assign(masks[index])
            if "threshold" in state:  # from the host: on JAX variables that share a buffer cannot be donated
                weight.threshold.assign(state["threshold"])
            for slot, value in zip(slots[index], slot_values[index]):
                slot.variable.assign(value)
        return Outcome(after.astype("int64"), state)

    def active(self) -> np.ndarray:
        """The active units of each tensor, an int64 array of shape `(tensors,)`."""
        masks = [ops.convert_to_tensor(weight.mask) for weight in self.weights]
        unit_axes = [weight.unit_axes for weight in self.weights]
        return ops.convert_to_numpy(_count_units(masks, unit_axes)).astype("int64")

    def sparsity(self) -> float:
        """The share of weights that are zero, over all tensors."""
        return 1 - sum(weight.count() for weight in self.weights) / sum(math.prod(w.shape) for w in self.weights)

    def threshold(self) -> float:
        """H as the next reallocation will use it, for a method whose state has a threshold."""
        return float(self.weights[0].threshold) or float(self.initial_state["threshold"])

    def _decision(self, view: View, stored_threshold, slots, initial_values):
        """The whole reallocation as a function of tensors; compiled once."""
        unit_axes = [weight.unit_axes for weight in self.weights]
        view = view._replace(unit_axes=unit_axes)
        state = dict(self.initial_state)
        if "threshold" in state:  # 0 in a layer means that no method has set it
            state["threshold"] = ops.where(stored_threshold > 0, stored_threshold, state["threshold"])
        weights, masks, state = self.method.update(view, state, self.seed)

        new_slots = []
        for index, old_mask in enumerate(view.masks):
            weights[index] = mask_weights(weights[index], masks[index])
            # Dead, newborn, or reborn where it had just died: its slots start over.
            starts_over = (weights[index] == 0) | (masks[index] & ~old_mask)
            new_slots.append(
                [
                    ops.where(starts_over, ops.cast(initial_value, slot.dtype), slot)
                    for slot, initial_value in zip(slots[index], initial_values[index])
                ]
            )
        return weights, masks, new_slots, _count_units(view.masks, unit_axes), _count_units(masks, unit_axes), state

    def _view(self) -> View:
        optimizer = self._optimizer
        return View(
            step=ops.cast(optimizer.iterations if optimizer else 0, "int32"),
            weights=[ops.convert_to_tensor(weight.variable) for weight in self.weights],
            masks=[ops.convert_to_tensor(weight.mask) for weight in self.weights],
            unit_axes=[weight.unit_axes for weight in self.weights],
            learning_rate=ops.convert_to_tensor(_learning_rate(optimizer), "float32"),
        )

    @property
    def _optimizer(self):
        return getattr(self.model, "optimizer", None)

    def _check_postconditions(self, before: np.ndarray, after: np.ndarray):
        if self.method.conserves and before.sum() != after.sum():
            raise RuntimeError(
                f"{self.method} changed the number of active units from {before.sum()} to {after.sum()}: a conserving "
                "method must keep it. The model was not changed."
            )
        if after.min() < 1:
            dead = self.weights[int(after.argmin())].name
            raise RuntimeError(f"{self.method} left no active weight in {dead!r}. The model was not changed.")


def _count_units(masks, unit_axes):
    return ops.stack([count_true(unit_mask(mask, axes)) for mask, axes in zip(masks, unit_axes)])


def _compiled(function: Callable) -> Callable:
    """The function as one compiled program of the backend (plain on torch)."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)
    if backend == "jax":
        import jax

        return jax.jit(function)
    if backend == "torch":
        import torch

        return torch.no_grad()(function)
    raise RuntimeError(f"keras_dsr reallocates on tensorflow, jax and torch. Received: backend={backend!r}")


def _learning_rate(optimizer) -> float:
    if optimizer is None or hasattr(optimizer, "optimizers"):
        return float("nan")
    return optimizer.learning_rate


def _check(model: keras.Model, weights: list[SparseWeight]):
    if not weights:
        raise ValueError(
            f"The model {model.name!r} has no sparse layer, so there is nothing to reallocate. Build it with sparse "
            "layers, such as `keras_dsr.SparseDense(units, sparsity=0.9)` for `keras.layers.Dense(units)`."
        )
    granularities = {weight.granularity: weight.layer.name for weight in reversed(weights)}
    if len(granularities) > 1:
        raise ValueError(
            "All sparse layers of one reallocation must have the same granularity: their units are counted together. "
            f"Received: {', '.join(f'{kind!r} (layer {name!r})' for kind, name in granularities.items())}. "
            "Build them all with the same `granularity=`."
        )
    places = sum(math.prod(unit_shape(weight.shape, weight.unit_axes)) for weight in weights)
    if places >= LARGEST_TOTAL:
        raise ValueError(
            f"One reallocation covers fewer than {LARGEST_TOTAL:,} places. Received: {places:,} in {model.name!r}."
        )
