"""Schedules: plain functions from an epoch (or a step) to a value."""

import numbers
from collections.abc import Callable, Sequence

from keras import ops


def piecewise(pairs: Sequence[tuple[int, float]]) -> Callable[[int], float]:
    """A value that changes at given epochs.

    Args:
        pairs: `(start, value)` pairs in increasing order of `start`, the first at 0.

    Returns:
        A function from an epoch to the value of the last pair that has started.

    Raises:
        ValueError: the starts do not begin at 0 or do not increase.

    Example:

    >>> period = piecewise([(0, 100), (25, 200)])
    >>> period(24), period(25)
    (100, 200)
    """
    pairs = [tuple(pair) for pair in pairs]
    starts = [pair[0] for pair in pairs if len(pair) == 2]
    if not pairs or len(starts) < len(pairs) or starts[0] != 0 or sorted(set(starts)) != starts:
        raise ValueError(
            "piecewise(pairs) must be (start, value) pairs with increasing starts, the first at 0, such as "
            f"[(0, 100), (25, 200)]. Received: {pairs!r}"
        )

    def value(epoch: int) -> float:
        return next(value for start, value in reversed(pairs) if start <= epoch)

    return value


def constant(value: float) -> Callable[[int], float]:
    """The same value at every epoch."""
    return lambda epoch: value


def by_step(value: float | Sequence[tuple[int, float]] | Callable) -> Callable:
    """A schedule that compiles: a function from a step (an int32 scalar tensor) to a value (a float32 scalar tensor).

    Args:
        value: a number; or `(step, value)` pairs as in `piecewise`; or such a function already, returned as it is.

    Raises:
        ValueError: as `piecewise`.
    """
    if callable(value):
        return value
    pairs = [(0, value)] if isinstance(value, numbers.Real) else [tuple(pair) for pair in value]
    piecewise(pairs)  # refuses pairs that are none
    if not all(isinstance(start, numbers.Integral) for start, _ in pairs):
        raise ValueError(f"by_step(value) must start its pairs at whole steps, ints. Received: {pairs!r}")

    def at(step):
        result = ops.convert_to_tensor(pairs[0][1], "float32")
        for start, later in pairs[1:]:
            result = ops.where(step >= start, ops.cast(later, "float32"), result)
        return result

    return at
