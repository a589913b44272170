"""What `export` wrote: how large, what was packed, and which layers multiply by CSR."""

import collections
import dataclasses
import pathlib

from keras_dsr.exporting.litert import FormRow
from keras_dsr.tables import Listing, Part, Report, Table, named
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


@dataclasses.dataclass(frozen=True, repr=False)
class ExportReport(Report):
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

    def parts(self) -> list[Part]:
        parts: list[Part] = []
        if self.packed:
            parts.append(self._packed_table())
        if self.products:
            parts.append(self._product_table())
        if self.forms:
            parts += [self._form_table(), self._form_reasons()]
        size = f"{self.path}: {self.format}, {self.bytes:,} bytes"
        return [*parts, *filter(None, (size, self.convolutions, self.quantization, self.note))]

    def _packed_table(self) -> Table:
        columns = ("weight", "positions", "active", "density", "bytes\ndense", "bytes\npacked", "positions\nheld by")
        rows = [
            (row.name, f"{row.size:,}", f"{row.active:,}", f"{1 - row.sparsity:.2%}", f"{row.dense_bytes:,}")
            + (f"{row.packed_bytes:,}", row.code)
            for row in self.packed
        ]
        size, active, dense, packed = (
            sum(getattr(row, name) for row in self.packed) for name in ("size", "active", "dense_bytes", "packed_bytes")
        )
        total = ("in all", f"{size:,}", f"{active:,}", f"{active / size:.2%}", f"{dense:,}", f"{packed:,}", "")
        return Table("Packed weights", columns, rows, [total], left=(0, 6))

    def _product_table(self) -> Table:
        chosen = sum(row.by_csr for row in self.products)
        columns = ("layer", "density", "rows: times as fast as dense", "multiplies by")
        rows = []
        for row in self.products:
            speedups = "\n".join(f"{rows:,}: {speedup:.2f}" for rows, speedup in row.speedups)
            rows.append((row.layer, f"{row.density:.2%}", speedups, "CSR" if row.by_csr else "dense"))
        title = f"Products: CSR in {chosen} of {len(self.products)} layers, where it was faster here"
        return Table(title, columns, rows, left=(0, 2, 3))

    def _form_table(self) -> Table:
        direct = sum(row.form in ("single", "blocks") for row in self.forms)
        columns = ("weight", "density", "rows: times as fast as dense", "stored as")
        rows = []
        for row in self.forms:
            speedups = "\n".join(
                f"{rows:,}: {', '.join(f'{form} {speedup:.2f}' for form, speedup in measured.items())}"
                for rows, measured in row.speedups
            )
            rows.append((row.name, f"{row.density:.2%}", speedups, row.form))
        title = f"Fully connected layers: {direct} of {len(self.forms)} are multiplied as they are stored"
        return Table(title, columns, rows, left=(0, 2, 3))

    def _form_reasons(self) -> Listing:
        by_reason = collections.defaultdict(list)
        for row in self.forms:
            by_reason[row.form, row.why].append(row.name)
        return Listing("Why", [(named(names), f"{form}, {why}") for (form, why), names in by_reason.items()])
