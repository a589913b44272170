"""Patterns: what is pruned and grown as a whole, a unit: one weight, a k x k slice of a convolution, a block.

A pattern is what the user names, such as `"kernel"` or `(4, 1)`; `Units` are what it comes to for one tensor, and know
how units and weights belong together, so that methods do not.

The axes of a slice come first, so that of `units` units the one at position p has its weights at p, p + units, ... of
the flat tensor. A list of the weights that exist, by position, is then one of the first weights of all units, one of
the second, and so on: `units_of_list` reads it by units.
"""

import dataclasses
import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from keras import ops

from keras_dsr.arguments import is_one_of, is_whole

Pattern = str | tuple[int, int]

NAMES = ("element", "kernel")


def check_pattern(pattern: Any, owner: str) -> Pattern:
    """Return the pattern (a pair as a tuple), or raise `ValueError` if there is none such.

    Args:
        pattern: what was given.
        owner: who asks, in call form (`"SparseDense"`), for the message.
    """
    if is_one_of(pattern, NAMES):
        return pattern
    is_pair = isinstance(pattern, Sequence) and not isinstance(pattern, (str, bytes)) and len(pattern) == 2
    if is_pair and all(is_whole(size) and size >= 1 for size in pattern):
        rows, columns = map(int, pattern)
        return "element" if (rows, columns) == (1, 1) else (rows, columns)
    raise ValueError(
        f"{owner}(pattern=...) must be 'element' (single weights), 'kernel' (k x k slices of a convolution), or a pair "
        "of positive ints such as (4, 1): blocks of 4 neighbouring inputs by 1 output. Received: "
        f"pattern={pattern!r}"
    )


@dataclasses.dataclass(frozen=True)
class Units:
    """How a tensor is made of units: here of single weights.

    Methods take and return arrays of NumPy or tensors: `xp` is `numpy` or `keras.ops`.
    """

    @property
    def are_single(self) -> bool:
        """Whether each weight is a unit."""
        return type(self) is Units

    def __str__(self) -> str:
        return "weights"

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of the tensor of units of a tensor of the given shape."""
        return tuple(shape)

    def count(self, shape: Sequence[int]) -> int:
        """The number of units of a tensor of the given shape."""
        return math.prod(self.shape(shape))

    def size(self, shape: Sequence[int]) -> int:
        """How many weights are a unit of a tensor of the given shape; of blocks, one that is not cut off."""
        return 1

    def magnitudes(self, weight, xp: ModuleType = ops):
        """The magnitude of each unit: the mean of `|w|` over its weights, in float32."""
        return _float32(weight, xp)

    def active(self, mask, xp: ModuleType = ops):
        """Which units are active, from a bool mask in whole units."""
        return mask

    def mask(self, units, shape: Sequence[int], xp: ModuleType = ops):
        """The mask of the weights, of the given shape, whose units are active: the inverse of `active`."""
        return units


@dataclasses.dataclass(frozen=True)
class Slices(Units):
    """Units that span whole axes of a tensor; tensors of units keep those at size 1.

    Attributes:
        axes: tuple of ints.
    """

    axes: tuple[int, ...]

    def __str__(self) -> str:
        return "slices"

    def shape(self, shape):
        return tuple(1 if axis in self.axes else size for axis, size in enumerate(shape))

    def size(self, shape):
        return math.prod(shape[axis] for axis in self.axes)

    def magnitudes(self, weight, xp=ops):
        return xp.mean(_float32(weight, xp), axis=self.axes, keepdims=True)

    def active(self, mask, xp=ops):
        return xp.any(mask, axis=self.axes, keepdims=True)

    def mask(self, units, shape, xp=ops):
        return xp.broadcast_to(units, tuple(shape))


@dataclasses.dataclass(frozen=True)
class Blocks(Units):
    """Blocks of neighbouring weights in each of several matrices; those at the end of an axis may be smaller.

    Attributes:
        block: tuple of two ints, rows and columns.
        view: tuple of three ints, as what the tensor is seen: matrices, their rows and columns.
    """

    block: tuple[int, int]
    view: tuple[int, int, int]

    def __str__(self) -> str:
        return f"blocks of {self.block[0]} x {self.block[1]}"

    def shape(self, shape):
        matrices, rows, columns = self.view
        return matrices, -(-rows // self.block[0]), -(-columns // self.block[1])

    def size(self, shape):
        return math.prod(self.block)

    def magnitudes(self, weight, xp=ops):
        sizes = np.ones(self.view[1:], "float32")
        sizes = self._blocks(sizes[None], np, 1).sum((2, 4))
        return xp.divide(xp.sum(self._blocks(_float32(weight, xp), xp, self.view[0]), axis=(2, 4)), sizes)

    def active(self, mask, xp=ops):
        return xp.any(self._blocks(mask, xp, self.view[0]), axis=(2, 4))

    def mask(self, units, shape, xp=ops):
        matrices, rows, columns = self.shape(shape)
        spread = xp.reshape(units, (matrices, rows, 1, columns, 1))
        spread = xp.broadcast_to(spread, (matrices, rows, self.block[0], columns, self.block[1]))
        whole = xp.reshape(spread, (matrices, rows * self.block[0], columns * self.block[1]))
        return xp.reshape(whole[:, : self.view[1], : self.view[2]], tuple(shape))

    def _blocks(self, array, xp, matrices: int):
        """The entries of each block, 0 where it is smaller, of shape `(matrices, blocks, rows, blocks, columns)`."""
        _, rows, columns = self.shape(())
        missing = [blocks * size - there for blocks, size, there in zip((rows, columns), self.block, self.view[1:])]
        array = xp.reshape(array, (matrices, *self.view[1:]))
        if any(missing):
            array = xp.pad(array, [(0, 0), (0, missing[0]), (0, missing[1])])
        return xp.reshape(array, (matrices, rows, self.block[0], columns, self.block[1]))


SINGLE = Units()


def _float32(weight, xp: ModuleType):
    """The magnitudes of weights."""
    return np.abs(weight.astype("float32")) if xp is np else ops.cast(ops.abs(weight), "float32")


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
