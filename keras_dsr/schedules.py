"""Schedules: plain functions from an epoch (or a step) to a value."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from keras import ops

from keras_dsr.arguments import (
    LARGEST_STEP,
    check_steps,
    check_whole,
    checked_pairs,
    is_function,
    is_number,
    is_whole,
)

__all__ = ["by_step", "constant", "cosine", "cubic", "cycles", "exponential", "linear", "piecewise"]

# From the share of the way that is left, 1 at the start and 0 at the end, to the share of the difference that is left.
_CURVES: dict[str, Callable] = {
    "linear": lambda left, xp: left,
    "cosine": lambda left, xp: (1 - xp.cos(math.pi * left)) / 2,
    "cubic": lambda left, xp: left**3,
}


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A value that goes from one number to another, as `linear`, `cosine`, `cubic` and `exponential` make it.

    A call takes a step, an int or an int32 scalar tensor, and returns a float or a float32 scalar tensor.

    Attributes:
        curve: `"linear"`, `"cosine"`, `"cubic"` or `"exponential"`.
        start, end: numbers, the value until `begin`, and that from `begin + steps` on.
        steps: int, how many steps it takes.
        begin: int, the step at which it begins.
        length: int, after so many steps it begins anew; None: never.
    """

    curve: str
    start: float
    end: float
    steps: int
    begin: int = 0
    length: int | None = None

    def __post_init__(self):
        for name in ("start", "end"):
            value = getattr(self, name)
            if not is_number(value) or (self.curve == "exponential" and value <= 0):
                kind = "a positive number" if self.curve == "exponential" else "a number"
                raise ValueError(f"{self.curve}({name}=...) must be {kind}. Received: {name}={value!r}")
        for name, least in (("steps", 1), ("begin", 0)):
            if check_whole(getattr(self, name), least, self.curve, name) > LARGEST_STEP:
                raise ValueError(
                    f"{self.curve}({name}=...) must be at most {LARGEST_STEP:,}. "
                    f"Received: {name}={getattr(self, name)!r}"
                )

    def __call__(self, step: Any):
        is_plain = is_whole(step)
        if self.length is not None:
            step = step % self.length
        done = (step if is_plain else ops.cast(step, "float32")) - self.begin
        done = min(max(done / self.steps, 0.0), 1.0) if is_plain else ops.clip(done / self.steps, 0.0, 1.0)
        if self.curve == "exponential":
            return self.start * (self.end / self.start) ** done
        return self.end + (self.start - self.end) * _CURVES[self.curve](1 - done, math if is_plain else ops)

    @property
    def values(self) -> list[float]:
        """The lowest value that it has, and the highest."""
        return sorted([self.start, self.end])

    @property
    def last(self) -> int | None:
        """The step from which on nothing changes; None: there is none."""
        return None if self.length is not None else self.begin + self.steps


def linear(start: float, end: float, steps: int, begin: int = 0) -> Schedule:
    """A value that changes by the same amount in each step.

    Args:
        start, end: numbers, the value until `begin`, and that from `begin + steps` on.
        steps: int, at least 1.
        begin: int, at least 0.

    Raises:
        ValueError: an argument out of range.

    Example:

    >>> density = linear(0.5, 0.1, steps=100)
    >>> density(0), density(50), density(1000)
    (0.5, 0.3, 0.1)
    """
    return Schedule("linear", start, end, steps, begin)


def cosine(start: float, end: float, steps: int, begin: int = 0) -> Schedule:
    """A value that follows half a cosine: slow at both ends. Arguments as `linear`."""
    return Schedule("cosine", start, end, steps, begin)


def cubic(start: float, end: float, steps: int, begin: int = 0) -> Schedule:
    """`end + (start - end) * (1 - t) ** 3`: fast at first (Zhu & Gupta, arXiv 1710.01878, eq. 1).

    Arguments as `linear`.
    """
    return Schedule("cubic", start, end, steps, begin)


def exponential(start: float, end: float, steps: int, begin: int = 0) -> Schedule:
    """A value that changes by the same factor in each step. Arguments as `linear`; both numbers are positive."""
    return Schedule("exponential", start, end, steps, begin)


def cycles(schedule: Schedule, length: int | None = None) -> Schedule:
    """A schedule that begins anew again and again.

    Args:
        schedule: what is repeated.
        length: int, of each cycle, in steps; None: as many as the schedule takes.

    Raises:
        ValueError: no schedule of `linear`, `cosine`, `cubic` or `exponential`, or a length below that of it.
    """
    if not isinstance(schedule, Schedule):
        raise ValueError(
            "cycles(schedule=...) must be a schedule such as keras_dsr.schedules.cosine(0.5, 0.1, steps=100). "
            f"Received: schedule={schedule!r}"
        )
    least = schedule.begin + schedule.steps
    length = least if length is None else check_whole(length, least, "cycles", "length")
    if length > LARGEST_STEP:
        raise ValueError(f"cycles(length=...) must be at most {LARGEST_STEP:,}. Received: length={length!r}")
    return dataclasses.replace(schedule, length=length)


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
