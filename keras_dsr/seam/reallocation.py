"""The one place that writes to a model: apply a method's decision to its weights, masks and optimizer slots."""

import math
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_dsr.decisions.selection import count_true
from keras_dsr.decisions.sharing import LARGEST_TOTAL
from keras_dsr.decisions.units import unit_mask, unit_shape
from keras_dsr.layers import MaskedLayer
from keras_dsr.methods.view import Places, View
from keras_dsr.optimizers.slots import optimizer_slots
from keras_dsr.seam.rewriting import rewritten_compact, rewritten_masked
from keras_dsr.seam.training import renew_compiled_functions
from keras_dsr.seam.weights import CompactWeight, SparseWeight, sparse_optimizer, sparse_weights


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

    Where the method keeps something for each weight (lists in its state) the layers get variables for it when this is
    made, unless they have them.

    Args:
        model: a built Keras model with at least one sparse layer; all of one granularity.
        method: a method (see `methods.View`).
        seed: int, the seed of its random numbers.

    Attributes:
        weights: the model's sparse weights, a list of `SparseWeight`.
        initial_state: the scalars that the method starts from, a dict of numpy arrays.

    Raises:
        ValueError: an unbuilt model, no sparse layer, or layers of different granularity; or what the method refuses.
    """

    def __init__(self, model: keras.Model, method, seed: int = 0):
        self.model = model
        self.method = method
        self.seed = seed
        self.weights = sparse_weights(model)
        _check(model, self.weights)
        self.initial_state, self._kept = {}, {}
        self.begin()
        self._bound = None

    def is_of(self, model: keras.Model) -> bool:
        """Whether this was made for the model as it is: it may have been made dense and sparse again since."""
        held, now = (
            [id(variable) for weight in weights for variable in weight.where]
            for weights in (self.weights, sparse_weights(model))
        )
        return self.model is model and held == now

    def begin(self) -> None:
        """Have the method begin, or go on, with the model as it is: call it when training begins once more."""
        self._check_knows_compact()
        if self.method.gradient_decay is not None:
            self._remember_gradients(self.method.gradient_decay)
        kept = {}
        for name in self.weights[0].states:
            if all(name in weight.states for weight in self.weights):
                kept[name] = [ops.convert_to_tensor(weight.states[name]) for weight in self.weights]
        state = self.method.init(self._view()._replace(kept=kept))
        lists = {name: value for name, value in state.items() if isinstance(value, list)}
        self.initial_state = {name: ops.convert_to_numpy(state[name]) for name in state if name not in lists}
        has_new_variables = False
        for name, values in lists.items():
            for weight, value in zip(self.weights, values, strict=True):
                if name not in weight.states:
                    weight.add_state(name, keras.backend.standardize_dtype(value.dtype))
                    has_new_variables = True
                weight.states[name].assign(ops.convert_to_numpy(value))
            self._kept[name] = [weight.states[name] for weight in self.weights]
        if has_new_variables:
            renew_compiled_functions(self.model)

    def _check_knows_compact(self) -> None:
        compact = [weight.name for weight in self.weights if isinstance(weight, CompactWeight)]
        if compact and not getattr(self.method, "grows_compact", False):
            needs_gradients = self.method.gradient_decay is not None
            lack = "needs gradients of the size of the dense kernel"
            why = lack if needs_gradients else "does not move weights that are held as a list"
            raise ValueError(
                f"{type(self.method).__name__} {why}, and {compact[0]!r} is in compact storage. Build the layer with "
                "storage='masked', or use DSR, SET, DeepR or Static."
            )

    def _remember_gradients(self, decay: float) -> None:
        """Have the optimizer keep the dense gradients that the method needs."""
        if any(isinstance(weight.holder, MaskedLayer) for weight in self.weights):
            raise ValueError(
                f"{type(self.method).__name__} needs the gradients of dead weights, which sparse layers do not have. "
                "Build the model of stock layers (`keras_dsr.densify(model)` makes them of sparse ones), and compile "
                "it with keras_dsr.SparseOptimizer(optimizer, sparsity=0.9)."
            )
        optimizer = sparse_optimizer(self.model)
        if self.weights[0].gradient is None or optimizer.gradient_decay != decay:
            optimizer.remember_gradients(decay)
            renew_compiled_functions(self.model)  # traced without, perhaps

    def __call__(self) -> Outcome:
        """Reallocate once, at the optimizer's present step.

        Raises:
            RuntimeError: the method changed a total that it conserves, or left a tensor with no active weight. The
                model is as it was before.
        """
        self._bind()
        tensors, before, after, state = self._decide()
        before, after = ops.convert_to_numpy(before), ops.convert_to_numpy(after)
        self._check_postconditions(before, after)
        state = {name: ops.convert_to_numpy(value) for name, value in state.items()}

        for index, (weight, written) in enumerate(zip(self.weights, tensors)):
            weight.variable.assign(written.values)
            for variable, value in zip(weight.where, written.where, strict=True):
                variable.assign(value)
            if "threshold" in state:  # from the host: on JAX variables that share a buffer cannot be donated
                weight.threshold.assign(state["threshold"])
            for name, value in written.kept.items():
                self._kept[name][index].assign(value)
            for slot, value in zip(self._slots[index], written.slots):
                slot.variable.assign(value)
        return Outcome(after.astype("int64"), state)

    def active(self) -> np.ndarray:
        """The active units of each tensor, an int64 array of shape `(tensors,)`."""
        masks = [_mask(weight) for weight in self.weights]
        unit_axes = [weight.unit_axes for weight in self.weights]
        return ops.convert_to_numpy(_count_units(masks, unit_axes)).astype("int64")

    def sparsity(self) -> float:
        """The share of weights that are zero, over all tensors."""
        return 1 - sum(weight.count() for weight in self.weights) / sum(weight.size for weight in self.weights)

    def threshold(self) -> float:
        """H as the next reallocation will use it, for a method whose state has a threshold."""
        return float(ops.convert_to_numpy(self.weights[0].threshold)) or float(self.initial_state["threshold"])

    def _bind(self):
        """Make the compiled program, again if the model was compiled again or its optimizer has been built since."""
        slots = [optimizer_slots(self._optimizer, weight.variable) for weight in self.weights]
        bound = [self._optimizer, *(slot.variable for row in slots for slot in row)]
        if self._bound is None or [id(part) for part in bound] != [id(part) for part in self._bound]:
            self._bound, self._slots = bound, slots
            self._decide = _compiled(self._read, self._decision)

    def _read(self) -> tuple:
        """What the decision depends on, as tensors."""
        view = self._view()
        places = [of_tensor and of_tensor.positions for of_tensor in view.places]
        return (  # what is static is not for a compiled program to be given
            view._replace(unit_axes=None, initializers=None, names=None, places=places),
            ops.convert_to_tensor(self.weights[0].threshold),
            {name: [ops.convert_to_tensor(variable) for variable in row] for name, row in self._kept.items()},
            [[ops.convert_to_tensor(slot.variable) for slot in row] for row in self._slots],
        )

    def _decision(self, view: View, stored_threshold, kept, slots):
        """The whole reallocation as a function of tensors; compiled once."""
        places = [
            None if positions is None else Places(positions, weight.size)
            for positions, weight in zip(view.places, self.weights)
        ]
        view = view._replace(places=places, **self._static())
        unit_axes = view.unit_axes
        state = {**self.initial_state, **kept}
        if "threshold" in state:  # 0 in a layer means that no method has set it
            state["threshold"] = ops.where(stored_threshold > 0, stored_threshold, state["threshold"])
        weights, masks, state = self.method.update(view, state, self.seed)
        lists = {name: state.pop(name, None) for name in kept}

        tensors = []
        for index, weight in enumerate(self.weights):
            slots_of_it = [(value, slot.initial_value) for slot, value in zip(self._slots[index], slots[index])]
            kept_of_it = {name: entries[index] for name, entries in lists.items() if entries is not None}
            if isinstance(weight, CompactWeight):
                kept_of_it = {name: kept_of_it.get(name, entries[index]) for name, entries in kept.items()}
                lies = view.places[index], weight.layer.matrix_shape[1]
                tensors.append(rewritten_compact(weights[index], masks[index], *lies, slots_of_it, kept_of_it))
            else:
                lay = view.masks[index], unit_axes[index]
                tensors.append(rewritten_masked(weights[index], masks[index], *lay, slots_of_it, kept_of_it))
        return tensors, _count_units(view.masks, unit_axes), ops.stack([tensor.count for tensor in tensors]), state

    def _view(self) -> View:
        optimizer = self._optimizer
        return View(
            step=ops.cast(optimizer.iterations if optimizer else 0, "int32"),
            weights=[ops.convert_to_tensor(weight.variable) for weight in self.weights],
            masks=[_mask(weight) for weight in self.weights],
            learning_rate=ops.convert_to_tensor(_learning_rate(optimizer), "float32"),
            gradients=self._gradients(),
            places=[_places(weight) for weight in self.weights],
            **self._static(),
        )

    def _gradients(self) -> list | None:
        if self.method.gradient_decay is None:
            return None
        return [ops.convert_to_tensor(weight.gradient) for weight in self.weights]

    def _static(self) -> dict:
        """What a view has that is not a tensor."""
        return {
            "unit_axes": [weight.unit_axes for weight in self.weights],
            "initializers": [weight.initial_values for weight in self.weights],
            "names": [weight.name for weight in self.weights],
        }

    @property
    def _optimizer(self):
        return getattr(self.model, "optimizer", None)

    def _check_postconditions(self, before: np.ndarray, after: np.ndarray):
        if self.method.conserves and before.sum() != after.sum():
            raise RuntimeError(
                f"{self.method} changed the number of active units from {before.sum()} to {after.sum()}: a conserving "
                "method must keep it. The model was not changed."
            )
        full = [
            i
            for i, weight in enumerate(self.weights)
            if isinstance(weight, CompactWeight) and after[i] > weight.capacity
        ]
        if full:
            raise RuntimeError(
                f"{self.method} gave {self.weights[full[0]].name!r} {after[full[0]]} weights, more than the "
                f"{self.weights[full[0]].capacity} that it has room for. The model was not changed."
            )
        if after.min() < 1:
            dead = self.weights[int(after.argmin())].name
            raise RuntimeError(f"{self.method} left no active weight in {dead!r}. The model was not changed.")


def _mask(weight: SparseWeight | CompactWeight):
    """Which entries of the weight's variable are weights of the network."""
    if isinstance(weight, CompactWeight):
        return ops.arange(weight.capacity, dtype="int32") < ops.convert_to_tensor(weight.weights_held)
    return ops.convert_to_tensor(weight.mask)


def _places(weight: SparseWeight | CompactWeight) -> Places | None:
    if not isinstance(weight, CompactWeight):
        return None
    indices = weight.indices.value
    return Places(indices[:, 0] * weight.layer.matrix_shape[1] + indices[:, 1], weight.size)


def _count_units(masks, unit_axes):
    return ops.stack([count_true(unit_mask(mask, axes)) for mask, axes in zip(masks, unit_axes)])


def _compiled(read: Callable[[], tuple], decide: Callable) -> Callable:
    """`decide(*read())` as one compiled program of the backend (plain on torch)."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # It reads the variables itself: to hand it a hundred tensors takes longer than to decide for a small network.
        return tf.function(lambda: decide(*read()), autograph=False)
    if backend == "jax":
        import jax

        program = jax.jit(decide)
        return lambda: program(*read())
    if backend == "torch":
        import torch

        return torch.no_grad()(lambda: decide(*read()))
    raise RuntimeError(f"keras_dsr reallocates on tensorflow, jax and torch. Received: backend={backend!r}")


def _learning_rate(optimizer) -> float:
    if optimizer is None or hasattr(optimizer, "optimizers"):
        return float("nan")
    return optimizer.learning_rate


def _check(model: keras.Model, weights: list[SparseWeight]):
    if not weights:
        raise ValueError(
            f"The model {model.name!r} has no sparse layer, so there is nothing to reallocate. Build it with sparse "
            "layers, such as `keras_dsr.SparseDense(units, sparsity=0.9)` for `keras.layers.Dense(units)`, call "
            "`keras_dsr.sparsify(model)`, or compile it with `keras_dsr.SparseOptimizer(optimizer)`."
        )
    masked = [weight for weight in weights if not isinstance(weight, CompactWeight)]
    granularities = {weight.granularity: weight.layer.name for weight in reversed(masked)}
    if len(granularities) > 1:
        raise ValueError(
            "All sparse layers of one reallocation must have the same granularity: their units are counted together. "
            f"Received: {', '.join(f'{kind!r} (layer {name!r})' for kind, name in granularities.items())}. "
            "Build them all with the same `granularity=`."
        )
    places = sum(
        weight.capacity if isinstance(weight, CompactWeight) else math.prod(unit_shape(weight.shape, weight.unit_axes))
        for weight in weights
    )
    if places >= LARGEST_TOTAL:
        raise ValueError(
            f"One reallocation covers fewer than {LARGEST_TOTAL:,} places. Received: {places:,} in {model.name!r}."
        )
