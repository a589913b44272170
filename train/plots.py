"""The plots of a run, from its rows of metrics."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from train.folder import replacing

LARGEST_LEGEND = 12
SMALLEST_RANGE = 0.02


def plot_accuracy(path: Path, title: str, curves: Mapping[str, Sequence[float]]) -> None:
    """Accuracy over epochs, a line for each curve.

    Args:
        path: the PNG to write.
        title: what is shown.
        curves: accuracies in [0, 1], one an epoch, by the name in the legend.
    """
    figure, axes = _figure(title, "accuracy")
    for index, (name, values) in enumerate(curves.items()):
        label = f"{name} ({values[-1]:.2%})" if len(values) else name
        axes.plot(range(1, len(values) + 1), values, color=f"C{index}", label=label, **_marks(values))
    figure.legend(loc="outside right upper")
    _write(figure, path)


def plot_sparsity(path: Path, title: str, rows: Sequence[dict], places: Mapping[str, int]) -> None:
    """Sparsity of each kernel over epochs, and of all of them together.

    Args:
        path: the PNG to write.
        title: what is shown.
        rows: the rows of metrics, with a column `active/<name>` for each kernel.
        places: the number of weights that each kernel has places for, by name, in the order of the model; empty for a
            dense network.
    """
    figure, axes = _figure(title, "sparsity (share of weights that are zero)")
    epochs = [row["epoch"] + 1 for row in rows]
    # A legend of fifty lines cannot be read: some names, the colors run from the input to the output.
    named = {round(i * (len(places) - 1) / (LARGEST_LEGEND - 1)) for i in range(LARGEST_LEGEND)}
    for index, (name, count) in enumerate(places.items()):
        values = [1 - row[f"active/{name}"] / count for row in rows]
        label = name if len(places) <= LARGEST_LEGEND or index in named else None
        axes.plot(
            epochs, values, color=colormaps["viridis"](index / max(len(places), 2)), label=label, **_marks(values)
        )
    overall = [row["sparsity"] for row in rows]
    axes.plot(epochs, overall, color="black", linestyle="--", label="all together" if places else "dense network")
    low, high = axes.get_ylim()
    if high - low < SMALLEST_RANGE:  # rounding is no news
        axes.set_ylim((low + high - SMALLEST_RANGE) / 2, (low + high + SMALLEST_RANGE) / 2)
    figure.legend(loc="outside right upper", fontsize="small")
    _write(figure, path)


def _figure(title: str, quantity: str):
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.3)
    return figure, axes


def _marks(values: Sequence[float]) -> dict:
    """A single point makes no line: mark it."""
    return {"marker": "o"} if len(values) == 1 else {}


def _write(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
