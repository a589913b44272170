"""What a sparse model holds, layer by layer, as a table that prints well."""

import dataclasses
import math

import keras

from keras_dsr.tables import Part, Report, Table, shape_of
from keras_dsr.weights.rows import Totals, WeightRow
from keras_dsr.weights.sparse_weights import check_has_weights, sparse_weights


@dataclasses.dataclass(frozen=True)
class SummaryRow(WeightRow):
    """One sparse weight, of `itemsize` bytes a value."""

    itemsize: int

    @property
    def bytes(self) -> int:
        """Bytes of the active values and a mask of 1 bit a position, as the paper counts them."""
        return self.active * self.itemsize + math.ceil(self.size / 8)


@dataclasses.dataclass(frozen=True, repr=False)
class Summary(Totals, Report):
    """The sparse weights of a model and what is dense in it; `print` shows a table.

    Attributes:
        rows: one `SummaryRow` a sparse weight, in the order of the model.
        dense_parameters: trainable parameters outside the sparse weights.
        dense_bytes: their bytes.
    """

    rows: tuple[SummaryRow, ...]
    dense_parameters: int
    dense_bytes: int

    @property
    def trainable_parameters(self) -> int:
        """Active weights and dense parameters: what the paper calls the parameters of a sparse network."""
        return self.active + self.dense_parameters

    def parts(self) -> list[Part]:
        rows = [
            (row.name, shape_of(row.shape), f"{row.size:,}", f"{row.active:,}", f"{row.sparsity:.2%}")
            + (f"{row.bytes:,}",)
            for row in self.rows
        ]
        total, dense = sum(row.bytes for row in self.rows), f"{self.dense_parameters:,}"
        size, active = self.size + self.dense_parameters, self.trainable_parameters
        totals = [
            ("sparse, in all", "", f"{self.size:,}", f"{self.active:,}", f"{self.sparsity:.2%}", f"{total:,}"),
            ("dense (trainable)", "", dense, dense, "", f"{self.dense_bytes:,}"),
            ("model", "", f"{size:,}", f"{active:,}", "", f"{total + self.dense_bytes:,}"),
        ]
        columns = ("weight", "shape", "positions", "active", "sparsity", "bytes")
        return [
            Table("Sparse weights", columns, rows, totals, left=(0, 1)),
            "bytes: of the active values and a mask of 1 bit a position, as the DSR paper counts.",
        ]


def summary(model: keras.Model) -> Summary:
    """Count the weights of a model: per sparse weight its shape, positions, active weights, sparsity and bytes.

    Args:
        model: a built Keras model.

    Returns:
        A `Summary`, which prints as a table.

    Raises:
        TypeError: something that is no model of Keras 3.
        ValueError: the model has not been built.

    Example:

    >>> print(keras_dsr.summary(model))
    """
    check_has_weights(model, "summary")
    weights = sparse_weights(model)
    rows = tuple(
        SummaryRow(weight.name, weight.shape, weight.count(), _itemsize(weight.variable.dtype)) for weight in weights
    )
    sparse = {id(weight.variable) for weight in weights}
    dense = [variable for variable in model.trainable_variables if id(variable) not in sparse]
    sizes = [math.prod(variable.shape) for variable in dense]
    size_in_bytes = sum(size * _itemsize(variable.dtype) for size, variable in zip(sizes, dense))
    return Summary(rows, sum(sizes), size_in_bytes)


def _itemsize(dtype: str) -> int:
    return {"float64": 8, "float16": 2, "bfloat16": 2}.get(dtype, 4)
