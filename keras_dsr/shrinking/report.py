"""What `shrink` did: the smaller model, what each layer has lost, and which dead units stay, and why."""

import dataclasses

import keras

from keras_dsr.tables import Listing, Part, Report, Table


@dataclasses.dataclass(frozen=True)
class ShrunkRow:
    """A layer with weights, before and after; a layer that is gone has none of anything after.

    Attributes:
        name: of the layer.
        layer: its class.
        units: `(before, after)`, the channels that it returns.
        parameters: `(before, after)`, its weights, of all kinds.
    """

    name: str
    layer: str
    units: tuple[int, int]
    parameters: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class LeftRow:
    """Units of a layer that are constant, or that nothing depends on, and stay all the same."""

    name: str
    units: int
    reason: str


@dataclasses.dataclass(frozen=True, repr=False)
class ShrinkReport(Report):
    """A smaller model, and how it came about; `print` shows it.

    Attributes:
        model: the smaller model, plain Keras, not compiled.
        rows: a `ShrunkRow` for each layer with weights, in the order of the model.
        left: a `LeftRow` for each layer and reason for which dead units stay.
        barriers: the layers that were not looked through, `(name, class)`: all that they read stays, and so does all
            that they return.
    """

    model: keras.Model
    rows: tuple[ShrunkRow, ...]
    left: tuple[LeftRow, ...]
    barriers: tuple[tuple[str, str], ...]

    @property
    def parameters(self) -> tuple[int, int]:
        """The weights of the model, `(before, after)`, zeros included."""
        return sum(row.parameters[0] for row in self.rows), sum(row.parameters[1] for row in self.rows)

    def parts(self) -> list[Part]:
        parts: list[Part] = [self._shrunk_table()]
        if self.left:
            items = [
                (row.name, f"{row.units:,} {'unit' if row.units == 1 else 'units'}, {row.reason}") for row in self.left
            ]
            parts.append(Listing("Dead units that stay", items))
        if self.barriers:
            listed = ", ".join(f"{name} ({kind})" for name, kind in self.barriers)
            parts.append(f"Not looked through, so that all channels before and after them stay: {listed}")
        return parts

    def _shrunk_table(self) -> Table:
        before, after = self.parameters
        columns = ("layer", "class", "units", "after", "parameters", "after")
        rows = [
            (row.name, row.layer, *(f"{number:,}" for number in (*row.units, *row.parameters))) for row in self.rows
        ]
        total = ("model", "", "", "", f"{before:,}", f"{after:,}")
        title = "Shrunk" if after < before else "Nothing could be removed"
        return Table(title, columns, rows, [total], left=(0, 1))
