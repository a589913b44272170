"""Every plot is a picture that opens, also of one point, and where all values are the same."""

import io
import itertools
import warnings

import matplotlib.image
import pytest
from matplotlib.figure import Figure

from keras_dsr.reporting.line_styles import line_style
from train.results import figures, plots

pytestmark = pytest.mark.backends("tensorflow")

TRADEOFF = {"dense": [(51_020, 0.98, 0.001)], "dsr": [(1824, 0.97, 0.002), (920, 0.91, 0.01), (420, 0.5, 0.1)]}
EARLY = [(15, 0.95, 0.01), (30, 0.96, 0.005), (45, 0.965, 0.0)]


@pytest.mark.parametrize(
    ("plot", "data"),
    [
        (plots.plot_tradeoff, ("accuracy", TRADEOFF)),
        (plots.plot_tradeoff, ("accuracy", {"dense": [(1000, 0.98, 0.0)]})),
        (plots.plot_tradeoff, ("accuracy", {"dense": [(1000, 1.0, 0.0)]})),
        (plots.plot_tradeoff, ("accuracy", {"dense": [(1000, 1.0, 0.0)], "dsr": [(100, 1.0, 0.0), (50, 1.0, 0.0)]})),
        (plots.plot_tradeoff, ("accuracy", {"dense": [(1000, 0.9, 0.0)], "dsr": [(1000, 0.9, 0.0), (50, 0.9, 0.0)]})),
        (
            plots.plot_tradeoff,
            ("accuracy", {"dense": [(1000, 0.99, 0.02)], "dsr": [(100, 0.0, 0.0)]}),
        ),
        (plots.plot_tradeoff, ("word error rate", {"dense": [(1000, 0.2, 0.02)], "dsd": [(1000, 1.3, 0.0)]})),
        (plots.plot_layers, (["a", "b", "c"], {0.9: [0.91, 0.9, 0.5], 0.98: [0.99, 0.98, 0.7]})),
        (plots.plot_layers, (["only"], {0.9: [0.9]})),
        (plots.plot_layers, ([f"layer {index}" for index in range(50)], {0.9: [0.9] * 50})),
        (
            plots.plot_structure,
            ({"dsr": {0.9: [0.3, 0.2], 0.98: [0.2, 0.0]}, "set": {0.9: [0.2, 0.0]}},),
        ),
        (plots.plot_structure, ({"dsr": {0.9: [0.3]}},)),
        (plots.plot_structure, ({"dsr": {0.9: [1.0, 1.0]}, "set": {0.9: [0.0, 0.0]}},)),
        (plots.plot_early_stop, ("accuracy", EARLY, 60, (0.97, 0.002))),
        (plots.plot_early_stop, ("accuracy", EARLY[:1], 60, None)),
        (plots.plot_early_stop, ("accuracy", [(0, 1.0, 0.0), (1, 1.0, 0.0)], 1, (1.0, 0.0))),
        (plots.plot_score, ("accuracy", {"train": [0.5, 0.9], "test": [0.4, 0.8]})),
        (plots.plot_score, ("accuracy", {"train": [1.0], "test": [1.0]})),
    ],
)
def test_it_opens(plot, data, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot(tmp_path / "plot.png", "a title", *data)
    picture = matplotlib.image.imread(tmp_path / "plot.png")
    assert min(picture.shape[:2]) > 400 and picture[..., :3].min() < 0.1 and picture[..., :3].max() == 1
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]


METHODS = [f"method_{index}" for index in range(14)]
LOW = {"static": [(4_100, 0.7437, 0.02), (28_000, 0.98, 0.0)], "dsr": [(4_100, 0.974, 0.001), (28_000, 0.98, 0.0)]}


def drawn(plot, *data) -> Figure:
    """The figure that a plot writes."""
    written = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "write", lambda figure, path: written.append(figure))
        plot(None, *data)
    (figure,) = written
    figure.savefig(io.BytesIO(), format="png", dpi=120)  # which lays it out
    return figure


@pytest.mark.parametrize(
    ("plot", "data"),
    [
        (plots.plot_tradeoff, ("accuracy", {name: [(1000, 0.9, 0.01), (99, 0.7, 0.1)] for name in METHODS})),
        (plots.plot_tradeoff, ("accuracy", {name: [(1000, 0.9, 0.01)] for name in METHODS})),
        (plots.plot_structure, ({name: {0.9: [0.3, 0.2], 0.98: [0.2, 0.0]} for name in METHODS},)),
        (plots.plot_early_stop, ("accuracy", EARLY, 60, (0.97, 0.002))),
        (plots.plot_score, ("accuracy", {"train": [0.5, 0.9], "test": [0.4, 0.8]})),
        (plots.plot_layers, ([f"stage_{index}/convolution/kernel" for index in range(9)], {0.9: [0.9] * 9})),
    ],
)
def test_title_legend_and_names_stand_apart(plot, data):
    figure = drawn(plot, "a title that says much of what is shown " * 4, *data)
    title = figure._suptitle.get_window_extent()
    boxes = [title, *(legend.get_window_extent() for legend in figure.legends)]
    boxes += [axes.get_tightbbox() for axes in figure.axes if axes.get_visible()]
    for one, other in itertools.combinations(boxes[: 1 + len(figure.legends)] + boxes[-1:], 2):
        assert not one.overlaps(other)
    whole = figure.bbox
    assert all(box.x0 >= -1 and box.x1 <= whole.x1 + 1 and box.y0 >= -1 and box.y1 <= whole.y1 + 1 for box in boxes)
    for axes in figure.axes:
        for names in (axes.get_xticklabels(), axes.get_yticklabels()):
            extents = [name.get_window_extent() for name in names if name.get_text() and not name.get_rotation()]
            assert not any(one.overlaps(other) for one, other in itertools.pairwise(extents))


@pytest.mark.parametrize("points", [LOW, {name: values[:1] for name, values in LOW.items()}, TRADEOFF])
def test_every_point_is_within_the_axes(points):
    figure = drawn(plots.plot_tradeoff, "a title", "accuracy", points)
    axes = figure.axes[0]
    lines = [line for line in axes.lines if line.get_marker() not in ("None", "|", "_", None)]
    assert sum(len(line.get_xdata()) for line in lines) >= sum(map(len, points.values()))
    for line in lines:
        for place in axes.transData.transform(line.get_xydata()):
            x, y = axes.transAxes.inverted().transform(place)
            assert 0.02 < x < 0.98 and 0.02 < y < 0.98


def test_lines_differ_in_color_and_in_marker():
    styles = [line_style(index) for index in range(14)]
    assert len({(style["color"], style["marker"]) for style in styles}) == 14
    for one, other in itertools.combinations(styles, 2):
        if one["color"] == other["color"]:
            assert one["marker"] != other["marker"] and one["linestyle"] != other["linestyle"]
