"""Segments: the entries of several tensors in one, so that one operation works on all tensors of a network.

A program that takes tensor by tensor grows with their number: of a network of hundreds it takes long to trace and to
compile. The entries of each tensor fill rows of `WIDTH`, and what is counted per tensor is counted per row first.
"""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

WIDTH = 128


class Segments:
    """Where the entries of each tensor stand in a joined tensor of shape `(rows, WIDTH)`.

    Args:
        shapes: the shapes of the tensors, each with at least one entry.

    Attributes:
        shapes: list of tuples of ints.
        sizes: list of ints, the number of entries of each tensor.
    """

    def __init__(self, shapes: Sequence[Sequence[int]]):
        self.shapes = [tuple(shape) for shape in shapes]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        rows = [-(-size // WIDTH) for size in self.sizes]
        self._padding = [WIDTH * of_tensor - size for of_tensor, size in zip(rows, self.sizes)]
        self._tensor_of_row = np.repeat(np.arange(len(rows), dtype="int32"), rows)
        self._length_of_row = np.full(len(self._tensor_of_row), WIDTH, "int32")
        self._length_of_row[np.cumsum(rows) - 1] -= np.array(self._padding, "int32")

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self._tensor_of_row)

    def indices(self):
        """The number of each entry in its tensor, from 0, int32 of shape `(rows, WIDTH)`."""
        first_rows = np.searchsorted(self._tensor_of_row, np.arange(len(self.sizes)))
        starts = WIDTH * (np.arange(self.rows) - first_rows[self._tensor_of_row])
        return ops.convert_to_tensor(starts.astype("int32"))[:, None] + ops.arange(WIDTH, dtype="int32")

    def tensor_of_entry(self):
        """The number of the tensor of each entry, int32 of shape `(rows * WIDTH,)`."""
        return ops.convert_to_tensor(np.repeat(self._tensor_of_row, WIDTH))

    def holds_entry(self):
        """Where an entry stands, and not what fills up a row: bool of shape `(rows, WIDTH)`."""
        return ops.arange(WIDTH, dtype="int32") < ops.convert_to_tensor(self._length_of_row)[:, None]

    def joined(self) -> "Segments":
        """The same rows as the segment of one tensor."""
        return Segments([(self.rows, WIDTH)])

    def join(self, tensors: Sequence, fill=0):
        """The entries of all tensors, of shape `(rows, WIDTH)`; `fill` where a row is longer than what it holds."""
        dtype = keras.backend.standardize_dtype(tensors[0].dtype)
        parts = []
        for tensor, padding in zip(tensors, self._padding, strict=True):
            parts.append(ops.reshape(tensor, (-1,)))
            if padding:
                parts.append(ops.full((padding,), fill, dtype=dtype))
        return ops.reshape(ops.concatenate(parts), (-1, WIDTH))

    def split(self, joined) -> list:
        """The tensors, of their shapes: the inverse of `join`."""
        ends = np.cumsum([part for pair in zip(self.sizes, self._padding) for part in pair])[:-1]
        parts = ops.split(ops.reshape(joined, (-1,)), [int(end) for end in ends])[::2]
        return [ops.reshape(part, shape) for part, shape in zip(parts, self.shapes)]

    def count(self, mask):
        """The number of true entries of each tensor, int32 of shape `(tensors,)`."""
        return self.sum_of_rows(count_in_rows(mask))

    def sum_of_rows(self, values, rows=None):
        """The sum of what there is for each row, by tensor, of shape `(tensors,)`; `rows`: for these rows alone."""
        tensors = self._tensor_of_row if rows is None else ops.take(self._tensor_of_row, rows)
        return segment_sum(values, ops.convert_to_tensor(tensors), len(self.sizes))

    def max_of_rows(self, values):
        """The largest of what there is for each row, by tensor, of shape `(tensors,)`.

        Args:
            values: int32 tensor of shape `(rows,)`, within plus and minus 2**24: torch compares in float32.
        """
        return ops.segment_max(values, self._tensor_of_row, num_segments=len(self.sizes))

    def spread(self, values, rows=None):
        """What there is for each tensor, for each of its rows, of shape `(rows, 1)`; `rows`: for these rows alone."""
        tensors = self._tensor_of_row if rows is None else ops.take(self._tensor_of_row, rows)
        return ops.take(values, tensors)[:, None]

    def rows_before(self, values):
        """For each row the sum of what its tensor has in the rows before it, of shape `(rows,)`."""
        of_tensor = self.sum_of_rows(values)
        before_tensor = ops.cumsum(of_tensor) - of_tensor
        return ops.cumsum(values) - values - self.spread(before_tensor)[:, 0]


def segment_sum(values, segment_ids, num_segments: int):
    """As `keras.ops.segment_sum` of a vector, in its dtype also on torch, where Keras adds in float32.

    In float32 numbers are counted to 2**24 only, and float64 is not kept.
    """
    if keras.backend.backend() != "torch":
        return ops.segment_sum(values, segment_ids, num_segments=num_segments)
    zeros = ops.zeros((num_segments,), dtype=keras.backend.standardize_dtype(values.dtype))
    return ops.scatter_update(zeros, segment_ids[:, None], values, reduction="add")


def count_in_rows(mask):
    """The number of true entries of each row of a bool tensor of shape `(rows, WIDTH)`, int32 of shape `(rows,)`.

    Four entries at a time are added as the bytes of an integer, none of which overflows: with the comparison that gave
    them, three quarters of the time on TensorFlow, a tenth on JAX, half on torch.
    """
    sums = ops.sum(ops.view(ops.cast(mask, "uint8"), "int32"), axis=1)
    first, *others = [ops.bitwise_and(ops.right_shift(sums, 8 * byte), 255) for byte in range(4)]
    return sum(others, first)
