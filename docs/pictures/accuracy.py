"""Draws the first table of docs/results.md, accuracy by number of weights: `python -m docs.pictures.accuracy`."""

import math
import pathlib
import re

from docs.tools.svg import INK, document, text

RESULTS = pathlib.Path(__file__).parent.parent / "results.md"
SECTION = "### LeNet-300-100 on MNIST: every method of the paper"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 732, 430, 62, 128, 42, 62
LEGEND = (370, 150)
GRID = "#d9dce5"
# Row of the table: name in the picture, color (Okabe and Ito), marker.
SERIES = {
    "compressed": ("trained dense, then pruned", "#009e73", "square"),
    "DSR": ("DSR", "#0072b2", "circle"),
    "SET": ("SET", "#d55e00", "triangle"),
    "static": ("static mask", "#7a7a7a", "diamond"),
}
ACCURACIES = (40, 60, 80, 90, 95, 97, 98, 99)
COUNTS = (2_000, 300_000)  # ends of the horizontal axis


def measured() -> tuple[dict, int, float]:
    """Points (weights, accuracy) of each row that is drawn, and the weights and the accuracy of the dense network."""
    section = RESULTS.read_text().partition(SECTION)[2].partition("\n###")[0]
    budgets, positions = re.search(
        r"the budget at sparsity [\d. /]+ is ([\d,/ ]+) weights of\s+([\d,]+)", section
    ).groups()
    budgets = [number(budget) for budget in budgets.split("/")]
    rows = [line.replace("*", "").strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    cells = {name.strip(): values for name, *values in rows[2:10]}
    points = {name: [(n, accuracy(cell)) for n, cell in zip(budgets, cells[name])] for name in SERIES}
    dense = next(values[0] for name, values in cells.items() if name.startswith("dense"))
    return points, number(positions), accuracy(dense)


def number(text: str) -> int:
    return int(text.replace(",", ""))


def accuracy(cell: str) -> float:
    return float(cell.partition("±")[0])


def across(weights: float) -> float:
    low, high = map(math.log, COUNTS)
    return LEFT + (math.log(weights) - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def down(percent: float) -> float:
    """The vertical axis is logarithmic in the error: 97, 98 and 99 % stand apart, and 43 % is in the picture too."""
    low, high = math.log(100 - ACCURACIES[0]), math.log(100 - ACCURACIES[-1])
    return HEIGHT - BOTTOM - (math.log(100 - percent) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def marker(kind, x, y, color) -> str:
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{color}"/>'
    corners = {
        "square": ((-5, -5), (5, -5), (5, 5), (-5, 5)),
        "triangle": ((0, -7), (6, 5), (-6, 5)),
        "diamond": ((0, -7), (7, 0), (0, 7), (-7, 0)),
    }[kind]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" fill="{color}"/>'


def axes(budgets, positions) -> list[str]:
    parts = [text(18, 24, "Test accuracy, %", 17, "bold")]
    for percent in ACCURACIES:
        y = down(percent)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{GRID}" stroke-width="1"/>')
        parts.append(text(LEFT - 10, y + 6, percent, anchor="end"))
    for count in (*budgets, positions):
        parts.append(text(across(count), HEIGHT - BOTTOM + 24, f"{count:,}", 16, anchor="middle"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        text(middle, HEIGHT - 12, "Weights that are not zero (LeNet-300-100, MNIST)", 17, "bold", anchor="middle")
    )
    return parts


def picture() -> str:
    series, positions, dense = measured()
    budgets = [weights for weights, _ in series["DSR"]]
    parts = axes(budgets, positions)
    y = down(dense)
    parts.append(
        f'<path d="M{LEFT} {y:.1f}H{across(positions):.1f}" stroke="{INK}" stroke-width="2" stroke-dasharray="6 5"/>'
    )
    parts.append(marker("circle", across(positions), y, INK))
    parts.append(text(across(positions) + 14, y + 6, f"dense {dense}", 17, "bold"))
    for line, name in enumerate(SERIES):
        words, color, kind = SERIES[name]
        at = [(across(weights), down(percent)) for weights, percent in series[name]]
        width = 4 if name == "DSR" else 2.5
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
        parts.append(f'<path d="M{path}" stroke="{color}" stroke-width="{width}" fill="none"/>')
        x, y = LEGEND[0], LEGEND[1] + 30 * line
        parts.append(f'<path d="M{x - 20} {y}h40" stroke="{color}" stroke-width="{width}"/>')
        parts += [marker(kind, *place, color) for place in (*at, (x, y))]
        parts.append(text(x + 30, y + 6, words, 18, "bold", color))
    figures = ", ".join(f"{SERIES[name][0]} {series[name][0][1]}" for name in SERIES)
    description = (
        f"LeNet-300-100 on MNIST. Dense, {positions:,} weights: {dense} %. With {budgets[0]:,} weights: {figures} %."
    )
    return document(WIDTH, HEIGHT, "Test accuracy by number of weights", description, parts)


if __name__ == "__main__":
    pathlib.Path(__file__).with_suffix(".svg").write_text(picture())
