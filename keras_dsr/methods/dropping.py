"""What the methods share that drop a fraction of the smallest weights: its schedule, and the choice."""

import math

from keras import ops

from keras_dsr.arguments import is_number, is_whole
from keras_dsr.methods.base import MethodInputs
from keras_dsr.ops.selection import count_in_each, largest, ordered_bits, select_smallest, select_smallest_in_rows
from keras_dsr.ops.units import Groups
from keras_dsr.schedules import Schedule

SCOPES = ("tensor", "global")


def check_fraction(fraction: float | Schedule, owner: str) -> None:
    """Raise `ValueError` if the fraction is neither a number in (0, 1) nor a schedule in [0, 1)."""
    if isinstance(fraction, Schedule):
        if fraction.values[0] < 0 or fraction.values[1] >= 1:
            raise ValueError(
                f"{owner}(fraction=...) must stay in [0, 1) at every step. Received: fraction={fraction!r}, which goes "
                f"from {fraction.start:g} to {fraction.end:g}"
            )
    elif not is_number(fraction) or not 0 < fraction < 1:
        raise ValueError(
            f"{owner}(fraction=...) must be a float in (0, 1): the fraction of a tensor's active weights that is "
            "dropped in an update; or a schedule, such as keras_dsr.schedules.linear(0.5, 0.1, steps=10_000). "
            f"Received: fraction={fraction!r}"
        )


def check_end_step(end_step: int, owner: str) -> None:
    """Raise `ValueError` if `end_step` is not a positive int."""
    if not (is_whole(end_step) and is_number(end_step)) or end_step < 1:
        raise ValueError(
            f"{owner}(end_step=...) must be a positive int: the optimizer step from which on nothing moves, such as "
            f"three quarters of those of the training. Received: end_step={end_step!r}"
        )


def annealed(fraction: float | Schedule, step, end_step: int):
    """The fraction at a step: it falls along half a cosine to 0 at `end_step`, and stays there.

    It is fraction / 2 * (1 + cos(pi * t / end_step)) at step t (Dettmers & Zettlemoyer 2019; Evci et al. 2020, eq. 1).

    Args:
        fraction: float, its value at step 0; or a schedule, which takes the place of the cosine.
        step: int32 scalar tensor.
        end_step: int, positive.

    Returns:
        A float32 scalar tensor.
    """
    done = ops.cast(step, "float32") / end_step
    value = fraction(step) if isinstance(fraction, Schedule) else fraction / 2 * (1 + ops.cos(math.pi * done))
    return ops.where(done < 1, value, 0.0)


def rounded_fraction(fraction, sizes):
    """A fraction of each size, rounded to a whole number (halves to the even one), int32."""
    return ops.cast(ops.round(fraction * ops.cast(sizes, "float32")), "int32")


def smallest_active(inputs: MethodInputs, counts):
    """In each tensor, as many of the active units as asked for: those of the smallest magnitudes, ties by position.

    Args:
        inputs: what the update was given.
        counts: int32 tensor of shape `(tensors,)`.

    Returns:
        A joined bool tensor.
    """
    return select_smallest(ordered_bits(inputs.magnitudes), inputs.active, counts, inputs.segments)


def pruned_to(inputs: MethodInputs, goals, keys):
    """The active units beyond a number in each tensor, or in each group of it: those of the smallest keys.

    Of a pattern with groups, a group loses no more than it has beyond what it must keep: its part of the number, or N.

    Args:
        inputs: what the update was given.
        goals: int32 tensor of shape `(tensors,)`.
        keys: joined int32 tensor, entries in `[0, MAX_KEY]`.

    Returns:
        A joined bool tensor.
    """
    grouped = {index: of for index, of in enumerate(inputs.units) if isinstance(of, Groups)}
    may_go = inputs.active
    if grouped:
        numbers = list(ops.unstack(goals, len(inputs.units)))
        tensors, of_tensors = inputs.segments.split(inputs.active), inputs.segments.split(keys)
        for index, of in grouped.items():
            active = of.fold(tensors[index])
            counts = count_in_each(active)
            numbers[index] = of.possible(numbers[index], counts)
            beyond = ops.maximum(counts - of.least(numbers[index], counts), 0)
            chosen = select_smallest_in_rows(of.fold(of_tensors[index]), active, beyond)
            tensors[index] = of.unfold(chosen, tensors[index].shape)
        goals, may_go = ops.stack(numbers), inputs.segments.join(tensors)
    return select_smallest(keys, may_go, ops.maximum(inputs.count(inputs.active) - goals, 0), inputs.segments)


def pruned_to_total(inputs: MethodInputs, goal, keys):
    """The active units beyond a number in all tensors together: those of the smallest keys, never the largest of one.

    Args:
        inputs: what the update was given.
        goal: int32 scalar tensor.
        keys: joined int32 tensor, entries in `[0, MAX_KEY]`.

    Returns:
        A joined bool tensor.
    """
    excess = ops.maximum(ops.sum(inputs.count(inputs.active)) - goal, 0)
    eligible = inputs.active & ~largest(inputs.magnitudes, inputs.active, inputs.segments)
    return select_smallest(keys, eligible, ops.reshape(excess, (1,)), inputs.segments.joined())


def drop_smallest(inputs: MethodInputs, fraction):
    """In each tensor, the fraction of its active units that has the smallest magnitudes, ties by position.

    Args:
        inputs: what the update was given.
        fraction: float in [0, 1), or a float32 scalar tensor. It is rounded to a whole number of each tensor's active
            units; one always stays.

    Returns:
        A joined bool tensor, true where a unit is dropped.
    """
    sizes = inputs.count(inputs.active)
    return smallest_active(inputs, ops.minimum(rounded_fraction(fraction, sizes), sizes - 1))
