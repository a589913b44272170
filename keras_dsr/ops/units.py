"""Units: what is pruned and grown as a whole in one tensor, and how units and weights belong together.

A method knows units alone; a pattern of the user's (`ops.patterns`) is what they are made of.
"""

import abc
import dataclasses
import math
from collections.abc import Sequence
from types import ModuleType

import numpy as np
from keras import ops

from keras_dsr.ops.patterns import check_sparsity_of_n_of_m
from keras_dsr.ops.selection import count_in_each, count_true


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

    def number_at(self, count: int, sparsity: float) -> int:
        """How many of so many units are active at a sparsity: the nearest number that there can be, and at least one.

        Raises:
            ValueError: there is no such number.
        """
        return max(1, round((1 - sparsity) * count))

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

    def count_weights(self, active, mask, shape: Sequence[int]):
        """The active weights of a tensor of which so many units are active, by this mask, an int32 scalar."""
        return active * self.size(shape)


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

    def count_weights(self, active, mask, shape):
        return count_true(mask)  # blocks may be cut off

    def _blocks(self, array, xp, matrices: int):
        """The entries of each block, 0 where it is smaller, of shape `(matrices, blocks, rows, blocks, columns)`."""
        _, rows, columns = self.shape(())
        missing = [blocks * size - there for blocks, size, there in zip((rows, columns), self.block, self.view[1:])]
        array = xp.reshape(array, (matrices, *self.view[1:]))
        if any(missing):
            array = xp.pad(array, [(0, 0), (0, missing[0]), (0, missing[1])])
        return xp.reshape(array, (matrices, rows, self.block[0], columns, self.block[1]))


@dataclasses.dataclass(frozen=True)
class Groups(Units, abc.ABC):
    """Single weights that lie in groups of equal size, each with a number of active ones that the pattern fixes.

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
    @abc.abstractmethod
    def groups(self) -> int:
        """How many groups there are."""

    @abc.abstractmethod
    def possible(self, number, counts):
        """The number of active weights that there can be, near the given one, where groups have so many now, int32."""

    @abc.abstractmethod
    def least(self, number, counts):
        """How many stay active in each group at least, of a possible number in all, where groups have so many now."""

    def violation(self, mask, xp: ModuleType = ops):
        """How far the numbers of active weights in the groups are from what they may be, an int; 0: they are right."""
        folded = self.fold(mask, xp)
        return self.violation_of(folded.sum(1, dtype="int32") if xp is np else count_in_each(folded), xp)

    @abc.abstractmethod
    def violation_of(self, counts, xp: ModuleType):
        """As `violation`, of the active weights of each group."""


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

    def number_at(self, count, sparsity):
        check_sparsity_of_n_of_m(self.n, self.m, sparsity, "A sparsity")
        return self.groups * (self.n if sparsity else self.m)

    def possible(self, number, counts):
        return number

    def least(self, number, counts):
        return self.n

    def fold(self, tensor, xp=ops):
        return xp.reshape(super().fold(tensor, xp), (-1, self.m))

    def violation_of(self, counts, xp):
        return xp.max(xp.maximum(self.n - counts, 0))


@dataclasses.dataclass(frozen=True)
class FanIn(Groups):
    """Every output has as many active weights as the others, or none: then it is ablated."""

    def __str__(self) -> str:
        return "outputs with equally many weights"

    @property
    def groups(self) -> int:
        return self.view[1] if self.outputs_first else self.view[2]

    def number_at(self, count, sparsity):
        return self.groups * max(1, round((1 - sparsity) * (count // self.groups)))

    def possible(self, number, counts):
        there = _not_empty(counts)
        return there * ops.maximum((number + there // 2) // there, 1)

    def least(self, number, counts):
        return number // _not_empty(counts)

    def fold(self, tensor, xp=ops):
        return xp.reshape(xp.transpose(super().fold(tensor, xp), (1, 0, 2)), (self.groups, -1))

    def unfold(self, folded, shape, xp=ops):
        by_output = xp.reshape(folded, (self.groups, self.view[0], -1))
        return super().unfold(xp.transpose(by_output, (1, 0, 2)), shape, xp)

    def violation_of(self, counts, xp):
        most = xp.max(counts)
        return most - xp.min(xp.where(counts > 0, counts, most))


SINGLE = Units()


def _not_empty(counts):
    """How many groups have an active weight, an int32 scalar, at least 1."""
    return ops.maximum(count_true(counts > 0), 1)


def _float32(weight, xp: ModuleType):
    """The magnitudes of weights."""
    return np.abs(weight.astype("float32")) if xp is np else ops.cast(ops.abs(weight), "float32")
