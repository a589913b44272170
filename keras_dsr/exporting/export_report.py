"""What `export` wrote: how large, what was packed, and which layers multiply by CSR."""

import dataclasses
import io
import pathlib

from rich.console import Console
from rich.table import Table

from keras_dsr.exporting.litert import FormRow
from keras_dsr.weights.rows import WeightRow


@dataclasses.dataclass(frozen=True)
class PackedRow(WeightRow):
    """A weight that was packed: its bytes in the dense tensor and in the file, and the code of its positions."""

    dense_bytes: int
    packed_bytes: int
    code: str


@dataclasses.dataclass(frozen=True)
class ProductRow:
    """What was measured of a layer, and what it multiplies by in the exported model.

    Attributes:
        layer: name of the layer.
        density: fraction of its kernel that is not zero.
        speedups: pairs of the rows multiplied at once and how many times as fast as the dense product CSR was.
        by_csr: whether the layer multiplies by CSR.
    """

    layer: str
    density: float
    speedups: tuple[tuple[int, float], ...]
    by_csr: bool


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What was written; `print` shows it.

    Attributes:
        path: the file or folder.
        format: as in `export`.
        bytes: of all its files.
        packed: a `PackedRow` for each weight that was packed.
        products: a `ProductRow` for each layer that was timed, with `kernels="auto"`.
        forms: a `FormRow` for each fully connected layer of a LiteRT file, with `kernels="auto"`.
        convolutions: whether sparse convolutions of a LiteRT file are multiplied sparse, and where, in words.
        quantization: what int8 changed of the outputs, in words.
        note: why nothing is packed where another backend would have; else empty.
    """

    path: pathlib.Path
    format: str
    bytes: int
    packed: tuple[PackedRow, ...] = ()
    products: tuple[ProductRow, ...] = ()
    forms: tuple[FormRow, ...] = ()
    convolutions: str = ""
    quantization: str = ""
    note: str = ""

    def __str__(self) -> str:
        text = io.StringIO()
        console = Console(file=text, width=120)
        if self.packed:
            console.print(self._packed_table())
        if self.products:
            console.print(self._product_table())
        if self.forms:
            console.print(self._form_table())
        size = f"{self.path}: {self.format}, {self.bytes:,} bytes"
        lines = [size, self.convolutions, self.quantization, self.note]
        return text.getvalue() + "".join(f"{line}\n" for line in lines if line)

    def _packed_table(self) -> Table:
        table = Table(title="Packed weights")
        for column in ("weight", "places", "stored", "density", "dense bytes", "packed bytes", "positions"):
            table.add_column(column, justify="left" if column in ("weight", "positions") else "right", overflow="fold")
        for row in self.packed:
            sizes = (f"{row.dense_bytes:,}", f"{row.packed_bytes:,}", row.code)
            table.add_row(row.name, f"{row.size:,}", f"{row.active:,}", f"{1 - row.sparsity:.2%}", *sizes)
        table.add_section()
        totals = [sum(getattr(row, name) for row in self.packed) for name in ("size", "active")]
        of_bytes = [sum(getattr(row, name) for row in self.packed) for name in ("dense_bytes", "packed_bytes")]
        density = f"{totals[1] / totals[0]:.2%}"
        table.add_row("in all", *(f"{n:,}" for n in totals), density, *(f"{n:,}" for n in of_bytes), "", style="bold")
        return table

    def _product_table(self) -> Table:
        chosen = sum(row.by_csr for row in self.products)
        table = Table(title=f"Products: CSR in {chosen} of {len(self.products)} layers, where it was faster here")
        for column in ("layer", "density", "rows: times as fast as dense", "multiplies by"):
            table.add_column(column, justify="right" if column == "density" else "left", overflow="fold")
        for row in self.products:
            speedups = ", ".join(f"{rows:,}: {speedup:.2f}" for rows, speedup in row.speedups)
            table.add_row(row.layer, f"{row.density:.2%}", speedups, "CSR" if row.by_csr else "dense")
        return table

    def _form_table(self) -> Table:
        direct = sum(row.form in ("single", "blocks") for row in self.forms)
        table = Table(title=f"Fully connected layers: {direct} of {len(self.forms)} are multiplied as they are stored")
        for column in ("weight", "density", "rows: times as fast as dense", "stored as", "why"):
            table.add_column(column, justify="right" if column == "density" else "left", overflow="fold")
        for row in self.forms:
            speedups = "\n".join(
                f"{rows:,}: {', '.join(f'{form} {speedup:.2f}' for form, speedup in measured.items())}"
                for rows, measured in row.speedups
            )
            table.add_row(row.name, f"{row.density:.2%}", speedups, row.form, row.why)
        return table
