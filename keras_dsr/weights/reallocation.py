"""One reallocation: a method decides, and its decision is written to weights, masks and optimizer slots."""

import weakref
from collections.abc import Sequence
from typing import NamedTuple, cast

import keras
import numpy as np
from keras import ops

from keras_dsr.backend.compiled_program import compiled_program
from keras_dsr.backend.keras_owners import optimizers_alive
from keras_dsr.backend.keras_slots import Slot, optimizer_slots, steps_taken
from keras_dsr.backend.keras_training import renew_compiled_functions
from keras_dsr.layers import MaskedLayer
from keras_dsr.layers.record import Record
from keras_dsr.methods.base import Method
from keras_dsr.methods.identity import digest
from keras_dsr.ops.unit_lists import list_of_units
from keras_dsr.ops.units import Groups
from keras_dsr.optimizers import SparseOptimizer
from keras_dsr.weights.apply import Rewritten, Stored, apply_decision
from keras_dsr.weights.compact_gradients import CompactGradients
from keras_dsr.weights.compact_weight import CompactWeight
from keras_dsr.weights.inputs import InputsOf
from keras_dsr.weights.layer_gradients import LayerGradients
from keras_dsr.weights.masked_gradients import MaskedGradients
from keras_dsr.weights.movable import check_movable_together, movable_weights
from keras_dsr.weights.postconditions import check_postconditions
from keras_dsr.weights.pruned_weights import train_pruned_weights, trained_variable
from keras_dsr.weights.sparse_weight import SparseWeight
from keras_dsr.weights.sparse_weights import sparse_optimizer
from keras_dsr.weights.writing import write_all


class Outcome(NamedTuple):
    """What one reallocation did, on the host.

    Attributes:
        active: int64 array of shape `(tensors,)`, the active units of each tensor after it.
        state: dict of numpy scalars, what the method reported: for DSR `"threshold"` and `"pruned"`.
        weights: the sparse weights that it was about.
    """

    active: np.ndarray
    state: dict
    weights: list


class Reallocation:
    """A method bound to sparse weights of a model. Each call decides in one compiled program, then writes.

    Where the method keeps something for each weight (lists in its state) the layers get variables for it when this is
    made, unless they have them.

    Args:
        model: a built Keras model with at least one sparse weight that is not frozen.
        method: a method.
        seed: int, the seed of its random numbers.
        weights: of the model's sparse weights those that take part, all of one pattern; None: those that are not
            frozen.
        optimizer: the optimizer that trains them, whose steps count; None: the one that the model is compiled with.
        identity: what the method is known by when training goes on; None: its class and arguments.
        warm_up: whether slots that scale steps start, where weights are grown, from their mean over the active weights.

    Attributes:
        weights: list of `SparseWeight` and `CompactWeight`.
        initial_state: the scalars that the method starts from, a dict of numpy arrays.
        gradients: list of `LayerGradients`, what layers see of gradients, if the method needs them.

    Raises:
        ValueError: an unbuilt model, no sparse weight that may move, or weights of different patterns; masks that
            were set from outside; or what the method refuses.
    """

    def __init__(
        self,
        model: keras.Model,
        method: Method,
        seed: int = 0,
        weights: Sequence[SparseWeight | CompactWeight] | None = None,
        optimizer: keras.optimizers.Optimizer | None = None,
        identity: int | None = None,
        warm_up: bool = False,
    ):
        self.model = model
        self.method = method
        self.seed = seed
        self.weights = movable_weights(model) if weights is None else list(weights)
        self._given_optimizer = optimizer
        self._warm_up = warm_up
        check_movable_together(model, self.weights, method)
        self._inputs = InputsOf(self.weights, seed)
        self.initial_state, self._kept = {}, {}
        self.gradients: list[LayerGradients] = []
        self._digest = digest(method) if identity is None else identity
        self.begin()
        self._bound = None

    def begin(self) -> None:
        """Have the method begin, or go on, with the model as it is: call it when training begins once more."""
        optimizer = sparse_optimizer(self.model)
        if optimizer is not None:
            optimizer.follow_weights()
            optimizer.check_budget()
        for weight in self.weights:
            weight.check()
        self._share_threshold()
        self._holders = None
        if self.method.gradient_decay is not None:
            self._remember_gradients(self.method.gradient_decay)
        train_pruned_weights(self.method, self.weights, self.seed, self.optimizer)
        kept = {}
        for name in self.weights[0].states:
            if all(name in weight.states for weight in self.weights):
                kept[name] = [ops.convert_to_tensor(weight.states[name]) for weight in self.weights]
        read = self._inputs.read(self.optimizer, self._needs_gradients)
        retained = {name: self._inputs.by_units(entries, read) for name, entries in kept.items()}
        state = self.method.init(self._inputs.made_of(read, for_init=True, retained=retained))
        lists = {name: value for name, value in state.items() if isinstance(value, list)}
        self.initial_state = {name: ops.convert_to_numpy(state[name]) for name in state if name not in lists}
        has_new_variables = False
        for name, values in lists.items():
            for weight, value in zip(self.weights, values, strict=True):
                if name not in weight.states:
                    weight.add_state(name, keras.backend.standardize_dtype(value.dtype))
                    has_new_variables = True
                listed = list_of_units(value, weight.count()) if isinstance(weight, CompactWeight) else value
                weight.states[name].assign(ops.convert_to_numpy(listed))
            self._kept[name] = [weight.states[name] for weight in self.weights]
        if has_new_variables:
            renew_compiled_functions([weight.layer for weight in self.weights])
        self.start(self._steps_taken())

    def _share_threshold(self) -> None:
        """One H for all: those that were frozen while others moved have an older one, or none."""
        thresholds = [float(ops.convert_to_numpy(weight.threshold)) for weight in self.weights]
        threshold = next((value for value in thresholds if value), 0.0)
        for weight, value in zip(self.weights, thresholds):
            if value != threshold:
                weight.threshold.assign(threshold)

    def is_of(self, weights: list, optimizer: keras.optimizers.Optimizer | None) -> bool:
        """Whether this was made for these weights and this optimizer: the model may have changed since."""
        held, now = ([id(variable) for weight in of for variable in weight.where] for of in (self.weights, weights))
        return held == now and optimizer is self._given_optimizer

    def start(self, step: int, record: Record | None = None) -> None:
        """Have the method count its steps from this one of the optimizer on; one that has begun before goes on.

        Args:
            step: int, the steps that the optimizer has taken.
            record: what is remembered of the method that moved these weights; None: as their records say.
        """
        record = Record.of(self.weights[0].record) if record is None else record
        goes_on = record.method == self._digest and record.since <= step
        self.since = record.since if goes_on else step
        for weight in self.weights:
            record = Record.of(weight.record)
            begun = record._replace(method=self._digest, since=self.since)
            if begun != record:
                weight.record.assign(begun.array())

    def _steps_taken(self) -> int:
        return 0 if self.optimizer is None else steps_taken(self.optimizer)

    def _remember_gradients(self, decay: float) -> None:
        """Have layers and optimizer keep the dense gradients that the method needs."""
        compact, masked, held = {}, {}, []
        for index, weight in enumerate(self.weights):
            if isinstance(weight, CompactWeight):
                compact[index] = weight
            elif isinstance(weight.holder, MaskedLayer):
                masked[index] = weight
            else:
                held.append(weight)
        self.gradients = [CompactGradients(self.method, compact)] if compact else []
        self.gradients += [MaskedGradients(self.method, masked, self.model, self.optimizer)] if masked else []
        if not held:
            return
        optimizer = cast(SparseOptimizer, sparse_optimizer(self.model))
        if held[0].gradient is None or optimizer.gradient_decay != decay:
            optimizer.remember_gradients(decay)
            renew_compiled_functions([self.model])  # traced without, perhaps

    def __call__(self) -> Outcome:
        """Reallocate once, at the optimizer's present step.

        Raises:
            RuntimeError: the method changed a total that it conserves, left a tensor with no active weight or a group
                with another number than its pattern has, or needs gradients that no layer in compact storage has kept.
                The model is as it was before.
        """
        self._bind()
        seen = {index: found for of in self.gradients for index, found in of.take().items()}
        tensors, records, before, after, violations, state = self._decide(seen)
        before, after = ops.convert_to_numpy(before), ops.convert_to_numpy(after)
        check_postconditions(self.method, self.weights, before, after, ops.convert_to_numpy(violations))
        state = {name: ops.convert_to_numpy(value) for name, value in state.items()}
        records = ops.convert_to_numpy(records)

        writes = []
        for index, (weight, written) in enumerate(zip(self.weights, tensors)):
            writes.append((weight.variable, written.values))
            writes += zip(weight.where, written.where, strict=True)
            writes.append((weight.record, records[index]))
            if "threshold" in state:  # from the host: on JAX variables that share a buffer cannot be donated
                writes.append((weight.threshold, state["threshold"]))
            writes += [(self._kept[name][index], value) for name, value in written.states.items()]
            if written.trained is not None:
                writes.append((trained_variable(weight), written.trained))
            writes += [(slot.variable, value) for slot, value in zip(self._slots[index], written.slots)]
        write_all(writes)
        return Outcome(after.astype("int64"), state, self.weights)

    def active(self) -> np.ndarray:
        """The active units of each tensor, an int64 array of shape `(tensors,)`."""
        return np.array([weight.active_units() for weight in self.weights], "int64")

    def threshold(self) -> float:
        """H as the next reallocation will use it, for a method whose state has a threshold."""
        return float(ops.convert_to_numpy(self.weights[0].threshold)) or float(self.initial_state["threshold"])

    def _bind(self):
        """Make the compiled program, again if the model was compiled again or its optimizer has been built since."""
        if self._holders is None:  # not when training begins: it takes 0.1 s
            self._holders = [weakref.ref(holder) for holder in optimizers_alive()]
        slots = [self._all_slots(weight.variable) for weight in self.weights]
        bound = [self.optimizer, *(slot.variable for row in slots for slot in row)]
        if self._bound is None or [id(part) for part in bound] != [id(part) for part in self._bound]:
            self._bound, self._slots = bound, slots
            self._decide = compiled_program(self._read, self._decision)

    def _all_slots(self, variable: keras.Variable) -> list[Slot]:
        """The slots of a variable in every optimizer that holds it, those of this one's first, each once."""
        holders = [self.optimizer, *(holder() for holder in self._holders)]
        slots = [slot for holder in holders for slot in optimizer_slots(holder, variable)]
        return list({id(slot.variable): slot for slot in slots}.values())

    def _read(self) -> tuple:
        """What the decision depends on, as tensors."""
        return (
            self._inputs.read(self.optimizer, self._needs_gradients),
            ops.convert_to_tensor(self.weights[0].threshold),
            {name: [ops.convert_to_tensor(variable) for variable in row] for name, row in self._kept.items()},
            [[ops.convert_to_tensor(slot.variable) for slot in row] for row in self._slots],
            [ops.convert_to_tensor(weight.record) for weight in self.weights],
        )

    def _decision(self, seen, read, stored_threshold, kept, slots, records):
        """The whole reallocation as a function of tensors; compiled once."""
        inputs = self._inputs.made_of(read, seen)
        kept = {name: self._inputs.by_units(entries, read) for name, entries in kept.items()}
        slots = [[self._inputs.of_one(index, value, read) for value in row] for index, row in enumerate(slots)]
        state = {**self.initial_state, **kept}
        if "threshold" in state:  # 0 in a layer means that no method has set it
            state["threshold"] = ops.where(stored_threshold > 0, stored_threshold, state["threshold"])
        decision, state = self.method.update(inputs, state)
        lists = {name: state.pop(name) for name in kept if name in state}

        stored = []
        for index, weight in enumerate(self.weights):
            is_compact = isinstance(weight, CompactWeight)
            lists_of_it = {**kept, **lists} if is_compact else lists  # there they move with the weights
            stored.append(
                Stored(
                    draw=weight.initial_values,
                    columns=weight.layer.matrix_shape[1] if is_compact else None,
                    slots=[
                        (value, slot.initial_value, self._warm_up and slot.scales_steps)
                        for slot, value in zip(self._slots[index], slots[index])
                    ],
                    states={name: entries[index] for name, entries in lists_of_it.items()},
                    trains_pruned=self.method.pruned_training is not None,
                )
            )
        tensors, active = apply_decision(self.method, inputs, decision, stored)
        weights_now = [
            weight.units.count_weights(active[index], tensors[index].where[0], weight.shape)
            for index, weight in enumerate(self.weights)
        ]
        records = ops.reshape(ops.concatenate(records), (len(records), -1))
        records = ops.concatenate([records[:, :1], ops.stack(weights_now)[:, None], records[:, 2:]], axis=1)
        return tensors, records, inputs.count(inputs.active), active, self._violations(tensors), state

    def _violations(self, tensors: list[Rewritten]):
        """How far the groups of each tensor are from the numbers that they have to have, int32."""
        found = [
            ops.cast(weight.units.violation(written.where[0]), "int32") if isinstance(weight.units, Groups) else 0
            for weight, written in zip(self.weights, tensors)
        ]
        return ops.stack([ops.convert_to_tensor(number, "int32") for number in found])

    @property
    def _needs_gradients(self) -> bool:
        return self.method.gradient_decay is not None

    @property
    def optimizer(self) -> keras.optimizers.Optimizer | None:
        """The optimizer whose steps count."""
        return getattr(self.model, "optimizer", None) if self._given_optimizer is None else self._given_optimizer
