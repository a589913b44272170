"""What a method's decision makes of each tensor: its values, where its weights are, and the optimizer's slots."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from keras_dsr.methods.base import Decision, Grown, Method, MethodInputs
from keras_dsr.ops.masking import mask_weights
from keras_dsr.ops.positions import (
    contains,
    count_positions,
    laid_out,
    layout,
    no_positions,
    positions_where,
)
from keras_dsr.ops.selection import count_true
from keras_dsr.ops.unit_lists import list_of_units


class Stored(NamedTuple):
    """One sparse weight as it is before a reallocation, beside what the method is given.

    What is of the shape of the variable is, in compact storage, by units (see `ops.unit_lists.units_of_list`).

    Attributes:
        draw: function from a `StepSeed` to new values of the dense tensor; in compact storage of a seed and a number.
        columns: int, in compact storage: of the matrix in which its weights stand; None in masked storage.
        slots: for each slot of an optimizer its value, the number that it starts from, and whether it starts from the
            mean of the active weights where one is grown.
        states: the lists of the method's state, by name.
        trains_pruned: whether what is pruned keeps its value and slots.
    """

    draw: Callable
    columns: int | None
    slots: list
    states: dict
    trains_pruned: bool = False


class Rewritten(NamedTuple):
    """What is to be written to one sparse weight.

    Attributes:
        values: for its variable.
        where: for the variables that say where its weights are.
        slots: for the slots of its variable.
        states: for the variables in which methods keep something, by name; those that change.
        trained: for the variable that says which pruned weights are trained; None: it stays.
    """

    values: Any
    where: list
    slots: list
    states: dict
    trained: Any = None


def apply_decision(method: Method, inputs: MethodInputs, decision: Decision, stored: list[Stored]) -> tuple[list, Any]:
    """Make of a decision what is to be written.

    Args:
        method: whose decision it is.
        inputs: what it was given.
        decision: what it returned.
        stored: of each weight, what is stored beside; `states` as the method returned them.

    Returns:
        `(rewritten, active)`: a list of `Rewritten`, and the active units of each tensor, int32.

    Raises:
        ValueError: units are grown by their mask in a tensor in compact storage.
    """
    segments, grown = inputs.segments, decision.grown
    if not isinstance(grown, Grown):  # it is a mask, or None
        if inputs.positions and grown is not None:
            raise ValueError(
                f"{type(method).__name__} tells what is grown by a mask, and {inputs.names[min(inputs.positions)]!r} "
                "is in compact storage, which has no mask. Choose what is grown by "
                "`keras_dsr.methods.grow_at_random`, or build the layer with storage='masked'."
            )
        grown = None if grown is None else grown & segments.holds_entry()
        grown = Grown(grown, {i: no_positions(positions.shape[0]) for i, positions in inputs.positions.items()})
    kept = decision.kept & inputs.active  # and not what fills up a row, or was pruned before
    units = kept if grown.units is None else kept | grown.units
    active = segments.count(units)
    if grown.positions:
        tensors = range(len(stored))
        active += ops.stack([count_positions(grown.positions[i]) if i in grown.positions else 0 for i in tensors])
    kept, units = segments.split(kept), segments.split(units)
    trained = None if decision.trained is None else segments.split(decision.trained)
    weights = inputs.weights if decision.weights is None else decision.weights
    rewritten = []
    for index, of_it in enumerate(stored):
        draw = None
        if decision.start == "initializer":
            seed = inputs.seed_of(index, f"{type(method).__name__.lower()}.value")
            draw = functools.partial(of_it.draw, seed)
        if index in inputs.positions:
            positions = grown.positions[index]
            states = method.state_of_grown(inputs, index, positions)
            stay = kept[index], units[index]
            rewritten.append(_compact(inputs, index, weights[index], *stay, positions, states, draw, of_it))
        else:
            masks = [inputs.units[index].mask(of, weights[index].shape) for of in (kept[index], units[index])]
            rewritten.append(_masked(inputs, index, weights[index], *masks, draw, of_it))
            if trained is not None:
                mask = inputs.units[index].mask(trained[index], weights[index].shape)
                rewritten[-1] = rewritten[-1]._replace(trained=mask)
    return rewritten, active


def _masked(inputs: MethodInputs, index: int, weight, kept, mask, draw: Callable | None, stored: Stored) -> Rewritten:
    if stored.trains_pruned:
        return Rewritten(weight, [mask], [value for value, *_ in stored.slots], stored.states)
    weight = mask_weights(weight, kept)
    starts_over = weight == 0  # the slots of what is pruned or grown
    if draw is not None:
        grown = mask & ~inputs.masks[index]  # what is grown where it has just been pruned starts at 0
        weight = ops.where(grown, ops.cast(draw(), weight.dtype), weight)
    slots = []
    for value, initial, from_mean in stored.slots:
        start = ops.cast(initial, value.dtype)
        if from_mean:
            start = ops.where(mask, _mean(value, ~starts_over, initial), start)
        slots.append(ops.where(starts_over, start, value))
    return Rewritten(weight, [mask], slots, stored.states)


def _mean(values, where, otherwise: float):
    """The mean of values where a bool tensor of their shape is true; a number if it is nowhere."""
    where = ops.broadcast_to(where, values.shape)
    number = count_true(where)
    total = ops.sum(ops.cast(mask_weights(values, where), "float32"))
    mean = ops.where(number > 0, total / ops.cast(ops.maximum(number, 1), "float32"), otherwise)
    return ops.cast(mean, values.dtype)


def _compact(
    inputs: MethodInputs, index: int, weight, kept, stay, grown, states: dict, draw: Callable | None, stored: Stored
) -> Rewritten:
    """All that a tensor in compact storage has moves with its weights.

    Args:
        inputs: what the method was given.
        index: int, which tensor it is.
        weight: its values by units, of shape `(room,)` or `(room, weights of a unit)`.
        kept: bool tensor of a number for each of these units, those that are kept.
        stay: bool tensor of the same shape: they, and those that are pruned and grown again, at 0.
        grown: a list of the positions of the units that are grown.
        states: what the lists of the method's state begin with there, by name.
        draw: function from a number to values for what is grown; None: zeros.
        stored: what is stored beside.
    """
    positions, size = inputs.positions[index], math.prod(weight.shape[1:])
    order, number = layout(positions, ops.reshape(stay, (-1,)), grown), ops.shape(grown)[0]
    count = size * (count_true(stay) + count_positions(grown))

    def moved(entries, of_grown=None, fill=0):
        of_grown = ops.full((number, *weight.shape[1:]), fill, dtype=entries.dtype) if of_grown is None else of_grown
        return laid_out(entries, of_grown, order, fill)

    drawn = None
    if draw is not None:
        drawn = ops.reshape(ops.cast(draw(size * number), weight.dtype), (number, *weight.shape[1:]))
        active = ops.reshape(inputs.units[index].active(inputs.masks[index]), (-1,))
        is_new = ~contains(positions_where(positions, active), grown)
        drawn = mask_weights(drawn, is_new if size == 1 else is_new[:, None])
    values = moved(mask_weights(weight, kept), drawn)
    now = laid_out(positions, grown, order)
    if size > 1:
        now = now[:, None] + inputs.sizes[index] * ops.arange(size, dtype=now.dtype)
    now = list_of_units(now, count)
    rows = now // stored.columns
    indices = ops.cast(ops.stack([rows, now - rows * stored.columns], axis=1), "int32")
    slots, exists = [], ops.arange(positions.shape[0], dtype="int32") < count // size
    for value, initial, from_mean in stored.slots:
        start = ops.cast(initial, value.dtype)
        begun = _mean(value, kept if size == 1 else kept[:, None], initial) if from_mean else start
        value = ops.where(values == 0, begun, moved(value, fill=begun))
        if from_mean:
            value = ops.where(exists if size == 1 else exists[:, None], value, start)
        slots.append(list_of_units(value, count, start))
    states = {name: list_of_units(moved(entries, states.get(name)), count) for name, entries in stored.states.items()}
    return Rewritten(list_of_units(values, count), [indices, count], slots, states)
