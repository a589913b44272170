"""The positions of the active weights of a tensor as a sorted list, and how growth adds to it, without a mask.

All takes time and memory in proportion to the positions that exist. On TensorFlow and torch a list has the length that
it needs, known only when the program runs. JAX's programs need shapes that are fixed: there a list has the length of
the room that there is, and ends with `nowhere()`, as often as it takes.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_dsr.ops.randomness import StepSeed
from keras_dsr.ops.selection import count_true


def has_fixed_lengths() -> bool:
    """Whether lists are padded with `nowhere()` to a fixed length."""
    return keras.backend.backend() == "jax"


def position_dtype() -> str:
    """The integers of positions: JAX has none of 64 bits unless it is told to."""
    return "int32" if has_fixed_lengths() else "int64"


def most_places() -> int:
    """How many positions a tensor may have whose weights are stored as a list."""
    return 2**30 if has_fixed_lengths() else 2**62


def nowhere() -> int:
    """The position that stands for none; it comes after every position."""
    return np.iinfo(position_dtype()).max


def no_positions(room: int):
    """A list of none, with room for as many."""
    return ops.full((room if has_fixed_lengths() else 0,), nowhere(), dtype=position_dtype())


def positions_where(positions, mask):
    """The positions where a mask is true, in increasing order, of those that increase there."""
    if has_fixed_lengths():
        return ops.sort(ops.where(mask, positions, nowhere()))
    return ops.take(positions, ops.nonzero(mask)[0])


def count_positions(positions):
    """How many there are in a list, an int32 scalar."""
    return count_true(positions != nowhere())


def random_positions(places: int, count: int, seed) -> np.ndarray:
    """Distinct flat positions, uniformly at random, in increasing order; on the host, for a first mask.

    Args:
        places: int, the number of positions.
        count: int, between 0 and `places`.
        seed: int, or several.

    Returns:
        An int64 array of shape `(count,)`.
    """
    rng = np.random.default_rng(seed)
    if 2 * count >= places:
        return np.sort(rng.permutation(places)[:count])
    chosen = np.zeros(0, "int64")
    while len(chosen) < count:  # the first `count` distinct ones of a sequence of draws
        drawn = np.sort(np.concatenate([chosen, rng.integers(places, size=count - len(chosen))]), kind="stable")
        chosen = drawn[np.diff(drawn, prepend=-1) > 0]  # np.unique hashes integers, 50 times slower
    return chosen


def free_positions(taken, count, places: int, seed: StepSeed, room: int):
    """Distinct flat positions that are not taken, uniformly at random, in increasing order.

    Args:
        taken: a list of distinct positions, increasing.
        count: int32 scalar tensor, between 0 and the number of positions that are not taken, and at most `room`.
        places: int, the number of positions, at most `most_places()`.
        seed: the random numbers of the tensor at this step.
        room: int, for how many positions there is room.

    Returns:
        A list of `count` positions.
    """
    dtype = position_dtype()
    length = ops.cast(count_positions(taken), dtype)
    count = ops.cast(count, "int32")
    ranks = _distinct(count, places - length, seed, room if has_fixed_lengths() else count)
    # Before the free place of rank r lie r free ones, and each taken one whose number of free ones before it is <= r.
    free_before = taken - ops.arange(ops.shape(taken)[0], dtype=dtype)
    found = ranks + ops.cast(ops.searchsorted(free_before, ranks, side="right"), dtype)
    return ops.where(ranks == nowhere(), ranks, found)


def contains(positions, wanted):
    """Which of `wanted` (of any order) are among `positions` (a list that increases); a bool tensor."""
    at = ops.searchsorted(positions, wanted)
    padded = ops.concatenate([positions, -ops.ones((1,), positions.dtype)])
    return ops.take(padded, at) == wanted


def _distinct(count, below, seed: StepSeed, room):
    """A list of `count` distinct numbers in [0, below), uniformly at random, in increasing order, of length `room`."""
    index = ops.arange(room, dtype="int32")

    def rejected():
        # The first `count` distinct ones of a sequence of draws: each round draws as many as are missing.
        def is_missing(round, chosen):
            return count_positions(chosen) < count

        def draw(round, chosen):
            missing = count - count_positions(chosen)
            drawn = ops.where(index < missing, _integers(room, below, seed, round), nowhere())
            both = ops.sort(ops.concatenate([chosen, drawn]))
            is_new = ops.concatenate([ops.ones((1,), "bool"), both[1:] != both[:-1]])
            chosen_now = ops.sort(ops.where(is_new, both, nowhere()))[:room]
            return round + 1, ops.reshape(chosen_now, ops.shape(chosen))

        start = ops.full((room,), nowhere(), dtype=position_dtype())
        return ops.while_loop(is_missing, draw, (ops.zeros((), "int32"), start))[1]

    def shuffled():  # there are at most twice as many numbers as are wanted
        numbers = ops.arange(2 * room, dtype=position_dtype())
        keys = _integers(2 * room, nowhere(), seed, ops.zeros((), "int32"))
        order = ops.argsort(ops.where(numbers < below, keys, nowhere()))[:room]
        return ops.sort(ops.where(index < count, ops.cast(order, position_dtype()), nowhere()))

    return ops.cond(2 * ops.cast(count, position_dtype()) >= below, shuffled, rejected)


def _integers(count, below, seed: StepSeed, round):
    """`count` numbers in [0, below), uniformly at random, of the dtype of positions."""
    if keras.backend.backend() == "torch":  # its random numbers want numbers, not tensors
        count, below = int(count), int(below)
    return keras.random.randint((count,), 0, below, dtype=position_dtype(), seed=seed.in_round(round))


class Layout(NamedTuple):
    """Where the entries of a tensor go when some are pruned and others grown.

    Attributes:
        survivors: int tensor of shape `(survivors,)`, their indices in the old list.
        at_survivors: int32 tensor of shape `(survivors,)`, their indices in the new list.
        at_born: int32 tensor of shape `(born,)`, the indices of the grown in the new list. Where lists are padded, an
            index behind the new list stands for nothing.
    """

    survivors: Any
    at_survivors: Any
    at_born: Any


def layout(positions, kept, born) -> Layout:
    """The new layout of a list whose positions increase.

    Args:
        positions: tensor of shape `(capacity,)`, increasing where an entry is kept.
        kept: bool tensor of shape `(capacity,)`, which entries survive.
        grown: a list of positions, none of a survivor.
    """
    # In a padded list those that survive come first, in their order.
    survivors = ops.argsort(ops.cast(~kept, "int32")) if has_fixed_lengths() else ops.nonzero(kept)[0]
    held = positions_where(positions, kept)

    def at(own, other):
        index = ops.arange(ops.shape(own)[0], dtype="int32") + ops.cast(ops.searchsorted(other, own), "int32")
        return ops.where(own == nowhere(), positions.shape[0], index)

    return Layout(survivors, at(held, born), at(born, held))


def laid_out(entries, born, order: Layout, fill=0):
    """A tensor of entries in its new layout, of the same shape, with `fill` behind the last one.

    Args:
        entries: tensor of shape `(capacity, ...)`, in the old layout.
        born: tensor of shape `(born, ...)`, those of the list of the grown.
        order: the `Layout`.
        fill: a number.
    """
    result = ops.full(entries.shape, fill, dtype=entries.dtype)
    result = ops.scatter_update(result, order.at_survivors[:, None], ops.take(entries, order.survivors, axis=0))
    return ops.scatter_update(result, order.at_born[:, None], ops.cast(born, entries.dtype))
