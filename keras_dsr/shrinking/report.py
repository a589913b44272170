"""What `shrink` did: the smaller model, what each layer has lost, and which dead units stay, and why."""

import dataclasses
import io

import keras
from rich.console import Console
from rich.table import Table


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


@dataclasses.dataclass(frozen=True)
class ShrinkReport:
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

    def __str__(self) -> str:
        text = io.StringIO()
        console = Console(file=text, width=120)
        console.print(self._shrunk_table())
        if self.left:
            console.print(self._left_table())
        if self.barriers:
            named = ", ".join(f"{name} ({kind})" for name, kind in self.barriers)
            console.print(f"Not looked through, so that all channels before and after them stay: {named}")
        return text.getvalue()

    def _shrunk_table(self) -> Table:
        before, after = self.parameters
        table = Table(title="Shrunk" if after < before else "Nothing could be removed")
        for column in ("layer", "class", "units", "", "parameters", ""):
            table.add_column(column, justify="left" if column in ("layer", "class") else "right", overflow="fold")
        for row in self.rows:
            sizes = [f"{number:,}" for number in (*row.units, *row.parameters)]
            sizes = [sizes[0], f"-> {sizes[1]}", sizes[2], f"-> {sizes[3]}"]
            table.add_row(row.name, row.layer, *sizes)
        table.add_section()
        table.add_row("model", "", "", "", f"{before:,}", f"-> {after:,}", style="bold")
        return table

    def _left_table(self) -> Table:
        table = Table(title="Dead units that stay")
        for column in ("layer", "units", "reason"):
            table.add_column(column, justify="right" if column == "units" else "left", overflow="fold")
        for row in self.left:
            table.add_row(row.name, f"{row.units:,}", row.reason)
        return table
