"""How lines of one plot are told apart, by colour-blind readers too, and in print."""

# Okabe and Ito (2008), without yellow and black, which are not seen on white or on dark ground, and with grey.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a7a7a")
MARKERS = "osD^vPX<>*hp"
DASHES = ("-", "--", "-.", ":")
MARKS = 8  # on a line


def line_style(index: int, points: int = 1) -> dict:
    """Color, marker and dashes of a line: no two of the first 84 have the same color and marker.

    Args:
        index: int, which line of the plot it is.
        points: int, how many points it has; of many, some are marked, of each line others.
    """
    step = max(1, points // MARKS)
    return {
        "color": COLORS[index % len(COLORS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[index // len(COLORS) % len(DASHES)],
        "markevery": (index % step, step),
        "markersize": 5,
    }
