"""Patterns: what is pruned and grown as a whole, a unit: one weight, a k x k slice of a convolution, a block.

A pattern is what the user names, such as `"kernel"` or `(4, 1)`; `Units` are what it comes to for one tensor, and know
how units and weights belong together, so that methods do not.

The axes of a slice come first, so that of `units` units the one at position p has its weights at p, p + units, ... of
the flat tensor. A list of the weights that exist, by position, is then one of the first weights of all units, one of
the second, and so on: `units_of_list` reads it by units.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from keras import ops

from keras_dsr.arguments import is_one_of, is_whole

Pattern = str | tuple[int, int]

NAMES = ("element", "kernel", "fan_in")
_N_OF_M = re.compile(r"([1-9]\d*):([1-9]\d*)")


def check_pattern(pattern: Any, owner: str) -> Pattern:
    """Return the pattern (a pair as a tuple), or raise `ValueError` if there is none such.

    Args:
        pattern: what was given.
        owner: who asks, in call form (`"SparseDense"`), for the message.
    """
    if is_one_of(pattern, NAMES) or n_of_m(pattern) is not None:
        return pattern
    is_pair = isinstance(pattern, Sequence) and not isinstance(pattern, (str, bytes)) and len(pattern) == 2
    if is_pair and all(is_whole(size) and size >= 1 for size in pattern):
        rows, columns = map(int, pattern)
        return "element" if (rows, columns) == (1, 1) else (rows, columns)
    raise ValueError(
        f"{owner}(pattern=...) must be 'element' (single weights), 'kernel' (k x k slices of a convolution), a pair of "
        "positive ints such as (4, 1) (blocks of 4 neighbouring inputs by 1 output), 'N:M' such as '2:4' (of 4 "
        "neighbouring inputs 2), or 'fan_in' (as many weights in each output). Received: "
        f"pattern={pattern!r}"
    )


def n_of_m(pattern: Any) -> tuple[int, int] | None:
    """The two numbers of a pattern such as `"2:4"`; None: it is another."""
    found = _N_OF_M.fullmatch(pattern) if isinstance(pattern, str) else None
    numbers = (int(found[1]), int(found[2])) if found else (1, 0)
    return numbers if numbers[0] < numbers[1] else None


def check_fits(pattern: Pattern, sparsity: Any, owner: str) -> None:
    """Raise `ValueError` if a pattern has another sparsity than is asked for: that of `"2:4"` is 0.5.

    Args:
        pattern: as `check_pattern` returned it.
        sparsity: a number, or several by name.
        owner: who asks, for the message.
    """
    numbers = n_of_m(pattern)
    if numbers is None:
        return
    own = 1 - numbers[0] / numbers[1]
    given = list(sparsity.values()) if isinstance(sparsity, dict) else [sparsity]
    wrong = [one for one in given if one != 0 and not math.isclose(one, own, rel_tol=1e-9)]
    if wrong:
        raise ValueError(
            f"{owner}(pattern={pattern!r}) is of sparsity {own:g}: pass sparsity={own:g}, or 0 for a network that is "
            f"pruned to it in training. Received: sparsity={wrong[0]!r}"
        )


@dataclasses.dataclass(frozen=True)
class Units:
    """How a tensor is made of units: here of single weights.

    Methods take and return arrays of NumPy or tensors: `xp` is `numpy` or `keras.ops`.
    """

    @property
    def are_single(self) -> bool:
        """Whether each weight is a unit."""
        return type(self) is Units or isinstance(self, Groups)

    def __str__(self) -> str:
        return "weights"

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of the tensor of units of a tensor of the given shape."""
        return tuple(shape)

    def count(self, shape: Sequence[int]) -> int:
        """The number of units of a tensor of the given shape."""
        return math.prod(self.shape(shape))

    def number_at(self, shape: Sequence[int], sparsity: float) -> int:
        """How many units are active at a sparsity: the nearest number that there can be, and at least one."""
        return max(1, round((1 - sparsity) * self.count(shape)))

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


@dataclasses.dataclass(frozen=True)
class Groups(Units):
    """Single weights that lie in groups of equal size, in each of which as many are active as in the others.

    Attributes:
        view: tuple of three ints, as what the tensor is seen: matrices, their rows and columns.
        outputs_first: bool, whether the rows of the view are outputs.
    """

    view: tuple[int, int, int]
    outputs_first: bool

    def fold(self, tensor, xp: ModuleType = ops):
        """The entries of each group, by position, of shape `(groups, size)`."""
        whole = xp.reshape(tensor, self.view)
        return whole if self.outputs_first else xp.transpose(whole, (0, 2, 1))

    def unfold(self, folded, shape: Sequence[int], xp: ModuleType = ops):
        """The inverse of `fold`, of the given shape."""
        matrices, rows, columns = self.view
        outputs, inputs = (rows, columns) if self.outputs_first else (columns, rows)
        whole = xp.reshape(folded, (matrices, outputs, inputs))
        return xp.reshape(whole if self.outputs_first else xp.transpose(whole, (0, 2, 1)), tuple(shape))

    @property
    def groups(self) -> int:
        """How many groups there are."""
        raise NotImplementedError

    def violation(self, mask, xp: ModuleType = ops):
        """How far the numbers of active weights in the groups are from what they may be, an int; 0: they are right."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class NOfM(Groups):
    """Of every `m` neighbouring inputs of an output `n` are active, or more while a network is pruned to that.

    Attributes:
        n, m: ints.
    """

    n: int
    m: int

    def __str__(self) -> str:
        return f"groups with {self.n} of {self.m} weights"

    @property
    def groups(self) -> int:
        return math.prod(self.view) // self.m

    def number_at(self, shape, sparsity):
        return self.groups * (self.n if sparsity else self.m)

    def fold(self, tensor, xp=ops):
        return xp.reshape(super().fold(tensor, xp), (-1, self.m))

    def violation(self, mask, xp=ops):
        counts = _counts(self.fold(mask, xp), xp)
        return xp.max(xp.maximum(self.n - counts, 0))


@dataclasses.dataclass(frozen=True)
class FanIn(Groups):
    """Every output has as many active weights as the others."""

    def __str__(self) -> str:
        return "outputs with equally many weights"

    @property
    def groups(self) -> int:
        return self.view[1] if self.outputs_first else self.view[2]

    def number_at(self, shape, sparsity):
        return self.groups * max(1, round((1 - sparsity) * (math.prod(self.view) // self.groups)))

    def fold(self, tensor, xp=ops):
        return xp.reshape(xp.transpose(super().fold(tensor, xp), (1, 0, 2)), (self.groups, -1))

    def unfold(self, folded, shape, xp=ops):
        by_output = xp.reshape(folded, (self.groups, self.view[0], -1))
        return super().unfold(xp.transpose(by_output, (1, 0, 2)), shape, xp)

    def violation(self, mask, xp=ops):
        counts = _counts(self.fold(mask, xp), xp)
        return xp.max(counts) - xp.min(counts)


SINGLE = Units()


def _counts(folded, xp: ModuleType):
    """The true entries of each row, int32."""
    return folded.sum(1, dtype="int32") if xp is np else ops.sum(ops.cast(folded, "int32"), axis=1)


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
