"""Dropping: what the methods share that drop a fraction of the smallest weights, from its schedule to its places."""

import math

from keras import ops

from keras_dsr.arguments import is_number, is_whole
from keras_dsr.methods.base import View
from keras_dsr.ops.patterns import unit_magnitudes
from keras_dsr.ops.selection import count_true, ordered_bits, select_smallest


def check_fraction(fraction: float, owner: str) -> None:
    """Raise `ValueError` if the fraction is not a number in (0, 1)."""
    if not is_number(fraction) or not 0 < fraction < 1:
        raise ValueError(
            f"{owner}(fraction=...) must be a float in (0, 1): the share of a tensor's active weights that is dropped "
            f"in an update. Received: fraction={fraction!r}"
        )


def check_end_step(end_step: int, owner: str) -> None:
    """Raise `ValueError` if `end_step` is not a positive int."""
    if not (is_whole(end_step) and is_number(end_step)) or end_step < 1:
        raise ValueError(
            f"{owner}(end_step=...) must be a positive int: the optimizer step from which on nothing moves, such as "
            f"three quarters of those of the training. Received: end_step={end_step!r}"
        )


def annealed(fraction: float, step, end_step: int):
    """The fraction at a step: it falls along half a cosine to 0 at `end_step`, and stays there.

    It is fraction / 2 * (1 + cos(pi * t / end_step)) at step t (Dettmers & Zettlemoyer 2019; Evci et al. 2020, eq. 1).

    Args:
        fraction: float, its value at step 0.
        step: int32 scalar tensor.
        end_step: int, positive.

    Returns:
        A float32 scalar tensor.
    """
    done = ops.cast(step, "float32") / end_step
    return ops.where(done < 1, fraction / 2 * (1 + ops.cos(math.pi * done)), 0.0)


def rounded_share(fraction, sizes):
    """A fraction of each size, rounded to a whole number (halves to the even one), int32."""
    return ops.cast(ops.round(fraction * ops.cast(sizes, "float32")), "int32")


def drop_smallest(view: View, active: list, fraction) -> list:
    """In each tensor, the fraction of its active units that has the smallest magnitudes, ties by position.

    Args:
        view: what the update was given.
        active: list of bool tensors, the active units, each with at least one true entry.
        fraction: float in [0, 1), or a float32 scalar tensor. It is rounded to a whole number of each tensor's active
            units; one always stays.

    Returns:
        A list of bool tensors of the same shapes, true where a unit is dropped.
    """
    keys = [ordered_bits(unit_magnitudes(weight, axes)) for weight, axes in zip(view.weights, view.unit_axes)]
    sizes = ops.stack([count_true(units) for units in active])
    return select_smallest(keys, active, ops.minimum(rounded_share(fraction, sizes), sizes - 1))
