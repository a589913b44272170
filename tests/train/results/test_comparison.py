"""The tables of a comparison say what its runs have."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from train.compare import Entry
from train.experiment.settings import Settings
from train.results import comparison
from train.results.results import Result

pytestmark = pytest.mark.once

SCORES = {
    ("dense", 0.0): [0.98, 0.97, 0.99],
    ("dsr", 0.9): [0.97, 0.975, 0.985],
    ("dsr", 0.5): [0.985, 0.98, 0.995],
    ("static", 0.9): [0.5, 0.6, 0.4],
}


def finished(method: str, sparsity: float, seed: int, score: float) -> tuple[Entry, Result]:
    """A run, and what came out of it."""
    settings = Settings(model="lenet_300_100", dataset="digits", method=method, sparsity=sparsity, seed=seed, epochs=1)
    rows = (("dense/kernel", 5, 10),) if sparsity else ()
    changed = (0.1,) if sparsity else ()
    values = (100, 5_000, 300, 20_000, (score,), changed, rows)
    return Entry(method, settings), Result(Path(settings.name), settings.name, "accuracy", score, *values)


def written(tmp_path, against, scores=SCORES) -> tuple[list[list[str]], str]:
    """The cells of the last table that is written, and what is printed."""
    pairs = [
        finished(method, sparsity, seed, score)
        for (method, sparsity), members in scores.items()
        for seed, score in enumerate(members)
    ]
    console = Console(file=io.StringIO(), width=80)
    comparison.write(tmp_path, *zip(*pairs), console, against)
    *_, table = (tmp_path / "table.md").read_text().split("\n\n")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()]
    return cells, console.file.getvalue()


def test_methods_are_compared_seed_by_seed(tmp_path):
    (header, _, *rows), printed = written(tmp_path, "dense")
    assert header == ["method", "sparsity", "difference", "standard error", "p (paired t-test)", "pairs"]
    assert [row[:2] for row in rows] == [["dsr", "0.9"], ["dsr", "0.5"], ["static", "0.9"]]
    for method, sparsity, difference, error, chance, pairs in rows:
        differences = 100 * np.subtract(SCORES[method, float(sparsity)], SCORES["dense", 0.0])
        assert float(difference) == pytest.approx(differences.mean(), abs=0.006)
        assert float(error) == pytest.approx(differences.std(ddof=1) / 3**0.5, abs=0.006)
        t = differences.mean() / (differences.std(ddof=1) / 3**0.5)
        assert float(chance) == pytest.approx(2 * stats.t.sf(abs(t), df=2), rel=0.06) and pairs == "3"
        assert difference in printed
    assert "minus that of dense" in printed


def test_a_method_of_the_same_sparsity_is_compared_where_there_is_one(tmp_path):
    (_, _, *rows), _ = written(tmp_path, "dsr")
    assert [row[:2] for row in rows] == [
        ["static", "0.9"]
    ]  # which sparsity of DSR a dense network is beside is not clear
    assert rows[0][2] == "-47.67"


def test_one_run_of_each_has_no_deviation(tmp_path):
    (_, _, row), _ = written(tmp_path, "dense", {("dense", 0.0): [0.5], ("static", 0.9): [0.25]})
    assert row == ["static", "0.9", "-25.00", "", "", "1"]


def test_without_it_there_is_no_such_table(tmp_path):
    (header, *_), printed = written(tmp_path, None)
    assert "difference" not in header and "minus" not in printed
