"""Where a network's weights start: a random mask with an exact number of active units."""

import math
import numbers
from collections.abc import Sequence

import numpy as np

from keras_dsr.decisions.units import GRANULARITIES, unit_shape


def check_sparsity(sparsity: float, owner: str) -> float:
    """Return the sparsity as a float, or raise `ValueError` if it is not a number in [0, 1).

    Args:
        sparsity: the share of weights that are zero.
        owner: who asks, in call form (`"SparseDense"`), for the message.
    """
    is_number = isinstance(sparsity, numbers.Real) and not isinstance(sparsity, bool)
    if not is_number or not 0 <= sparsity < 1:
        raise ValueError(
            f"{owner}(sparsity=...) must be a number in [0, 1): the share of weights that are zero "
            f"(0.9 keeps one weight in ten). Received: sparsity={sparsity!r}"
        )
    return float(sparsity)


def check_granularity(granularity: str, owner: str) -> str:
    """Return the granularity, or raise `ValueError` if it is unknown."""
    if granularity not in GRANULARITIES:
        raise ValueError(
            f"{owner}(granularity=...) must be one of {', '.join(map(repr, GRANULARITIES))}: what is pruned and grown "
            f"as a whole, one weight or one k x k slice of a convolution. Received: granularity={granularity!r}"
        )
    return granularity


def active_units(units: int, sparsity: float) -> int:
    """How many of `units` are active at a sparsity: the nearest integer, and at least one."""
    return max(1, round((1 - sparsity) * units))


def random_mask(shape: Sequence[int], sparsity: float, axes: Sequence[int] = (), seed: int = 0) -> np.ndarray:
    """A random mask with exactly `active_units` active units; the same on every backend for the same seed.

    Args:
        shape: the shape of the weight.
        sparsity: float in [0, 1).
        axes: the axes that one unit spans (see `decisions.units`).
        seed: int.

    Returns:
        A bool array of the given shape.
    """
    units = np.zeros(unit_shape(shape, axes), dtype=bool)
    count = math.prod(units.shape)
    chosen = np.random.default_rng(seed).choice(count, active_units(count, sparsity), replace=False, shuffle=False)
    units.reshape(-1)[chosen] = True
    return np.broadcast_to(units, shape).copy()
