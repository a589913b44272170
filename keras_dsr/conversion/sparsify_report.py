"""What `sparsify` did: what was made sparse, what was left dense and why, and how to load the model."""

import collections
import dataclasses
import io

from rich.console import Console
from rich.table import Table

from keras_dsr.weights.rows import Totals, WeightRow


@dataclasses.dataclass(frozen=True)
class SparseRow(WeightRow):
    """A weight that was made sparse.

    Attributes:
        layer: the class that its layer had.
        storage: `"masked"` or `"compact"`.
        why: why it is that, where there was a choice; else "".
        seconds: what a step of training of its layer was measured to take, by storage; None where nothing was.
    """

    layer: str
    storage: str
    why: str
    seconds: dict[str, float] | None = None


@dataclasses.dataclass(frozen=True)
class SkippedRow:
    """A weight that stays as it was, with the reason."""

    name: str
    layer: str
    size: int
    reason: str


@dataclasses.dataclass(frozen=True)
class SparsifyReport(Totals):
    """What was made sparse and what was not; `print` shows it.

    Attributes:
        rows: a `SparseRow` for each weight that was made sparse, in the order of the model.
        skipped: a `SkippedRow` for each trainable weight that was not.
        own_classes: classes of the user's in which sparse layers lie. Keras cannot rebuild those layers when it loads a
            saved model.
        notes: sentences on the scale of first weights: which were left as drawn, or that the network may not learn.
    """

    rows: tuple[SparseRow, ...]
    skipped: tuple[SkippedRow, ...]
    own_classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def loading(self) -> str:
        """How a saved model is loaded."""
        if not self.own_classes:
            return "keras.models.load_model(path) loads the saved model, masks included."
        return (
            f"To load what you save: build the model, call sparsify with the same arguments, then "
            f"model.load_weights(path) (it reads .keras and .weights.h5). load_model cannot: "
            f"{', '.join(self.own_classes)} would make stock layers.{self._loading_compact}"
        )

    @property
    def _loading_compact(self) -> str:
        compact = [row.name for row in self.rows if row.storage == "compact"]
        if not compact:
            return ""
        return (
            f" Compact storage must lie where it lies now ({', '.join(compact[:3])}{', ...' * (len(compact) > 3)}): "
            "storage='auto' could choose otherwise, so call sparsify once with storage='compact' for these, and once "
            "for the others."
        )

    def __str__(self) -> str:
        text = io.StringIO()
        console = Console(file=text, width=120)
        console.print(self._sparse_table())
        if any(row.why for row in self.rows):
            console.print(self._storage_table())
        if self.skipped:
            console.print(self._skipped_table())
        return text.getvalue() + "".join(f"{line}\n" for line in (*self.notes, self.loading))

    def _sparse_table(self) -> Table:
        table = Table(title="Made sparse" if self.rows else "Nothing was made sparse")
        for column in ("weight", "layer", "shape", "positions", "active", "sparsity"):
            table.add_column(column, justify="right" if column in ("positions", "active", "sparsity") else "left")
        for row in self.rows:
            shape = " x ".join(map(str, row.shape))
            table.add_row(row.name, row.layer, shape, f"{row.size:,}", f"{row.active:,}", f"{row.sparsity:.2%}")
        table.add_section()
        table.add_row("in all", "", "", f"{self.size:,}", f"{self.active:,}", f"{self.sparsity:.2%}", style="bold")
        return table

    def _storage_table(self) -> Table:
        """How each weight is held, and why."""
        timed = [row.seconds for row in self.rows if row.seconds]
        table = Table(title="How it is held", show_footer=bool(timed))
        chosen = sum(row.seconds[row.storage] for row in self.rows if row.seconds)
        masked = sum(seconds["masked"] for seconds in timed)
        table.add_column("weight", "of those timed" if timed else "", overflow="fold")
        table.add_column("storage")
        if timed:
            table.add_column("step of training", f"{chosen * 1e3:.1f} ms", justify="right")
            table.add_column("times as fast as masked", f"{masked / chosen:.2f}", justify="right")
        table.add_column("why", overflow="fold")
        for row in self.rows:
            took = ("", "")
            if row.seconds:
                took = (
                    f"{row.seconds[row.storage] * 1e3:.2f} ms",
                    f"{row.seconds['masked'] / row.seconds[row.storage]:.2f}",
                )
            table.add_row(row.name, row.storage, *(took if timed else ()), row.why)
        return table

    def _skipped_table(self) -> Table:
        """The weights that stay dense, by reason."""
        by_reason = collections.defaultdict(list)
        for row in self.skipped:
            by_reason[row.reason].append(row)
        table = Table(title="Left as it was")
        for column in ("reason", "weights", "positions", "such as"):
            table.add_column(column, justify="right" if column in ("weights", "positions") else "left", overflow="fold")
        for reason, rows in by_reason.items():
            examples = ", ".join(row.name for row in rows[:2]) + (", ..." if len(rows) > 2 else "")
            table.add_row(reason, f"{len(rows):,}", f"{sum(row.size for row in rows):,}", examples)
        return table
