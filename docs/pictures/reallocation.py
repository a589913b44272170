"""Draws one reallocation of DSR in two small layers: `python -m docs.pictures.reallocation` writes reallocation.svg."""

import pathlib
import random

from docs.tools.svg import document, text

CELL, GAP, WIDTH, PANEL, HEIGHT = 31, 4, 732, 366, 360
FREE, ACTIVE, PRUNED, GROWN = "#e8eaf0", "#3949ab", "#c62828", "#2e7d32"
SHAPES = {"layer 1": (5, 6), "layer 2": (5, 4)}  # rows, columns
THRESHOLD = 0.3
# Magnitudes of the active weights, by position in row-major order: 10 in each layer.
BEFORE = {
    "layer 1": {0: 0.8, 3: 0.2, 7: 0.6, 8: 0.9, 11: 0.5, 14: 1.0, 18: 0.15, 21: 0.7, 25: 0.45, 28: 0.85},
    "layer 2": {1: 0.25, 2: 0.9, 4: 0.1, 6: 0.6, 9: 0.2, 10: 0.75, 12: 0.28, 14: 0.5, 17: 0.12, 19: 1.0},
}


def reallocated() -> tuple[dict, dict]:
    """What survives in each layer, and which positions are grown (step 1, 3 and 4 of DSR)."""
    survivors = {name: {at: w for at, w in weights.items() if w >= THRESHOLD} for name, weights in BEFORE.items()}
    left = {name: len(weights) for name, weights in survivors.items()}
    pruned = sum(map(len, BEFORE.values())) - sum(left.values())
    exact = {name: pruned * count / sum(left.values()) for name, count in left.items()}
    shares = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda one: shares[one] - exact[one])[: pruned - sum(shares.values())]:
        shares[name] += 1
    draw = random.Random(4)
    free = {name: [at for at in range(r * c) if at not in BEFORE[name]] for name, (r, c) in SHAPES.items()}
    grown = {name: draw.sample(free[name], shares[name]) for name in SHAPES}
    assert sum(left.values()) + sum(map(len, grown.values())) == sum(map(len, BEFORE.values()))
    return survivors, grown


def grid(x, y, name, active, pruned=(), grown=()) -> list[str]:
    """One layer: free positions grey, active ones the darker the larger, pruned ones crossed, grown ones outlined."""
    rows, columns = SHAPES[name]
    parts = [text(x, y - 10, name, 19)]
    for at in range(rows * columns):
        left, top = x + at % columns * CELL, y + at // columns * CELL
        side = CELL - GAP
        box = f'<rect x="{left}" y="{top}" width="{side}" height="{side}" rx="4"'
        if at in grown:
            parts.append(f'{box} fill="#ffffff" stroke="{GROWN}" stroke-width="3"/>')
            parts.append(text(left + side / 2, top + side / 2 + 6, "0", 16, "bold", GROWN, "middle"))
        elif at in pruned:
            parts.append(f'{box} fill="{FREE}" stroke="{PRUNED}" stroke-width="2"/>')
            parts.append(
                f'<path d="M{left + 7} {top + 7}l12 12m0-12l-12 12" stroke="{PRUNED}" stroke-width="2.5" fill="none"/>'
            )
        elif at in active:
            parts.append(f'{box} fill="{ACTIVE}" fill-opacity="{0.25 + 0.75 * active[at]:.2f}"/>')
        else:
            parts.append(f'{box} fill="{FREE}"/>')
    return parts


def panel(column, row, title, words, active, pruned, grown) -> list[str]:
    x, y = column * PANEL + 22, row * HEIGHT + 38
    parts = [text(x, y, title, 24, "bold")]
    parts += grid(x, y + 48, "layer 1", active["layer 1"], pruned["layer 1"], grown["layer 1"])
    parts += grid(x + 6 * CELL + 14, y + 48, "layer 2", active["layer 2"], pruned["layer 2"], grown["layer 2"])
    parts += [text(x, y + 48 + 5 * CELL + 28 + 28 * line, sentence, 22) for line, sentence in enumerate(words)]
    return parts


def picture() -> str:
    survivors, grown = reallocated()
    none = {name: () for name in SHAPES}
    pruned = {name: BEFORE[name].keys() - survivors[name].keys() for name in SHAPES}
    number = {name: len(pruned[name]) for name in SHAPES}
    after = {name: len(survivors[name]) + len(grown[name]) for name in SHAPES}
    counts = " + ".join(str(len(BEFORE[name])) for name in SHAPES)
    left = " + ".join(str(len(survivors[name])) for name in SHAPES)
    total = sum(map(len, BEFORE.values()))
    moved = sum(number.values())
    parts = [
        *panel(0, 0, "Before", [f"{counts} = {total} active weights", "(darker: larger)"], BEFORE, none, none),
        *panel(1, 0, "1. Prune", [f"{moved} weights are below the", "threshold H."], BEFORE, pruned, none),
        *panel(
            0,
            1,
            "3. Distribute",
            [
                f"{left} survive. Of the {moved},",
                "{} go to layer 1, {} to layer 2.".format(*map(len, grown.values())),
            ],
            survivors,
            none,
            none,
        ),
        *panel(
            1,
            1,
            "4. Grow",
            [f"{moved} grow at random, from 0:", "{} + {} = {}, as before.".format(*after.values(), total)],
            survivors,
            none,
            grown,
        ),
    ]
    description = (
        f"Two layers have {counts} active weights. {moved} weights below the threshold are pruned. "
        f"{moved} weights grow at free positions, and the total is {total} again."
    )
    return document(WIDTH, 2 * HEIGHT - 20, "One reallocation", description, parts)


if __name__ == "__main__":
    pathlib.Path(__file__).with_suffix(".svg").write_text(picture())
