"""What a sparse model holds, layer by layer, as a table that prints well."""

import dataclasses
import io
import math

import keras
from rich.console import Console
from rich.table import Table

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


@dataclasses.dataclass(frozen=True)
class Summary(Totals):
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

    def __str__(self) -> str:
        table = Table(title="Sparse weights")
        for column in ("weight", "shape", "positions", "active", "sparsity", "bytes"):
            table.add_column(column, justify="left" if column in ("weight", "shape") else "right", overflow="fold")
        for row in self.rows:
            shape = " x ".join(map(str, row.shape))
            table.add_row(row.name, shape, f"{row.size:,}", f"{row.active:,}", f"{row.sparsity:.2%}", f"{row.bytes:,}")
        table.add_section()
        total = sum(row.bytes for row in self.rows)
        table.add_row("sparse, in all", "", f"{self.size:,}", f"{self.active:,}", f"{self.sparsity:.2%}", f"{total:,}")
        dense = f"{self.dense_parameters:,}"
        table.add_row("dense (trainable)", "", dense, dense, "", f"{self.dense_bytes:,}")
        size, active = self.size + self.dense_parameters, self.trainable_parameters
        table.add_row("model", "", f"{size:,}", f"{active:,}", "", f"{total + self.dense_bytes:,}", style="bold")
        text = io.StringIO()
        Console(file=text, width=120).print(table)
        return text.getvalue() + "bytes: active values and a mask of 1 bit a position\n"


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
