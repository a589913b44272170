"""The tables of a comparison say what its runs have."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from train.compare import Entry
from train.experiment.settings import Settings, resolve
from train.results import comparison
from train.results.results import Result

pytestmark = pytest.mark.once

SCORES = {
    ("dense", 0.0): [0.98, 0.97, 0.99],
    ("dsr", 0.9): [0.97, 0.975, 0.985],
    ("dsr", 0.5): [0.985, 0.98, 0.995],
    ("static", 0.9): [0.5, 0.6, 0.4],
}


def finished(method: str, sparsity: float, seed: int, scores: list[float]) -> tuple[Entry, Result]:
    """A run, and what came out of it, by epoch."""
    settings, _ = resolve(Settings(method=method, sparsity=sparsity, seed=seed, epochs=len(scores)))
    rows = (("dense/kernel", 5, 10),) if sparsity else ()
    changed = (0.1,) * len(scores) if sparsity else ()
    values = (100, 5_000, 300, 20_000, tuple(scores), changed, rows)
    return Entry(method, settings), Result(Path(settings.name), settings.name, "accuracy", scores[-1], *values)


def written(tmp_path, against, scores=SCORES) -> tuple[list[list[str]], str]:
    """The cells of the last table that is written, and what is printed."""
    pairs = [
        finished(method, sparsity, seed, np.atleast_1d(score).tolist())
        for (method, sparsity), members in scores.items()
        for seed, score in enumerate(members)
    ]
    console = Console(file=io.StringIO(), width=80)
    comparison.write(tmp_path, *zip(*pairs), console, against)
    *_, table = (tmp_path / "table.md").read_text().split("\n\n")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()]
    return cells, console.file.getvalue()


HEADER = ["method", "sparsity", "against", "difference", "error", "p", "pairs"]


def test_methods_are_compared_seed_by_seed(tmp_path):
    (header, _, *rows), printed = written(tmp_path, "dense")
    assert header == HEADER
    rows = [row for row in rows if row[2] == "dense"]
    assert [row[:2] for row in rows] == [["dsr", "0.9"], ["dsr", "0.5"], ["static", "0.9"]]
    for method, sparsity, _, difference, error, chance, pairs in rows:
        differences = 100 * np.subtract(SCORES[method, float(sparsity)], SCORES["dense", 0.0])
        assert float(difference) == pytest.approx(differences.mean(), abs=0.006)
        assert float(error) == pytest.approx(differences.std(ddof=1) / 3**0.5, abs=0.006)
        t = differences.mean() / (differences.std(ddof=1) / 3**0.5)
        assert float(chance) == pytest.approx(2 * stats.t.sf(abs(t), df=2), rel=0.06) and pairs == "3"
        assert difference in printed
    assert "in pairs of seeds" in printed


def test_a_method_of_the_same_sparsity_is_compared_where_there_is_one(tmp_path):
    (_, _, *rows), _ = written(tmp_path, "dsr")
    assert [row[:3] for row in rows] == [["static", "0.9", "dsr"], ["static", "0.9", "dsr, best epoch"]]  # not dense
    assert rows[0][3] == "-47.67"


def test_one_run_of_each_has_no_deviation(tmp_path):
    (_, _, row, _), _ = written(tmp_path, "dense", {("dense", 0.0): [[0.5]], ("static", 0.9): [[0.25]]})
    assert row == ["static", "0.9", "dense", "-25.00", "", "", "1"]


def test_dsd_is_compared_with_its_first_phase_and_with_the_best_epoch_of_others(tmp_path):
    scores = {("dense", 0.0): [[0.5, 0.9, 0.7, 0.6]], ("dsd", 0.5): [[0.3, 0.4, 0.2, 0.8]]}
    (_, _, *rows), _ = written(tmp_path, "dense", scores)  # of 4 epochs the first two are its first phase
    assert [row[2:4] for row in rows] == [
        ["dense", "+20.00"],
        ["dense, best epoch", "-10.00"],
        ["its first phase", "+40.00"],
    ]


def test_without_it_there_is_no_such_table(tmp_path):
    (header, *_), printed = written(tmp_path, None)
    assert "difference" not in header and "in pairs of seeds" not in printed
