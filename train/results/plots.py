"""The plots of a run and of a comparison."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
    StrMethodFormatter,
)

from keras_dsr.reporting.line_styles import line_style
from keras_dsr.tables import shortened
from train.results import figures

LONGEST_NAME = 46
LARGEST_LEGEND = 12
PANELS = 4  # in a row


def plot_score(path: Path, title: str, score: str, curves: Mapping[str, Sequence[float]]) -> None:
    """A score over epochs, a line for each curve.

    Args:
        path: the PNG to write.
        title: what is shown.
        score: its name.
        curves: shares (1 is 100%), one an epoch, by the name in the legend.
    """
    figure, axes = figures.new_figure(title, score.replace("_", " "))
    for index, (name, values) in enumerate(curves.items()):
        label = f"{name} ({values[-1]:.2%})" if len(values) else name
        axes.plot(range(1, len(values) + 1), values, label=label, **line_style(index, len(values)))
    figures.over_epochs(axes, max(map(len, curves.values()), default=0))
    figures.finish(figure, path)


def plot_sparsity(path: Path, title: str, rows: Sequence[dict], places: Mapping[str, int]) -> None:
    """Sparsity of each kernel over epochs, and of all of them together.

    Args:
        path: the PNG to write.
        title: what is shown.
        rows: the rows of metrics, with a column `active/<name>` for each kernel.
        places: the number of positions of each kernel, by name, in the order of the model; empty for a
            dense network.
    """
    figure, axes = figures.new_figure(title, "sparsity (fraction of weights that are zero)")
    epochs = [row["epoch"] + 1 for row in rows]
    # A legend of fifty lines cannot be read: some names, the colors run from the input to the output.
    named = [round(i * (len(places) - 1) / (LARGEST_LEGEND - 1)) for i in range(LARGEST_LEGEND)]
    names = shortened(list(places), LONGEST_NAME)
    for index, (name, count) in enumerate(places.items()):
        values = [1 - row[f"active/{name}"] / count for row in rows]
        is_named = len(places) <= LARGEST_LEGEND or index in named
        style = line_style(index if len(places) <= LARGEST_LEGEND else named.index(index) if is_named else 0, len(rows))
        style.update(color=colormaps["viridis"](index / max(len(places), 2)), linestyle="-")
        if not is_named:
            style["marker"] = "." if len(rows) == 1 else None
        axes.plot(epochs, values, label=names[index] if is_named else None, **style)
    overall = [row["sparsity"] for row in rows]
    style = {"color": "black", "linestyle": "--", "marker": "x" if len(rows) == 1 else None}
    axes.plot(epochs, overall, label="all together" if places else "dense network", **style)
    figures.over_epochs(axes, len(rows))
    figures.widen(axes)
    figures.finish(figure, path)


def plot_tradeoff(path: Path, title: str, score: str, points: Mapping[str, Sequence[tuple[int, float, float]]]) -> None:
    """A score against the size of the network, a line for each method; a row for each if they have one size alone.

    Methods of one size are drawn a little apart, so that none hides another.

    Args:
        path: the PNG to write.
        title: what is shown.
        score: its name; an accuracy gets a scale that spreads what is near 100%.
        points: `(parameters, mean score, standard deviation)` by method.
    """
    if all(len(values) == 1 for values in points.values()):
        _plot_rows(path, title, score, {method: values[0] for method, values in points.items()})
        return
    figure, axes = figures.new_figure(
        title, f"test {score} (mean and standard deviation)", "trainable parameters (methods of one size side by side)"
    )
    lines = sum(len(values) > 1 for values in points.values())
    drawn = 0
    for index, (method, values) in enumerate(points.items()):
        sizes, means, deviations = zip(*sorted(values))
        if len(values) > 1:
            apart = 1 + 0.02 * (drawn - (lines - 1) / 2)
            sizes, drawn = [size * apart for size in sizes], drawn + 1
        axes.errorbar(sizes, means, yerr=deviations, label=method, capsize=2, elinewidth=1, **line_style(index))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if score == "accuracy":
        figures.spread_high_accuracies(axes, "y", [value for values in points.values() for value in values])
    figures.finish(figure, path)


def _plot_rows(path: Path, title: str, score: str, points: Mapping[str, tuple[int, float, float]]) -> None:
    """A score of each method, a row for each, the best on top."""
    best_is_low = "error" in score
    rows = sorted(points.items(), key=lambda item: item[1][1], reverse=best_is_low)
    figure = Figure(figsize=(figures.WIDTH, max(3.6, 1.6 + 0.4 * len(rows))), layout="constrained")
    axes = figure.add_subplot()
    figures.put_title(figure, title)
    figures.dress(axes, f"test {score} (mean and standard deviation)", "")
    for row, (method, (_, mean, deviation)) in enumerate(rows):
        style = {**line_style(list(points).index(method)), "markersize": 8}
        axes.errorbar(mean, row, xerr=deviation, capsize=3, **style)
    labels = [f"{method}\n{size:,} parameters" for method, (size, _, _) in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize="small")
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda row, _: labels[round(row)]))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    values = axes.secondary_yaxis("right")
    values.set_yticks(range(len(rows)), [f"{mean:.2%}" for _, (_, mean, _) in rows], fontsize="small")
    values.tick_params(length=0)
    if score == "accuracy":
        figures.spread_high_accuracies(axes, "x", list(points.values()))
    figures.write(figure, path)


def plot_layers(path: Path, title: str, names: Sequence[str], layers: Mapping[float, Sequence[float]]) -> None:
    """The sparsity of each layer, a line for each sparsity of the whole network.

    Args:
        path: the PNG to write.
        title: what is shown.
        names: of the layers, from the input to the output.
        layers: the sparsity of each layer by that of the network.
    """
    figure, axes = figures.new_figure(title, "sparsity of the layer", "layer, from the input to the output")
    places = range(1, len(names) + 1)
    for index, (sparsity, values) in enumerate(sorted(layers.items())):
        color = colormaps["viridis"](index / max(len(layers), 2))
        axes.plot(places, values, label=f"{sparsity:g}", **{**line_style(index), "color": color, "linestyle": "-"})
        axes.axhline(sparsity, color=color, linestyle=":", linewidth=1)
    if len(names) <= LARGEST_LEGEND:
        short = shortened(names, 30)
        is_wide = len(names) * max(map(len, short)) > figures.LONGEST_LINE
        axes.set_xticks(list(places), short, rotation=30 if is_wide else 0, ha="right" if is_wide else "center")
    axes.margins(x=0.08, y=0.08)
    figures.widen(axes)
    figures.finish(figure, path, "sparsity of the network (dotted: the same in every layer)")


def plot_structure(path: Path, title: str, changed: Mapping[str, Mapping[float, Sequence[float]]]) -> None:
    """The fraction of the mask that changed in each epoch, a panel for each method and a line for each sparsity.

    Args:
        path: the PNG to write.
        title: what is shown.
        changed: shares in [0, 1], one an epoch, by method and sparsity.
    """
    across = min(len(changed), PANELS)
    down = math.ceil(len(changed) / across)
    figure = Figure(figsize=(max(figures.WIDTH, 3.2 * across), 3.4 * down + 0.6), layout="constrained")
    figures.put_title(figure, title)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)[: len(changed)]
    for empty in list(grid.flat)[len(changed) :]:
        empty.set_visible(False)
    sparsities = sorted({sparsity for curves in changed.values() for sparsity in curves})
    for panel, (method, curves) in zip(panels, changed.items()):
        for sparsity, values in curves.items():
            index = sparsities.index(sparsity)
            style = {**line_style(index, len(values)), "color": colormaps["viridis"](index / max(len(sparsities), 2))}
            panel.plot(range(1, len(values) + 1), values, label=f"{sparsity:g}", **{**style, "linestyle": "-"})
        figures.dress(panel, "epoch", "")
        panel.set_title(method, fontsize="medium")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.xaxis.set_tick_params(labelbottom=True)  # also above an empty place
    figure.supylabel("fraction of the mask that is new", fontsize="medium")
    panels[0].set_ylim(bottom=0)  # of all of them, now that all are drawn
    figures.finish(figure, path, "sparsity")


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
    figure, axes = figures.new_figure(
        title, f"test {score} (mean and standard deviation)", f"last epoch of reallocation, of {epochs}"
    )
    stops, means, deviations = zip(*points)
    axes.errorbar(stops, means, yerr=deviations, capsize=3, label="stopped", **line_style(0))
    if whole is not None:
        axes.axhline(whole[0], color="black", linestyle="--", label="by the recipe")
        axes.axhspan(whole[0] - whole[1], whole[0] + whole[1], color="black", alpha=0.1)
    axes.set_xlim(-0.02 * epochs, 1.02 * epochs)
    figures.finish(figure, path)
