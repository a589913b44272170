"""Lists of the weights that exist, in compact storage, and what they are by units.

The axes of a slice come first, so that of `units` units the one at position p has its weights at p, p + units, ... of
the flat tensor. A list of weights by position is then one of the first weights of all units, one of the second, and so
on.
"""

import numpy as np
from keras import ops


def weights_of_units(positions: np.ndarray, size: int, units: int) -> np.ndarray:
    """The flat positions of the weights of units, an int64 array of shape `(size, n)`; on the host.

    Args:
        positions: int array of shape `(n,)`, flat positions of units.
        size: int, how many weights are a unit.
        units: int, how many units the tensor has.
    """
    return positions + units * np.arange(size, dtype="int64")[:, None]


def units_of_list(entries, size: int, count):
    """What there is for each weight of a list, by units.

    Args:
        entries: tensor of shape `(capacity,)`, by position, of which the first `count` are of weights that exist.
        size: int, how many weights are a unit.
        count: int32 scalar tensor.

    Returns:
        A tensor of shape `(capacity // size, size)`, anything where there is no unit; for single weights the list.
    """
    if size == 1:
        return entries
    room = entries.shape[0] // size
    index = ops.arange(room, dtype="int32")[:, None] + (count // size) * ops.arange(size, dtype="int32")
    return ops.take(entries, ops.minimum(index, entries.shape[0] - 1))


def list_of_units(entries, count, fill=0):
    """The inverse of `units_of_list`: a list of what there is for each weight, with `fill` from `count` on.

    Args:
        entries: tensor of shape `(room, size)`, or a list of single weights.
        count: int32 scalar tensor, the weights that exist.
        fill: a number.
    """
    if len(entries.shape) == 1:
        return entries
    room, size = entries.shape
    units, index = ops.maximum(count // size, 1), ops.arange(room * size, dtype="int32")
    listed = ops.take(ops.reshape(entries, (-1,)), ops.minimum(index % units * size + index // units, room * size - 1))
    return ops.where(index < count, listed, ops.cast(fill, entries.dtype))
