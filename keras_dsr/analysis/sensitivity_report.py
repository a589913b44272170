"""What an analysis of sensitivity measured: as a table, as a plot, and as a sparsity for each weight."""

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from keras_dsr.analysis.trade_off import Curve, envelope, most_zeros, zeros_at_one_level
from keras_dsr.arguments import check_path, is_number
from keras_dsr.ops.initial_masks import active_units
from keras_dsr.saving.atomic import written_beside
from keras_dsr.tables import Part, Report, Table, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_LEGEND = 20
LONGEST_NAME = 40
PICTURES = (".png", ".svg", ".pdf")
MARKERS = "osD^v"


@dataclasses.dataclass(frozen=True)
class SensitivityRow:
    """One weight: its path, its shape, and the metric when it alone is cut to each sparsity."""

    name: str
    shape: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def size(self) -> int:
        """The number of positions of the dense tensor."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True, repr=False)
class Sensitivity(Report):
    """The metric of a model when one weight alone is cut to each sparsity; `print` shows it.

    Attributes:
        metric: the name of the metric.
        mode: `"max"` or `"min"`, whether larger or smaller is better.
        baseline: the metric of the model as it is.
        sparsities: the shares of zeros that were tried, increasing, in [0, 1).
        rows: a `SensitivityRow` for each weight, in the order of the model.
    """

    metric: str
    mode: str
    baseline: float
    sparsities: tuple[float, ...]
    rows: tuple[SensitivityRow, ...]

    def choose(self, max_drop: float | None = None, total: float | None = None) -> dict[str, float]:
        """A sparsity for each weight, by what its cut costs. Give one of the two arguments.

        Let `f(s)` be how much worse than the baseline the metric is at sparsity s of one weight. What is read is its
        monotone envelope, `max(0, f(t) for t <= s)`, on straight lines between the sparsities that were tried and
        `f(0) = 0`. It goes no deeper than the deepest of them, or than the last before a value that is not finite.
        That weights were cut one at a time says nothing sure about a cut of all at once: evaluate that, or train on.

        Args:
            max_drop: number >= 0 in the units of the metric (0.01: one percentage point of accuracy). Each weight gets
                the largest sparsity at which the metric is at most so much worse than the baseline.
            total: float in [0, 1), the fraction of zeros over all of these weights. All get the sparsity that they have
                at one and the same drop; which drop follows from the total. Where weights are flat at that drop each
                gets the same part of its flat piece. The zeros are whole numbers, with sum `round(total * size)`, and
                none of them falls when the total rises.

        Returns:
            From paths of weights to sparsities, for `keras_dsr.sparsify(model, distribution=..., mask="magnitude")`.

        Raises:
            ValueError: none or both of the arguments, one out of its range, a total deeper than what was tried, or two
                weights of the same path.

        Example:

        >>> keras_dsr.sparsify(model, distribution=report.choose(max_drop=0.01), mask="magnitude")
        """
        if (max_drop is None) == (total is None):
            raise ValueError(
                "Sensitivity.choose(max_drop=..., total=...) takes exactly one of max_drop=, the largest drop of the "
                "metric by each weight alone, and total=, the fraction of zeros in all. "
                f"Received: max_drop={max_drop!r}, total={total!r}"
            )
        self._check_names()
        curves = [self._curve(row) for row in self.rows]
        if max_drop is not None:
            _check_number("max_drop", max_drop, "at least 0, in the units of the metric", math.inf)
            zeros: Sequence[float] = [most_zeros(curve, max_drop) for curve in curves]
        else:
            _check_number("total", total, "in [0, 1), the fraction of zeros over all of the weights", 1)
            zeros = self._at_one_level(curves, cast(float, total))
        return {row.name: count / row.size for row, count in zip(self.rows, zeros)}

    def plot(self, path: str | os.PathLike | None = None) -> "Figure":
        """A curve of the metric over the sparsity for each weight, from the input (dark) to the output (light).

        Args:
            path: where to write the picture, in the format of its suffix, `.png`, `.svg` or `.pdf`; None: nowhere. It
                is written under another name and renamed.

        Returns:
            The matplotlib figure. No display is needed.

        Raises:
            TypeError, ValueError: no path, or another suffix.
            ImportError: there is no matplotlib.
        """
        if path is not None:
            path = check_path(path, "Sensitivity.plot")
            if path.suffix.lower() not in PICTURES:
                raise ValueError(
                    f"Sensitivity.plot(path=...) must end in one of {', '.join(PICTURES)}. Received: path={str(path)!r}"
                )
        try:
            from matplotlib import colormaps
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("Sensitivity.plot draws with matplotlib: pip install matplotlib") from error
        shown = min(len(self.rows), LARGEST_LEGEND)
        named = {round(index * (len(self.rows) - 1) / max(shown - 1, 1)) for index in range(shown)}
        figure = Figure(figsize=(10, max(5.0, 1.2 + 0.25 * shown)), layout="constrained")
        axes = figure.add_subplot(xlabel="sparsity of one weight alone (fraction of zeros)", ylabel=self.metric)
        figure.suptitle(f"{self.metric} when one weight is cut")
        names = shortened([row.name for row in self.rows], LONGEST_NAME)
        for index, (name, row) in enumerate(zip(names, self.rows)):
            axes.plot(
                (0.0, *self.sparsities),
                (self.baseline, *row.values),
                color=colormaps["viridis"](0.9 * index / max(len(self.rows) - 1, 1)),
                marker=MARKERS[index % len(MARKERS)],
                markersize=4,
                label=f"{name} ({row.size:,})" if index in named else None,
            )
        axes.axhline(self.baseline, color="black", linestyle="--", linewidth=1, label=f"as it is: {self.baseline:.4g}")
        axes.grid(alpha=0.3)
        title = "weight (positions)" + (f", {shown} of {len(self.rows)}" if shown < len(self.rows) else "")
        figure.legend(loc="outside right center", fontsize="small", title=title)
        if path is not None:
            with written_beside(path) as temporary:
                figure.savefig(temporary, dpi=120, format=temporary.suffix[1:] or "png")
        return figure

    def parts(self) -> list[Part]:
        better = "higher" if self.mode == "max" else "lower"
        title = f"{self.metric} ({better} is better), one weight cut at a time. As it is: {_shown(self.baseline)}"
        columns = ("weight", *(f"{100 * sparsity:g}%" for sparsity in self.sparsities))
        return [Table(title, columns, [(row.name, *map(_shown, row.values)) for row in self.rows])]

    def _curve(self, row: SensitivityRow) -> Curve:
        sign = 1 if self.mode == "max" else -1
        zeros = [row.size - active_units(row.size, sparsity) for sparsity in self.sparsities]
        return envelope(zeros, [sign * (self.baseline - value) for value in row.values])

    def _at_one_level(self, curves: list[Curve], total: float) -> list[int]:
        size, deepest = sum(row.size for row in self.rows), sum(int(curve.zeros[-1]) for curve in curves)
        if round(total * size) > deepest:
            raise ValueError(
                f"Sensitivity.choose(total=...) is deeper than what was tried: cut to {self.sparsities[-1]:g} (or to "
                f"the last sparsity with a finite {self.metric}) the fraction of zeros is {deepest / size:.4f} in all. "
                f"Ask for less, or run sensitivity(sparsities=...) up to higher ones. Received: total={total!r}"
            )
        return zeros_at_one_level(curves, round(total * size))

    def _check_names(self):
        names = [row.name for row in self.rows]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(
                f"Sensitivity.choose returns a sparsity for each path, and several weights have the path {twice!r}. "
                "Give the layers names of their own (`name=`), or leave some out with sensitivity(exclude=[layer])."
            )


def _check_number(argument: str, value, expected: str, end: float):
    if not is_number(value) or not 0 <= value < end:
        raise ValueError(
            f"Sensitivity.choose({argument}=...) must be a number {expected}. Received: {argument}={value!r}"
        )


def _shown(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"
