"""Draws the table of every method in docs/results.md, with its deviations: `python -m docs.pictures.methods`."""

import math
import pathlib
import re

from docs.tools.svg import document, text

RESULTS = pathlib.Path(__file__).parent.parent / "results.md"
SECTION = "### Every method on one network"
WIDTH, LEFT, RIGHT, TOP, LINE, BOTTOM = 732, 236, 28, 96, 27, 46
GRID = "#d9dce5"
COLUMNS = {"0.99": ("#d55e00", "square"), "0.98": ("#0072b2", "circle")}  # Okabe and Ito
ACCURACIES = (40, 70, 85, 90, 95, 97, 98, 99)


def measured() -> list[tuple[str, list[tuple[float, float] | None]]]:
    """The lines of the table: a name, and the mean and deviation of each column; without figures a heading."""
    section = RESULTS.read_text().partition(SECTION)[2].partition("\n###")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [(name.strip(), [figure(cell) for cell in cells]) for name, *cells in rows[2:]]


def figure(cell: str) -> tuple[float, float] | None:
    numbers = re.findall(r"\d+\.\d+", cell)
    return (float(numbers[0]), float(numbers[1])) if numbers else None


def across(percent: float) -> float:
    """The axis is logarithmic in the error: 97, 98 and 99 % stand apart, and 43 % is in the picture too."""
    low, high = math.log(100 - ACCURACIES[0]), math.log(100 - ACCURACIES[-1])
    at = (math.log(100 - min(max(percent, ACCURACIES[0]), ACCURACIES[-1])) - low) / (high - low)
    return LEFT + at * (WIDTH - LEFT - RIGHT)


def marker(kind: str, x: float, y: float, color: str) -> str:
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{color}"/>'
    return f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" fill="{color}"/>'


def picture() -> str:
    rows = measured()
    height = TOP + LINE * len(rows) + BOTTOM
    parts = [text(18, 28, "Test accuracy, %: LeNet-300-100 on MNIST, 3 seeds", 17, "bold")]
    for at, (name, (color, kind)) in enumerate(COLUMNS.items()):
        x = LEFT + 200 * at
        parts += [marker(kind, x, 56, color), text(x + 14, 62, f"sparsity {name}", 16, "bold", color)]
    for percent in ACCURACIES:
        x = across(percent)
        parts.append(f'<path d="M{x:.1f} {TOP - 10}V{height - BOTTOM}" stroke="{GRID}" stroke-width="1"/>')
        parts.append(text(x, height - BOTTOM + 26, percent, 16, anchor="middle"))
    for index, (name, figures) in enumerate(rows):
        y = TOP + LINE * index + LINE / 2
        words = name.replace("*", "").partition(' ("')[0]
        if not any(figures):
            parts.append(text(18, y + 6, words, 15, "bold", "#5b6270"))
            continue
        parts.append(text(LEFT - 18, y + 6, words, 16, "bold" if "**" in name else "normal", anchor="end"))
        for (color, kind), found in zip(COLUMNS.values(), figures, strict=True):
            if found is not None:
                low, high = across(found[0] - found[1]), across(found[0] + found[1])
                parts.append(f'<path d="M{low:.1f} {y}H{high:.1f}" stroke="{color}" stroke-width="3"/>')
                parts.append(marker(kind, across(found[0]), y, color))
    best = next(figures for name, figures in rows if "DSR" in name)
    description = (
        f"A line for each method, with a point for each sparsity. DSR has {best[0][0]} % at 0.99 and {best[1][0]} % at "
        "0.98. The line around a point is its standard deviation; the axis is logarithmic in the error."
    )
    return document(WIDTH, height, "Test accuracy of every method", description, parts)


if __name__ == "__main__":
    pathlib.Path(__file__).with_suffix(".svg").write_text(picture())
