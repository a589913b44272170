"""The charts of the report, as SVG to be put into a page."""

import html
import io
import math
import re
from collections.abc import Mapping, Sequence

from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from keras_dsr.reporting.history import History
from keras_dsr.reporting.line_styles import MARKERS, line_style
from keras_dsr.tables import shortened

INK = "#010203"  # stands for the color of the text around, which is known only in the page
LONGEST_NAME = 44
MOST_NAMES = 8
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "keras_dsr",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), INK
    ),
}


def score_chart(history: History, held_out: str) -> str:
    """The scores over epochs; `held_out` is what the examples are called that are not trained on."""
    name = next(iter(history.scores)).removeprefix("val_")
    curves = {held_out if key.startswith("val_") else "training": v for key, v in history.scores.items()}
    is_share = all(0 <= value <= 1 for values in curves.values() for value in values if not math.isnan(value))
    return _lines(history.epochs, curves, name.replace("_", " "), percent=is_share and "loss" not in name)


def threshold_chart(history: History) -> str:
    """H over epochs."""
    return _lines(history.epochs, {"H": history.threshold}, "H (of |weight|)", log=True)


def moved_chart(history: History) -> str:
    """K over epochs, and its target."""
    curves = {"K, mean of the epoch": history.moved}
    return _lines(history.epochs, curves, "K (weights, or slices)", log=True, target=history.target)


def density_chart(history: History) -> str:
    """The density of each kernel over epochs."""
    return _lines(history.epochs, history.densities, "density (% of positions)", True, True)


def _lines(
    epochs: Sequence[int],
    curves: Mapping[str, Sequence[float]],
    quantity: str,
    log: bool = False,
    percent: bool = False,
    target: float | None = None,
) -> str:
    # A legend of many lines would not be read: it names some of them, which alone have markers.
    named = [round(i * (len(curves) - 1) / (MOST_NAMES - 1)) for i in range(MOST_NAMES)]
    few = len(curves) <= MOST_NAMES
    names = dict(zip(curves, shortened(list(curves), LONGEST_NAME)))
    entries = (len(curves) if few else len(named)) + (target is not None)
    with rc_context(STYLE):
        figure = Figure(figsize=(4.2, 2.9 + (0.2 * entries if entries > 1 else 0)), layout="constrained")
        axes = figure.add_subplot()
        for index, (name, values) in enumerate(curves.items()):
            style = line_style(index, len(epochs))
            if not few:
                is_named = index in named
                style["color"] = colormaps["viridis"](0.15 + 0.65 * index / (len(curves) - 1))
                style["marker"] = MARKERS[named.index(index)] if is_named else "." if len(epochs) == 1 else None
                style["linestyle"] = "-"
            axes.plot(epochs, values, label=names[name] if few or index in named else None, **style)
        if target is not None:
            axes.axhline(target, color=INK, linestyle="--", linewidth=1, label=f"target {target:,.0f}")
        if log:
            shown = [value for values in curves.values() for value in values]
            _logarithmic(axes, shown if target is None else [*shown, target], percent)
        elif percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlim(min(epochs) - 1, max(epochs) + (0.5 if len(epochs) > 1 else 1))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.set_ylabel(quantity)
        if entries > 1:
            figure.legend(loc="outside lower left", frameon=False, ncols=1, fontsize=9)
        return _svg(figure, f"{quantity} over {len(epochs)} epochs: {', '.join(names.values())}.")


def _logarithmic(axes, values: Sequence[float], percent: bool) -> None:
    known = [value for value in values if not math.isnan(value) and value > 0]
    axes.set_yscale("log")
    if not known:
        return
    low, high = min(known), max(known)
    margin = max(1.25, 2 / math.sqrt(high / low))  # a factor of 4 at least, or there would be no round number in it
    axes.set_ylim(low / margin, high * margin)
    range_shown = margin**2 * high / low
    subs = (1, 1.5, 2, 3, 4, 6, 8) if range_shown < 15 else (1, 2, 5) if range_shown < 1500 else (1,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axes.yaxis.set_minor_formatter(NullFormatter())
    if percent:
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    elif low >= 1:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    elif high / low < 1000:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.2g}")
    else:
        axes.yaxis.set_major_formatter(LogFormatterSciNotation())


def _svg(figure: Figure, description: str) -> str:
    """The figure as an SVG element as wide as its place, in the color of the text around it."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)  # several figures of one page would have the same
    width = float(re.search(r'width="([\d.]+)pt"', svg).group(1))
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    label = html.escape(description, quote=True)
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}" style="max-width:{1.5 * width:.0f}px"', 1)
