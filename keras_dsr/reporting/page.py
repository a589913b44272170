"""The page: what was found about a model, as HTML that needs nothing else."""

import dataclasses
import importlib.resources
import re
from collections.abc import Sequence

from keras_dsr.reporting.costs import Uses
from keras_dsr.reporting.kernels import Kernel
from keras_dsr.reporting.masks import MaskImage
from keras_dsr.reporting.runtimes import runtimes_for
from keras_dsr.reporting.speed import Measured


@dataclasses.dataclass(frozen=True)
class Row:
    """A kernel with its costs."""

    kernel: Kernel
    uses: Uses
    measured: Sequence[Measured] = ()

    @property
    def kind(self) -> str:
        """The class of the layer."""
        return type(self.kernel.layer).__name__

    @property
    def dense_flops(self) -> int | None:
        """FLOPs of one example where every position is multiplied."""
        return None if self.uses.count is None else 2 * self.uses.count * self.kernel.size

    @property
    def sparse_flops(self) -> int | None:
        """FLOPs of one example where active weights alone are."""
        return None if self.uses.count is None else 2 * self.uses.count * self.kernel.active


@dataclasses.dataclass(frozen=True)
class Totals:
    """Sums over rows; FLOPs over those that are known."""

    places: int
    active: int
    dense_bytes: int
    packed_bytes: int
    dense_flops: int
    sparse_flops: int

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Totals":
        """The sums over some rows."""
        kernels = [row.kernel for row in rows]
        return cls(
            sum(kernel.size for kernel in kernels),
            sum(kernel.active for kernel in kernels),
            sum(kernel.dense_bytes for kernel in kernels),
            sum(kernel.packed_bytes for kernel in kernels),
            sum(row.dense_flops or 0 for row in rows),
            sum(row.sparse_flops or 0 for row in rows),
        )

    @property
    def sparsity(self) -> float:
        """The fraction of positions without a weight."""
        return 1 - self.active / self.places if self.places else 0.0


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart with its heading and a sentence on how to read it."""

    heading: str
    svg: str
    text: str


@dataclasses.dataclass(frozen=True)
class Page:
    """All that a page shows.

    Attributes:
        title: of the page.
        subtitle: what it is about, in one line.
        rows: the kernels.
        others: the number of trainable parameters outside the kernels, and their bytes.
        counted: how it is known which weights are active, a sentence.
        batch_sizes: those of `Row.measured`.
        not_measured: why there are no measured speeds for some kernels, a sentence; empty: there are.
        machine: where it was measured.
        score: name and value of the result of a run; None: there is none.
        settings: of a run, by name.
        charts: of the history.
        missing_history: what is missing of the history and how to get it, a sentence each.
        masks: pictures.
        version: of keras_dsr.
    """

    title: str
    subtitle: str
    rows: Sequence[Row]
    others: tuple[int, int]
    counted: str
    batch_sizes: Sequence[int]
    not_measured: str
    machine: str
    score: tuple[str, float] | None
    settings: dict
    charts: Sequence[Chart]
    missing_history: Sequence[str]
    masks: Sequence[MaskImage]
    version: str


def render(page: Page) -> str:
    """The page as HTML; names are escaped."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    filters = (_count, _share, _ratio, _times, _seconds, _size, _flops, _breakable)
    environment.filters.update({function.__name__[1:]: function for function in filters})
    template = importlib.resources.files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    reasons: dict[str, list[str]] = {}
    for row in page.rows:
        if row.uses.count is None:
            reasons.setdefault(row.uses.reason, []).append(row.kernel.name)
    sparse = Totals.of([row for row in page.rows if row.kernel.is_sparse])
    runtimes = runtimes_for([row.kernel for row in page.rows])
    return environment.from_string(template).render(
        page=page, sparse=sparse, all=Totals.of(page.rows), reasons=reasons, runtimes=runtimes
    )


def _breakable(name: str):
    """A name that may be broken after its slashes and underscores."""
    import markupsafe

    return markupsafe.Markup("<wbr>").join(re.split(r"(?<=[/_])", name))


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _flops(value: int | None) -> str:
    """A number of operations; above ten million in a unit, or it would be too wide for a table."""
    if value is None or value < 10_000_000:
        return _count(value)
    unit, factor = next(pair for pair in (("T", 1e12), ("G", 1e9), ("M", 1e6)) if value >= pair[1])
    return f"{value / factor:.4g} {unit}"


def _share(value: float) -> str:
    return f"{value:.2%}"


def _ratio(dense: float | None, sparse: float | None) -> str:
    """How many times as much one is as the other."""
    if dense is None or sparse is None:
        return "?"
    if not dense:
        return "-"
    if not sparse:
        return "∞"
    return f"{_three_digits(dense / sparse)}x"


def _times(dense: float, sparse: float) -> str:
    """As `_ratio`, in a sentence; of numbers that are positive."""
    return f"{_three_digits(dense / sparse)} times"


def _three_digits(value: float) -> str:
    """A number with three digits, or with all those before the point, never as a power of ten."""
    return f"{value:.3g}" if 0.001 <= value < 999.5 else f"{value:,.0f}" if value >= 1 else f"{value:.5f}"


def _seconds(value: float) -> str:
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 1:
            return f"{_three_digits(value * factor)} {unit}"
    return f"{_three_digits(value * 1e9)} ns"


def _size(value: int) -> str:
    """Bytes in a unit that is easy to read."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{_three_digits(value / factor)} {unit}"
    return f"{value} B"
