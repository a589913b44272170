"""How deep to cut each of several tensors, from what a cut of each alone was measured to cost.

The measurements of a tensor are a `Curve`: numbers of zeros, and the drop of the metric at each. Its envelope is the
running maximum of the drops from (0 zeros, drop 0) on, joined by straight lines: a drop that is non-decreasing in the
zeros, and at least 0. Read the other way round, it says how many zeros a drop buys.
"""

import heapq
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Curve(NamedTuple):
    """The envelope of the measurements of one tensor.

    Attributes:
        zeros: float64 array of shape `(points,)`, increasing from 0 on.
        drops: float64 array of the same shape, non-decreasing from 0 on, finite.
    """

    zeros: np.ndarray
    drops: np.ndarray


def envelope(zeros: Sequence[int], drops: Sequence[float]) -> Curve:
    """The monotone envelope of measurements. It ends before the first drop that is not finite.

    Args:
        zeros: the number of zeros at each measurement, non-decreasing. Of equal ones the largest drop counts.
        drops: how much worse the metric was than without a cut; negative where it was better.

    Example:

    >>> envelope([10, 20, 30], [-0.5, 2.0, 1.0])  # zeros 0, 10, 20, 30; drops 0, 0, 2, 2
    """
    finite = np.isfinite(np.append(np.asarray(drops, "float64"), np.nan))
    end = int(np.argmin(finite))
    places = np.concatenate(([0.0], np.asarray(zeros, "float64")[:end]))
    highest = np.maximum.accumulate(np.concatenate(([0.0], np.asarray(drops, "float64")[:end])))
    last = np.append(places[1:] != places[:-1], True)
    return Curve(places[last], highest[last])


def most_zeros(curve: Curve, drop: float) -> float:
    """The largest number of zeros whose drop on the curve is at most `drop`, a number of at least 0."""
    if drop < curve.drops[0]:
        return 0.0
    below = int(np.searchsorted(curve.drops, drop, side="right")) - 1  # the last point that is no higher
    return _between(curve, below, drop) if below + 1 < len(curve.drops) else float(curve.zeros[-1])


def fewest_zeros(curve: Curve, drop: float) -> float:
    """The smallest number of zeros whose drop on the curve is at least `drop`; all of the curve's if it has none."""
    above = int(np.searchsorted(curve.drops, drop, side="left"))
    if above == 0:
        return 0.0
    return _between(curve, above - 1, drop) if above < len(curve.drops) else float(curve.zeros[-1])


def _between(curve: Curve, index: int, drop: float) -> float:
    """Where the line from a point to the next, which lies higher, has a drop."""
    (start, end), (low, high) = curve.zeros[index : index + 2], curve.drops[index : index + 2]
    return float(start + (end - start) * ((drop - low) / (high - low)))


def zeros_at_one_level(curves: Sequence[Curve], total: int) -> list[int]:
    """How many zeros each tensor gets if all suffer the same drop, and there are `total` of them.

    Let `z_i(d)` be the most zeros that tensor i has at drop d. The level d is the one at which their sum reaches
    `total`. The sum is a straight line in d from one drop that some curve has a point at to the next, and so is each
    `z_i`: there each lies the same part of its way between its ends. Where curves are flat at d the sum jumps: each
    then gets the same part of its own flat piece. These are all convex combinations, along one path on which no tensor
    ever loses a zero; it is found by the sums at its corners, and followed zero by zero where it has to be whole.

    Args:
        curves: one for each tensor, with whole numbers of zeros.
        total: int, the zeros of all together.

    Returns:
        For each tensor a number of zeros, with sum `total`. None of them falls when `total` rises.

    Raises:
        ValueError: `total` is negative, or above what the curves reach.

    Example:

    >>> steep, gentle = envelope([50, 90], [0.1, 0.5]), envelope([50, 90], [0.0, 0.1])
    >>> zeros_at_one_level([steep, gentle], total=100)  # at a drop of 0.056
    [28, 72]
    """
    largest = sum(int(curve.zeros[-1]) for curve in curves)
    if not 0 <= total <= largest:
        raise ValueError(
            f"The curves of {len(curves)} tensors reach {largest:,} zeros in all. Expected: a total of 0 to "
            f"{largest:,}. Received: total={total:,}. Measure deeper cuts, or ask for fewer zeros."
        )
    path = _path(curves)
    sums = path.sum(axis=1)
    corner = min(int(np.searchsorted(sums, total, side="left")), len(path) - 1)
    exact = path[corner]
    if corner and sums[corner] > total:
        part = (total - sums[corner - 1]) / (sums[corner] - sums[corner - 1])
        exact = path[corner - 1] + part * (path[corner] - path[corner - 1])
    return _whole(path, np.maximum(np.floor(exact) - 1, 0).astype(int).tolist(), total)


def _path(curves: Sequence[Curve]) -> np.ndarray:
    """The zeros of each tensor, in columns, at the corners of the path: at each level the fewest, then the most."""
    levels = np.unique(np.concatenate([curve.drops for curve in curves]))
    corners = [[of(curve, level) for curve in curves] for level in levels for of in (fewest_zeros, most_zeros)]
    return np.maximum.accumulate(np.array([[0.0] * len(curves), *corners]), axis=0)


def _whole(path: np.ndarray, zeros: list[int], total: int) -> list[int]:
    """From fewer zeros go on along the path: the next zero goes to the tensor that comes to have one first."""
    queue = [(_first(path[:, index], count + 1), index) for index, count in enumerate(zeros)]
    heapq.heapify(queue)
    for _ in range(total - sum(zeros)):
        _, index = queue[0]
        zeros[index] += 1
        heapq.heapreplace(queue, (_first(path[:, index], zeros[index] + 1), index))
    return zeros


def _first(column: np.ndarray, zeros: int) -> float:
    """Where on the path, in corners, a tensor first has so many zeros; infinity: nowhere."""
    corner = int(np.searchsorted(column, zeros, side="left"))
    if corner == len(column):
        return math.inf
    start, end = column[corner - 1 : corner + 1]
    return corner - 1 + (zeros - start) / (end - start)
