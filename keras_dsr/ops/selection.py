"""Exact selection: take exactly `count` places, the ones with the smallest keys, without a sort.

The k-th smallest key is found by counting passes over the keys: every pass counts how many keys lie at or below a cut,
and the cut closes in from both sides. Shapes are fixed and the number of passes depends on the keys alone, so the same
code runs compiled on every backend. Keys that spread evenly (random ones) are found in about five passes by
interpolation; any other keys in at most 39, by bisection.
"""

import math

from keras import ops

MAX_KEY = 2**31 - 2
_EXCLUDED = 2**31 - 1
_INTERPOLATIONS = 8


def ordered_bits(magnitudes):
    """Integer keys in the order of non-negative floats (the order of their bit patterns).

    Args:
        magnitudes: Float tensor of any shape, non-negative. NaN orders after infinity.

    Returns:
        An int32 tensor of the same shape, in `[0, MAX_KEY]`.
    """
    bits = ops.view(ops.cast(magnitudes, "float32"), "int32")
    return ops.minimum(bits, MAX_KEY)


def count_true(mask):
    """The number of true entries of a bool tensor, as an int32 scalar."""
    return ops.sum(ops.cast(mask, "int32"))


def largest(magnitudes, eligible):
    """The eligible place of the largest magnitude, as a bool tensor with one true entry; ties go to the first place.

    Args:
        magnitudes: float tensor of any shape, non-negative; NaN comes after every number.
        eligible: bool tensor of the same shape with at least one true entry.
    """
    ranked = ops.where(magnitudes >= 0, magnitudes, -ops.ones_like(magnitudes))
    ranked = ops.where(eligible, ranked, -2 * ops.ones_like(magnitudes))
    best = ops.cast(ops.argmax(ops.reshape(ranked, (-1,))), "int32")
    position = ops.reshape(ops.arange(math.prod(eligible.shape), dtype="int32"), eligible.shape)
    return eligible & (position == best)


def value_of_rank(magnitudes: list, eligible: list, rank):
    """The value that has exactly `rank` eligible magnitudes of all tensors before it in their order.

    Args:
        magnitudes: list of float tensors of any shapes, non-negative.
        eligible: list of bool tensors of the same shapes, more than `rank` true entries in all.
        rank: int32 scalar, at least 0.

    Returns:
        A float32 scalar: one of the eligible magnitudes. As many as `rank` are below it, fewer if some are equal to it.
    """
    keys = [ops.where(allowed, ordered_bits(of), _EXCLUDED) for of, allowed in zip(magnitudes, eligible)]

    def is_open(low, high):
        return high - low > 1

    def narrow(low, high):
        middle = low + (high - low) // 2
        enough = sum(count_true(key <= middle) for key in keys) > rank
        return ops.where(enough, low, middle), ops.where(enough, middle, high)

    # Always: at most `rank` keys lie at or below `low`, more than that at or below `high`.
    start = ops.convert_to_tensor(-1, "int32"), ops.convert_to_tensor(MAX_KEY, "int32")
    return ops.view(ops.while_loop(is_open, narrow, start)[1], "float32")


def select_smallest(keys: list, eligible: list, counts) -> list:
    """In each tensor, choose exactly `count` of the eligible places: those with the smallest keys, ties by position.

    All tensors are searched in one loop: a program with one loop compiles fast, however many tensors there are.

    Args:
        keys: list of int32 tensors of any shapes, entries in `[0, MAX_KEY]`.
        eligible: list of bool tensors of the same shapes, true at the places that may be chosen.
        counts: int32 tensor of shape `(tensors,)`, each between 0 and the number of eligible places of its tensor.
            Above it, all of them are chosen.

    Returns:
        A list of bool tensors of the same shapes, each with exactly `count` true entries, all of them eligible.
    """
    keys = [ops.where(allowed, key, _EXCLUDED) for key, allowed in zip(keys, eligible)]
    available = ops.stack([count_true(allowed) for allowed in eligible])
    counts = ops.minimum(ops.cast(counts, "int32"), available)

    def count_below(index, cuts, settled, counted):
        return ops.cond(settled[index], lambda: counted[index], lambda: count_true(keys[index] <= cuts[index]))

    def is_open(low, high, high_counts):
        return (high_counts != counts) & (high - low > 1)

    def unsettled(passes, low, low_counts, high, high_counts):
        return ops.any(is_open(low, high, high_counts))

    def narrow(passes, low, low_counts, high, high_counts):
        width = high - low
        share = ops.cast(counts - low_counts, "float32") / ops.cast(ops.maximum(high_counts - low_counts, 1), "float32")
        share = ops.where(passes < _INTERPOLATIONS, share, 0.5)
        step = ops.cast(share * ops.cast(width - 1, "float32"), "int32")
        cuts = low + ops.clip(step, 1, ops.maximum(width - 1, 1))
        settled = ~is_open(low, high, high_counts)
        cuts = ops.where(settled, high, cuts)
        below = ops.stack([count_below(index, cuts, settled, high_counts) for index in range(len(keys))])
        enough = below >= counts
        return (
            passes + 1,
            ops.where(enough, low, cuts),
            ops.where(enough, low_counts, below),
            ops.where(enough, cuts, high),
            ops.where(enough, below, high_counts),
        )

    # Always: fewer than `counts` keys lie at or below `low` (or the count is 0), at least `counts` at or below `high`.
    zeros = ops.zeros_like(counts)
    high = ops.where(counts > 0, MAX_KEY, -1)
    high_counts = ops.where(counts > 0, available, 0)
    start = (ops.zeros((), "int32"), zeros - 1, zeros, high, high_counts)
    _, _, low_counts, high, high_counts = ops.while_loop(unsettled, narrow, start)

    def take_all():
        return [key <= high[index] for index, key in enumerate(keys)]

    def take_by_position():
        return [_with_ties(key, high[index], counts[index] - low_counts[index]) for index, key in enumerate(keys)]

    return list(ops.cond(ops.all(high_counts == counts), take_all, take_by_position))


def _with_ties(keys, cut, count):
    """The places with keys below `cut`, and the first `count` of those at it."""
    tied = ops.reshape(keys == cut, (-1,))
    rank = ops.cumsum(ops.cast(tied, "int32"))
    return (keys < cut) | ops.reshape(tied & (rank <= count), keys.shape)
