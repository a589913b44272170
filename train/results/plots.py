"""The plots of a run and of a comparison."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
    StrMethodFormatter,
)

from keras_dsr.saving.atomic import written_beside

LARGEST_LEGEND = 12
SMALLEST_RANGE = 0.02
ACCURACY_TICKS = (0.1, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.94, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.995, 0.999, 1.0)


def plot_score(path: Path, title: str, score: str, curves: Mapping[str, Sequence[float]]) -> None:
    """A score over epochs, a line for each curve.

    Args:
        path: the PNG to write.
        title: what is shown.
        score: its name.
        curves: shares (1 is 100%), one an epoch, by the name in the legend.
    """
    figure, axes = _figure(title, score.replace("_", " "))
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
        places: the number of positions of each kernel, by name, in the order of the model; empty for a
            dense network.
    """
    figure, axes = _figure(title, "sparsity (fraction of weights that are zero)")
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


def plot_tradeoff(path: Path, title: str, score: str, points: Mapping[str, Sequence[tuple[int, float, float]]]) -> None:
    """A score against the size of the network, a line for each method.

    Args:
        path: the PNG to write.
        title: what is shown.
        score: its name; an accuracy gets a scale that spreads what is near 100%.
        points: `(parameters, mean score, standard deviation)` by method.
    """
    figure, axes = _figure(title, f"test {score} (mean and standard deviation)", "trainable parameters")
    for index, (method, values) in enumerate(points.items()):
        sizes, means, deviations = zip(*sorted(values))
        line = {"marker": "o", "capsize": 3, "color": f"C{index}", "linestyle": ":" if len(values) == 1 else "-"}
        axes.errorbar(sizes, means, yerr=deviations, label=method, **line)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if score == "accuracy":
        lowest = min(mean - deviation for values in points.values() for _, mean, deviation in values)
        highest = max(mean + deviation for values in points.values() for _, mean, deviation in values)
        _spread_high_accuracies(axes, lowest, highest)
    figure.legend(loc="outside right upper")
    _write(figure, path)


def plot_layers(path: Path, title: str, names: Sequence[str], layers: Mapping[float, Sequence[float]]) -> None:
    """The sparsity of each layer, a line for each sparsity of the whole network.

    Args:
        path: the PNG to write.
        title: what is shown.
        names: of the layers, from the input to the output.
        layers: the sparsity of each layer by that of the network.
    """
    figure, axes = _figure(title, "sparsity of the layer", "layer, from the input to the output")
    places = range(1, len(names) + 1)
    for index, (sparsity, values) in enumerate(sorted(layers.items())):
        color = colormaps["viridis"](index / max(len(layers), 2))
        axes.plot(places, values, marker="o", color=color, label=f"{sparsity:g}")
        axes.axhline(sparsity, color=color, linestyle=":", linewidth=1)
    if len(names) <= LARGEST_LEGEND:
        axes.set_xticks(list(places), names)
    figure.legend(loc="outside right upper", title="of the network\n(dotted: uniform)")
    _write(figure, path)


def plot_structure(path: Path, title: str, changed: Mapping[str, Mapping[float, Sequence[float]]]) -> None:
    """The fraction of the mask that changed in each epoch, a panel for each method and a line for each sparsity.

    Args:
        path: the PNG to write.
        title: what is shown.
        changed: shares in [0, 1], one an epoch, by method and sparsity.
    """
    figure = Figure(figsize=(4 * len(changed) + 2, 4.5), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, len(changed), sharey=True, squeeze=False)[0]
    sparsities = sorted({sparsity for curves in changed.values() for sparsity in curves})
    for panel, (method, curves) in zip(panels, changed.items()):
        for sparsity, values in curves.items():
            color = colormaps["viridis"](sparsities.index(sparsity) / max(len(sparsities), 2))
            label = f"{sparsity:g}" if panel is panels[0] else None
            panel.plot(range(1, len(values) + 1), values, color=color, label=label, **_marks(values))
        _dress(panel, method, "epoch", "fraction of the mask that is new" if panel is panels[0] else "")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_ylim(bottom=0)  # of all of them, now that all are drawn
    figure.legend(loc="outside right upper", title="sparsity")
    _write(figure, path)


def plot_early_stop(
    path: Path,
    title: str,
    score: str,
    points: Sequence[tuple[int, float, float]],
    epochs: int,
    whole: tuple[float, float] | None,
) -> None:
    """A score against the epoch in which reallocation stopped.

    Args:
        path: the PNG to write.
        title: what is shown.
        score: its name.
        points: `(epoch, mean score, standard deviation)`.
        epochs: int, the length of the training.
        whole: mean and standard deviation without a stop; None: not known.
    """
    figure, axes = _figure(
        title, f"test {score} (mean and standard deviation)", f"last epoch of reallocation, of {epochs}"
    )
    stops, means, deviations = zip(*points)
    axes.errorbar(stops, means, yerr=deviations, marker="o", capsize=3, label="stopped")
    if whole is not None:
        axes.axhline(whole[0], color="black", linestyle="--", label="by the recipe")
        axes.axhspan(whole[0] - whole[1], whole[0] + whole[1], color="black", alpha=0.1)
    axes.set_xlim(0, epochs)
    figure.legend(loc="outside right upper")
    _write(figure, path)


def _spread_high_accuracies(axes, lowest: float, highest: float) -> None:
    """A scale by the logarithm of the error: 97 and 98% lie as far apart as 90 and 94%."""
    best = max(1 - highest, 1e-4) / 2

    def forward(accuracy):
        return -np.log(np.maximum(1 - np.asarray(accuracy), best))

    axes.set_yscale("function", functions=(forward, lambda value: 1 - np.exp(-np.asarray(value))))
    low, high = max(lowest - max((1 - lowest) * 0.1, 1e-3), 0.0), highest + (1 - highest) * 0.2
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ACCURACY_TICKS if low <= tick <= high]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{100 * tick:g}%"))  # 97.5%, not 98%


def _figure(title: str, quantity: str, over: str = "epoch"):
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    _dress(axes, title, over, quantity)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, axes


def _dress(axes, title: str, horizontal: str, vertical: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(horizontal)
    axes.set_ylabel(vertical)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.3)


def _marks(values: Sequence[float]) -> dict:
    """A single point makes no line: mark it."""
    return {"marker": "o"} if len(values) == 1 else {}


def _write(figure: Figure, path: Path) -> None:
    with written_beside(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
