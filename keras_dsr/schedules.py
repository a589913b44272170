"""Schedules: plain functions from an epoch (or a step) to a value."""

from collections.abc import Callable, Sequence
from typing import cast

from keras import ops

from keras_dsr.arguments import check_steps, checked_pairs, is_function, is_number

__all__ = ["by_step", "constant", "piecewise"]


def piecewise(pairs: Sequence[tuple[int, float]]) -> Callable[[int], float]:
    """A value that changes at given epochs.

    Args:
        pairs: `(start, value)` pairs in increasing order of `start`, the first at 0.

    Returns:
        A function from an epoch to the value of the last pair that has started.

    Raises:
        ValueError: something else than pairs of numbers, or starts that do not begin at 0 or do not increase.

    Example:

    >>> period = piecewise([(0, 100), (25, 200)])
    >>> period(24), period(25)
    (100, 200)
    """
    pairs = checked_pairs(pairs, "piecewise", "pairs")
    _check_numbers([value for _, value in pairs], "piecewise", "pairs", pairs)

    def value(epoch: int) -> float:
        return next(value for start, value in reversed(pairs) if start <= epoch)

    return value


def constant(value: float) -> Callable[[int], float]:
    """The same value at every epoch.

    Raises:
        ValueError: the value is no number.
    """
    _check_numbers([value], "constant", "value", value)
    return lambda epoch: value


def by_step(value: float | Sequence[tuple[int, float]] | Callable) -> Callable:
    """A schedule that compiles: a function from a step (an int32 scalar tensor) to a value (a float32 scalar tensor).

    Args:
        value: a number; or `(step, value)` pairs as in `piecewise`; or such a function already, returned as it is.

    Raises:
        ValueError: none of these, or pairs that `piecewise` refuses, or that do not start at whole steps.
    """
    if is_function(value):
        return value
    pairs = (
        [(0, value)]
        if is_number(value)
        else checked_pairs(cast(Sequence, value), "by_step", "value", "a number, a function, or ")
    )
    check_steps([start for start, _ in pairs], "by_step", "value", value)
    _check_numbers([later for _, later in pairs], "by_step", "value", value)

    def at(step):
        result = ops.convert_to_tensor(pairs[0][1], "float32")
        for start, later in pairs[1:]:
            result = ops.where(step >= start, ops.cast(later, "float32"), result)
        return result

    return at


def _check_numbers(values: list, owner: str, argument: str, received) -> None:
    if not all(map(is_number, values)):
        raise ValueError(f"{owner}({argument}=...) must give finite numbers. Received: {argument}={received!r}")
