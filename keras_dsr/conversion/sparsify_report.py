"""What `sparsify` did: what was made sparse, what was left dense and why, and how to load the model."""

import collections
import dataclasses

from keras_dsr.tables import Listing, Part, Report, Table, named, shape_of
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


@dataclasses.dataclass(frozen=True, repr=False)
class SparsifyReport(Totals, Report):
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

    def parts(self) -> list[Part]:
        parts: list[Part] = [self._sparse_table()]
        if any(row.why for row in self.rows):
            parts += [self._storage_table(), self._storage_reasons()]
        if self.skipped:
            parts.append(self._skipped())
        return [*parts, *self.notes, self.loading]

    def _sparse_table(self) -> Table:
        rows = [
            (row.name, row.layer, shape_of(row.shape), f"{row.size:,}", f"{row.active:,}") + (f"{row.sparsity:.2%}",)
            for row in self.rows
        ]
        total = ("in all", "", "", f"{self.size:,}", f"{self.active:,}", f"{self.sparsity:.2%}")
        columns = ("weight", "layer", "shape", "positions", "active", "sparsity")
        title = "Made sparse" if self.rows else "Nothing was made sparse"
        return Table(title, columns, rows, [total], left=(0, 1, 2))

    def _storage_table(self) -> Table:
        """How each weight is held."""
        timed = [row.seconds for row in self.rows if row.seconds]
        if not timed:
            return Table(
                "How it is held", ("weight", "storage"), [(row.name, row.storage) for row in self.rows], (), (0, 1)
            )
        rows = []
        for row in self.rows:
            took = ("", "")
            if row.seconds:
                chosen, masked = row.seconds[row.storage], row.seconds["masked"]
                took = (f"{chosen * 1e3:.2f} ms", f"{masked / chosen:.2f}")
            rows.append((row.name, row.storage, *took))
        chosen = sum(row.seconds[row.storage] for row in self.rows if row.seconds)
        masked = sum(seconds["masked"] for seconds in timed)
        total = ("of those timed", "", f"{chosen * 1e3:.1f} ms", f"{masked / chosen:.2f}")
        columns = ("weight", "storage", "step of training", "times as fast as masked")
        return Table("How it is held", columns, rows, [total], left=(0, 1))

    def _storage_reasons(self) -> Listing:
        by_reason = collections.defaultdict(list)
        for row in self.rows:
            by_reason[row.storage, row.why].append(row.name)
        items = [(named(names), f"{storage}, {why}" if why else storage) for (storage, why), names in by_reason.items()]
        return Listing("Why it is held so", items)

    def _skipped(self) -> Listing:
        """The weights that stay dense, by reason."""
        by_reason = collections.defaultdict(list)
        for row in self.skipped:
            by_reason[row.reason].append(row)
        items = []
        for reason, rows in by_reason.items():
            count = f"{len(rows):,} {'weight' if len(rows) == 1 else 'weights'}"
            positions = sum(row.size for row in rows)
            items.append((f"{reason} ({count}, {positions:,} positions)", named([row.name for row in rows])))
        return Listing("Left as it was", items)
