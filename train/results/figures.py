"""Figures whose title, legend and names stand apart, and whose axes show every point."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from keras_dsr.saving.atomic import written_beside

WIDTH, HEIGHT = 9, 5  # inches, of a plot without its title and legend
LINE = 0.22  # inches, of a line of a legend
LONGEST_LINE = 100  # characters of a title or a legend
SMALLEST_RANGE = 0.02
LOW_TICKS = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.85)
HIGH_TICKS = (0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.995, 0.998, 0.999, 1.0)


def spread_high_accuracies(axes, which: str, points: Sequence[tuple[int, float, float]]) -> None:
    """A scale by the logarithm of the error: 97 and 98% lie as far apart as 90 and 94%. Every point is within it.

    Args:
        axes: of matplotlib.
        which: `"x"` or `"y"`, the axis of the accuracy.
        points: `(_, mean, standard deviation)` of all that is shown.
    """
    lowest = max(min(mean - deviation for _, mean, deviation in points), 0.0)
    highest = min(max(mean + deviation for _, mean, deviation in points), 1.0)
    best = max(1 - highest, 1e-4) / 2

    def forward(accuracy):
        return -np.log(np.maximum(1 - np.asarray(accuracy), best))

    def inverse(value):
        return 1 - np.exp(-np.asarray(value))

    bottom, top = forward(lowest), forward(highest)
    margin = max(0.06 * (top - bottom), 0.05)
    low, high = float(inverse(bottom - margin)), float(inverse(top + margin))
    getattr(axes, f"set_{which}scale")("function", functions=(forward, inverse))
    getattr(axes, f"set_{which}lim")(low, high)
    axis = getattr(axes, f"{which}axis")
    apart = 0.08 if which == "x" else 0.045  # fractions of the axis: names are wider than high
    ticks: list[float] = []
    for tick in reversed(LOW_TICKS + HIGH_TICKS):  # from the top, none so near to another that their names would touch
        near = ticks and abs(forward(tick) - forward(ticks[-1])) < apart * (top - bottom + 2 * margin)
        if low <= tick <= high and not near:
            ticks.append(tick)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{100 * tick:g}%"))  # 97.5%, not 98%


def new_figure(title: str, quantity: str, over: str = "epoch"):
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    put_title(figure, title)
    dress(axes, over, quantity)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, axes


def over_epochs(axes, epochs: int) -> None:
    """Whole epochs on the axis, also where there is one alone."""
    if epochs == 1:
        axes.set_xlim(0, 2)
        axes.set_xticks([1])


def widen(axes) -> None:
    """Show a range of two percent at least: rounding is no news."""
    low, high = axes.get_ylim()
    if high - low < SMALLEST_RANGE:
        axes.set_ylim((low + high - SMALLEST_RANGE) / 2, (low + high + SMALLEST_RANGE) / 2)


def put_title(figure: Figure, title: str) -> None:
    """A title over the whole width, in as many lines as it needs: nothing else is beside it."""
    figure.suptitle(textwrap.fill(title, LONGEST_LINE - 15))


def dress(axes, horizontal: str, vertical: str) -> None:
    axes.set_xlabel(horizontal)
    axes.set_ylabel(vertical)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.3)


def finish(figure: Figure, path: Path, heading: str | None = None) -> None:
    """Put the legend below, where it hides nothing, in columns, make room for it, and write the plot."""
    entries = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            entries[label] = handle.lines[0] if isinstance(handle, ErrorbarContainer) else handle
    columns = max(1, min(LONGEST_LINE // (max(map(len, entries)) + 8), 4, len(entries)))
    lines = math.ceil(len(entries) / columns) + (heading is not None)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + LINE * lines)
    settings = {"ncols": columns, "fontsize": "small", "title": heading, "title_fontsize": "small"}
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", frameon=False, **settings)
    write(figure, path)


def write(figure: Figure, path: Path) -> None:
    with written_beside(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
