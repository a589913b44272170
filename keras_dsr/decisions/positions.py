"""Positions: the places of a weight that exist as a sorted list, and what growth does with it, without a mask.

All takes time and memory in proportion to the places that exist. Lengths may be known only when the program runs, as
TensorFlow's graphs and torch allow.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_dsr.decisions.randomness import StepSeed
from keras_dsr.decisions.selection import count_true


def random_positions(places: int, count: int, seed) -> np.ndarray:
    """Distinct flat positions, uniformly at random, in increasing order; on the host, for a first mask.

    Args:
        places: int, the number of places.
        count: int, between 0 and `places`.
        seed: int, or several.

    Returns:
        An int64 array of shape `(count,)`.
    """
    rng = np.random.default_rng(seed)
    if 2 * count >= places:
        return np.sort(rng.permutation(places)[:count])
    chosen = np.unique(rng.integers(places, size=count))
    while len(chosen) < count:  # the first `count` distinct ones of a sequence of draws
        chosen = np.union1d(chosen, rng.integers(places, size=count - len(chosen)))
    return chosen


def free_positions(taken, count, places: int, seed: StepSeed):
    """Distinct flat positions that are not taken, uniformly at random, in increasing order.

    Args:
        taken: int64 tensor of shape `(taken,)`, distinct and increasing.
        count: int32 scalar tensor, between 0 and the number of places that are not taken.
        places: int, the number of places; it may need more than 32 bits.
        seed: the random numbers of the tensor at this step.

    Returns:
        An int64 tensor of shape `(count,)`.
    """
    length = ops.cast(ops.shape(taken)[0], "int64")
    ranks = _distinct(ops.cast(count, "int32"), places - length, seed)
    # Before the free place of rank r lie r free ones, and each taken one whose number of free ones before it is <= r.
    free_before = taken - ops.arange(ops.shape(taken)[0], dtype="int64")
    return ranks + ops.cast(ops.searchsorted(free_before, ranks, side="right"), "int64")


def contains(positions, wanted):
    """Which of `wanted` (of any order) are among `positions` (increasing), int64 tensors; a bool tensor."""
    at = ops.searchsorted(positions, wanted)
    padded = ops.concatenate([positions, -ops.ones((1,), "int64")])
    return ops.take(padded, at) == wanted


def _distinct(count, below, seed: StepSeed):
    """`count` distinct int64 numbers in [0, below), uniformly at random, in increasing order."""

    def rejected():
        # The first `count` distinct ones of a sequence of draws: each round draws as many as are missing.
        def is_missing(round, chosen):
            return chosen[-1] == below

        def draw(round, chosen):
            missing = count_true(chosen == below)
            drawn = _integers(count, below, seed, round)
            drawn = ops.where(ops.arange(count, dtype="int32") < missing, drawn, below)
            both = ops.sort(ops.concatenate([chosen, drawn]))
            is_new = ops.concatenate([ops.ones((1,), "bool"), both[1:] != both[:-1]])
            chosen_now = ops.sort(ops.where(is_new, both, below))[:count]
            return round + 1, ops.reshape(chosen_now, ops.shape(chosen))

        start = ops.zeros((), "int32"), ops.zeros((count,), "int64") + below
        return ops.while_loop(is_missing, draw, start)[1]

    def shuffled():
        keys = _integers(below, 2**62, seed, ops.zeros((), "int32"))
        return ops.cast(ops.sort(ops.argsort(keys)[:count]), "int64")

    def none():
        return ops.zeros((0,), "int64")

    is_crowded = 2 * ops.cast(count, "int64") >= below
    return ops.cond(count == 0, none, lambda: ops.cond(is_crowded, shuffled, rejected))


def _integers(count, below, seed: StepSeed, round):
    """`count` int64 numbers in [0, below), uniformly at random."""
    if keras.backend.backend() == "torch":  # its random numbers want numbers, not tensors
        count, below = int(count), int(below)
    return keras.random.randint((count,), 0, below, dtype="int64", seed=seed.in_round(round))


class Layout(NamedTuple):
    """Where the entries of a tensor go when some are pruned and others grown.

    Attributes:
        survivors: int tensor of shape `(survivors,)`, their indices in the old list.
        at_survivors: int32 tensor of shape `(survivors,)`, their indices in the new list.
        at_born: int32 tensor of shape `(born,)`, the indices of the newborn in the new list.
    """

    survivors: Any
    at_survivors: Any
    at_born: Any


def layout(positions, kept, born) -> Layout:
    """The new layout of a list whose positions increase.

    Args:
        positions: int64 tensor of shape `(capacity,)`, increasing where an entry is kept.
        kept: bool tensor of shape `(capacity,)`, which entries survive.
        born: int64 tensor of shape `(born,)`, increasing, none of a survivor.
    """
    survivors = ops.nonzero(kept)[0]
    held = ops.take(positions, survivors)
    at_survivors, at_born = (
        ops.arange(ops.shape(own)[0], dtype="int32") + ops.cast(ops.searchsorted(other, own), "int32")
        for own, other in ((held, born), (born, held))
    )
    return Layout(survivors, at_survivors, at_born)


def laid_out(entries, born, order: Layout, fill=0):
    """A list in its new layout, of the shape of `entries`, with `fill` behind the last one.

    Args:
        entries: tensor of shape `(capacity,)`, in the old layout.
        born: tensor of shape `(born,)`, of the newborn.
        order: the `Layout`.
        fill: a number.
    """
    result = ops.full((entries.shape[0],), fill, dtype=entries.dtype)
    result = ops.scatter_update(result, order.at_survivors[:, None], ops.take(entries, order.survivors))
    return ops.scatter_update(result, order.at_born[:, None], ops.cast(born, entries.dtype))
