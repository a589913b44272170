"""Every plot is a picture that opens, also of one point, and where all values are the same."""

import warnings

import matplotlib.image
import pytest

from train.results import plots

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
