"""Where a network's weights start: a mask with an exact number of active units, at random or by magnitude."""

from collections.abc import Sequence

import numpy as np

from keras_dsr.arguments import is_number, is_one_of
from keras_dsr.ops.units import SINGLE, Groups, Units

MASKS = ("random", "magnitude")


def check_sparsity(sparsity: float, owner: str, argument: str = "sparsity", received: str | None = None) -> float:
    """Return the sparsity as a float, or raise `ValueError` if it is not a number in [0, 1).

    Args:
        sparsity: the fraction of weights that are zero.
        owner: who asks, in call form (`"SparseDense"`), for the message.
        argument: the name of the argument.
        received: what the argument was, in words; None: the sparsity.
    """
    if not is_number(sparsity) or not 0 <= sparsity < 1:
        raise ValueError(
            f"{owner}({argument}=...) must be a number in [0, 1): the fraction of weights that are zero "
            f"(0.9 keeps one weight in ten). Received: {argument}={received or repr(sparsity)}"
        )
    return float(sparsity)


def check_mask(mask: str, owner: str, argument: str = "mask") -> str:
    """Return the way that a first mask is drawn, or raise `ValueError` if it is unknown."""
    if not is_one_of(mask, MASKS):
        raise ValueError(
            f"{owner}({argument}=...) must be 'random', or 'magnitude': the largest weights of each tensor stay. "
            f"Received: {argument}={mask!r}"
        )
    return mask


def active_units(units: int, sparsity: float) -> int:
    """How many of `units` are active at a sparsity: the nearest integer, and at least one."""
    return max(1, round((1 - sparsity) * units))


def random_mask(shape: Sequence[int], active: int, units: Units = SINGLE, seed: int | Sequence[int] = 0) -> np.ndarray:
    """A random mask with exactly `active` active units; the same on every backend for the same seed.

    Args:
        shape: the shape of the weight.
        active: int, the number of active units, at least 0 and at most the number that there are.
        units: what the weight is made of.
        seed: int, or several.

    Returns:
        A bool array of the given shape.
    """
    rng = np.random.default_rng(seed)
    if isinstance(units, Groups):
        return _mask_in_groups(rng.random(units.fold(np.zeros(shape), np).shape), active, shape, units)
    return _mask_of(rng.choice(units.count(shape), active, replace=False, shuffle=False), shape, units)


def magnitude_mask(weight: np.ndarray, active: int, units: Units = SINGLE) -> np.ndarray:
    """The mask of the `active` units of largest magnitude: the mean of |w| over a unit; ties go to any of them.

    Args:
        weight: float array.
        active: int, the number of active units, at least 0 and at most the number that there are.
        units: what the weight is made of.

    Returns:
        A bool array of the shape of the weight.
    """
    if isinstance(units, Groups):
        return _mask_in_groups(-units.fold(units.magnitudes(weight, np), np), active, weight.shape, units)
    magnitudes = units.magnitudes(weight, np).reshape(-1)
    chosen = np.argpartition(magnitudes, magnitudes.size - active)[magnitudes.size - active :] if active else []
    return _mask_of(chosen, weight.shape, units)


def _mask_in_groups(keys: np.ndarray, active: int, shape, units: Groups) -> np.ndarray:
    """The mask of equally many of each group, those of the smallest keys."""
    ranks = np.argsort(np.argsort(keys, axis=1, kind="stable"), axis=1)
    return np.array(units.unfold(ranks < active // units.groups, shape, np))


def _mask_of(chosen, shape, units: Units) -> np.ndarray:
    active = np.zeros(units.shape(shape), dtype=bool)
    active.reshape(-1)[chosen] = True
    return np.array(units.mask(active, shape, np))
