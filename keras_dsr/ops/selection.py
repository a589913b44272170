"""Exact selection: take exactly `count` entries of each tensor, the ones with the smallest keys.

Small tensors are sorted. In large ones the k-th smallest key is found by counting passes over the keys: every pass
counts how many keys lie at or below a cut, and the cut closes in from both sides. Shapes are fixed and the number of
passes depends on the keys alone, so the same code runs compiled on every backend. Of keys that spread evenly (random
ones) two or three passes by interpolation leave so few candidates that the rest of the search is in a small part of the
rows; other keys take up to 39, by bisection.
"""

import math
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_dsr.ops.segments import WIDTH, Segments, count_in_rows

MAX_KEY = 2**31 - 2
_EXCLUDED = 2**31 - 1
# With no more rows sorting takes less: a thirtieth of a call on torch; a tenth of the time to compile on TensorFlow, a
# fifth on JAX, where sorting more takes longer than it saves.
_ROWS_TO_SORT = 4096 if keras.backend.backend() == "torch" else 128
_INTERPOLATIONS = 8
_FEW = 16  # keys of which an interpolation aims at one alone
_SHRINKAGE = 8  # how many times as small the search becomes once few keys are left


def ordered_bits(magnitudes):
    """Integer keys in the order of non-negative floats (the order of their bit patterns).

    Args:
        magnitudes: Float tensor of any shape, non-negative. NaN orders after infinity.

    Returns:
        An int32 tensor of the same shape, in `[0, MAX_KEY]`.
    """
    bits = ops.view(ops.cast(magnitudes, "float32"), "int32")
    return ops.minimum(bits, MAX_KEY)


def signed_bits(values):
    """Integer keys in the order of floats of any sign, up to their last bit.

    Args:
        values: Float tensor of any shape, without NaN.

    Returns:
        An int32 tensor of the same shape, in `[0, MAX_KEY]`.
    """
    size = ordered_bits(ops.abs(values)) // 2
    return ops.where(values >= 0, 2**30 - 1 + size, 2**30 - 1 - size)


def count_true(mask):
    """The number of true entries of a bool tensor, as an int32 scalar."""
    return ops.sum(ops.cast(mask, "int32"))


def largest(magnitudes, eligible, segments: Segments):
    """In each tensor, the eligible entry of the largest magnitude; ties go to the first.

    Args:
        magnitudes: joined float tensor, non-negative; NaN comes after every number.
        eligible: joined bool tensor, with at least one true entry in each tensor.
        segments: how they are joined.

    Returns:
        A joined bool tensor with one true entry for each tensor.
    """
    # Numbers come before NaN, and what is eligible before what is not. Halves of the bits, of which each is small.
    bits = ops.where(eligible, ops.where(magnitudes >= 0, 1 + ordered_bits(magnitudes), 0), -1)
    found = eligible
    for half in (ops.right_shift(bits, 16), ops.bitwise_and(bits, 0xFFFF)):
        half = ops.where(found, half, -1)
        found = found & (half == segments.spread(segments.max_of_rows(ops.max(half, axis=1))))
    number = ops.arange(segments.rows, dtype="int32")
    first = -segments.max_of_rows(ops.where(ops.any(found, axis=1), -number, -segments.rows))
    column = ops.cast(ops.argmax(found, axis=1), "int32")
    is_first = (number == segments.spread(first)[:, 0])[:, None] & (ops.arange(WIDTH, dtype="int32") == column[:, None])
    return found & is_first


def select_smallest_in_rows(keys, eligible, counts):
    """As `select_smallest`, in each row of a matrix; by sorting the rows.

    Args:
        keys: int32 tensor of shape `(rows, columns)`, entries in `[0, MAX_KEY]`.
        eligible: bool tensor of the same shape.
        counts: int32 tensor of shape `(rows,)`.
    """
    ranks = ops.argsort(ops.argsort(ops.where(eligible, keys, _EXCLUDED), axis=1), axis=1)
    return eligible & (ops.cast(ranks, "int32") < counts[:, None])


def count_in_each(mask):
    """The true entries of each row of a bool tensor, int32."""
    return ops.sum(ops.cast(mask, "int32"), axis=1)


def value_of_rank(magnitudes, eligible, rank):
    """The value that has exactly `rank` eligible magnitudes before it in their order.

    Args:
        magnitudes: float tensor of any shape, non-negative.
        eligible: bool tensor of the same shape, with more than `rank` true entries.
        rank: int32 scalar, at least 0.

    Returns:
        A float32 scalar: one of the eligible magnitudes. As many as `rank` are below it, fewer if some are equal to it.
    """
    keys = ops.where(eligible, ordered_bits(magnitudes), _EXCLUDED)
    if math.prod(keys.shape) <= WIDTH * _ROWS_TO_SORT:
        return ops.view(ops.sort(ops.reshape(keys, (-1,)))[rank], "float32")

    def is_open(low, high):
        return high - low > 1

    def narrow(low, high):
        middle = low + (high - low) // 2
        enough = count_true(keys <= middle) > rank
        return ops.where(enough, low, middle), ops.where(enough, middle, high)

    # Always: at most `rank` keys lie at or below `low`, more than that at or below `high`.
    start = ops.convert_to_tensor(-1, "int32"), ops.convert_to_tensor(MAX_KEY, "int32")
    return ops.view(ops.while_loop(is_open, narrow, start)[1], "float32")


def select_smallest(keys, eligible, counts, segments: Segments):
    """In each tensor, choose exactly `count` of the eligible entries: those with the smallest keys, ties by position.

    Args:
        keys: joined int32 tensor, entries in `[0, MAX_KEY]`.
        eligible: joined bool tensor, true where an entry may be chosen.
        counts: int32 tensor of shape `(tensors,)`, each between 0 and the number of eligible entries of its tensor.
            Above it, all of them are chosen.
        segments: how they are joined.

    Returns:
        A joined bool tensor with exactly `count` true entries in each tensor, all of them eligible.
    """
    select = select_by_sorting if segments.rows <= _ROWS_TO_SORT else select_by_searching
    return select(keys, eligible & segments.holds_entry(), ops.cast(counts, "int32"), segments)


def select_by_sorting(keys, eligible, counts, segments: Segments):
    """`select_smallest` by two stable sorts, in which ties stay in the order of their positions."""
    by_key = ops.argsort(ops.reshape(ops.where(eligible, keys, _EXCLUDED), (-1,)))
    order = ops.take(by_key, ops.argsort(ops.take(segments.tensor_of_entry(), by_key)))
    first = ops.reshape(segments.indices() < segments.spread(counts), (-1,))
    chosen = ops.scatter_update(ops.zeros_like(first), order[:, None], first)
    return ops.reshape(chosen, keys.shape) & eligible


def select_by_searching(keys, eligible, counts, segments: Segments):
    """`select_smallest` by counting passes."""
    keys = ops.where(eligible, keys, _EXCLUDED)
    eligible_in_rows = count_in_rows(eligible)
    available = segments.sum_of_rows(eligible_in_rows)
    counts = ops.minimum(counts, available)

    def is_open(low, high):
        return (high.count != counts) & (high.key - low.key > 1)

    def narrow(keys, rows, passes, low, high):
        """One pass: a cut in each tensor between `low` and `high`, which takes the place of one of them."""
        between = ops.cast(ops.maximum(high.count - low.count, 1), "float32")
        share = ops.cast(counts - low.count, "float32") / between
        # Two standard deviations beyond, to the far side: then what is sought is likely to lie on the near one.
        margin = 2 * ops.sqrt(ops.maximum(share * (1 - share), 0) / between)
        margin = ops.where(between > _FEW, ops.where(share < 0.5, margin, -margin), 0.0)
        share = ops.where(passes < _INTERPOLATIONS, share + margin, 0.5)
        width = high.key - low.key
        step = ops.cast(share * ops.cast(width - 1, "float32"), "int32")
        keys_there = low.key + ops.clip(step, 1, ops.maximum(width - 1, 1))
        cut = ops.where(is_open(low, high), keys_there, high.key)  # where it is settled, nothing changes any more
        in_rows = count_in_rows(keys <= segments.spread(cut, rows))
        below = segments.sum_of_rows(in_rows, rows)
        cut = _Bound(cut, below if rows is None else below + few_counts, in_rows)
        enough = cut.count >= counts
        enough_there = segments.spread(enough, rows)[:, 0]

        def chosen(where_enough, otherwise):
            pairs = zip((enough, enough, enough_there), where_enough, otherwise)
            return _Bound(*[ops.where(*branches) for branches in pairs])

        return passes + 1, chosen(low, cut), chosen(cut, high)

    # Always: fewer than `counts` keys lie at or below `low` (or the count is 0), at least `counts` at or below `high`.
    none, some = ops.zeros_like(counts), counts > 0
    eligible_in_rows = ops.where(segments.spread(some)[:, 0], eligible_in_rows, 0)
    low = _Bound(none - 1, none, ops.zeros_like(eligible_in_rows))
    high = _Bound(ops.where(some, MAX_KEY, -1), ops.where(some, available, 0), eligible_in_rows)
    room = max(segments.rows // _SHRINKAGE, 1)

    def are_many(passes, low, high):  # more keys between the bounds than there is room for
        return ops.sum(ops.where(is_open(low, high), high.count - low.count, 0)) > room

    start = (ops.zeros((), "int32"), low, high)
    passes, low, high = ops.while_loop(are_many, lambda *state: narrow(keys, None, *state), start)
    # The rest of the search is in the rows that hold the few keys that are left between the bounds.
    has_some = (low.in_rows != high.in_rows) & segments.spread(is_open(low, high))[:, 0]
    rows, is_there = _rows_where(has_some, room)
    few_keys = ops.take(keys, rows, axis=0)
    few_keys = ops.where(is_there[:, None] & (few_keys > segments.spread(low.key, rows)), few_keys, _EXCLUDED)
    few_counts = low.count
    start = (passes, low._replace(in_rows=rows), high._replace(in_rows=rows))
    _, low, high = ops.while_loop(
        lambda passes, low, high: ops.any(is_open(low, high)),
        lambda *state: narrow(few_keys, rows, *state),
        start,
    )
    cuts = segments.spread(high.key)

    def take_by_position():
        return (keys < cuts) | _first(keys == cuts, counts - low.count, segments)

    return ops.cond(ops.all(high.count == counts), lambda: keys <= cuts, take_by_position)


def _first(mask, counts, segments: Segments):
    """In each tensor, the first true entries of a joined mask, as many as `counts` says, of shape `(tensors,)`."""
    in_rows = count_in_rows(mask)
    left = segments.spread(counts)[:, 0] - segments.rows_before(in_rows)
    # Of a tensor at most one row is taken in part: up to which column?
    rows, is_there = _rows_where((left > 0) & (in_rows > left), len(segments.sizes))
    ranks = ops.cumsum(ops.cast(ops.take(mask, rows, axis=0), "int32"), axis=1)
    ends = count_in_rows(ranks <= ops.take(left, rows)[:, None])
    columns = ops.concatenate([ops.where(in_rows <= left, WIDTH, 0), ops.zeros((1,), "int32")])
    columns = ops.scatter_update(columns, ops.where(is_there, rows, segments.rows)[:, None], ends)[:-1]
    return mask & (ops.arange(WIDTH, dtype="int32") < columns[:, None])


class _Bound(NamedTuple):
    """A bound of the search in each tensor: a key, the number of keys at or below it, and that number in each row."""

    key: Any
    count: Any
    in_rows: Any


def _rows_where(wanted, room: int) -> tuple:
    """The numbers of the rows that are wanted, at most `room` of them.

    Returns:
        `(rows, is_there)` of shape `(room,)`: int32, 0 behind the last one; and bool, false behind the last one.
    """
    order = ops.cumsum(ops.cast(wanted, "int32"))
    at = ops.where(wanted & (order <= room), order - 1, room)  # what is at `room` is dropped
    numbers = ops.arange(wanted.shape[0], dtype="int32")
    rows = ops.scatter_update(ops.zeros((room + 1,), "int32"), at[:, None], numbers)[:room]
    return rows, ops.arange(room, dtype="int32") < order[-1]
