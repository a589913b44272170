"""The analysis of a dense run, by the program."""

import csv
import re

import matplotlib.image
import pytest
from rich.console import Console

from train.experiment.settings import Settings
from train.run import train
from train.sensitivity import analyse

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def dense_run(tmp_path_factory):
    return train(Settings(method="dense", epochs=2, out=str(tmp_path_factory.mktemp("dense") / "run")))


def test_the_layers_are_analysed_and_the_network_is_cut_as_they_bear(dense_run, tmp_path, capsys):
    folder = tmp_path / "analysis"
    folder.mkdir()
    console = Console(width=120)
    report, scores = analyse(str(dense_run.folder), [0.5, 0.9], 0.02, None, None, str(folder), console)
    assert report.baseline == pytest.approx(dense_run.test_score)
    assert sorted(path.name for path in folder.iterdir()) == ["sensitivity.csv", "sensitivity.png"]
    assert matplotlib.image.imread(folder / "sensitivity.png").ndim == 3
    with open(folder / "sensitivity.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["weight"], float(row["sparsity"])) for row in rows] == [
        (weight.name, sparsity) for weight in report.rows for sparsity in (0, 0.5, 0.9)
    ]
    assert float(rows[1]["accuracy"]) == report.rows[0].values[0]

    assert scores["dense"] == (0, report.baseline)
    assert 0 < scores["chosen"][0] < 0.9
    assert scores["uniform"][0] == pytest.approx(scores["chosen"][0], abs=1e-4)
    shown = capsys.readouterr().out
    assert "Evaluated on all examples of the test set of digits." in shown
    assert re.search(rf"chosen .* {scores['chosen'][0]:.2%} .* {scores['chosen'][1]:.4f}", shown)


def test_it_takes_the_first_examples_and_writes_into_the_folder_of_the_run(dense_run, capsys):
    report, _ = analyse(str(dense_run.folder), [0.5], 0.1, 100, None, None, Console(width=120))
    assert (100 * report.baseline) == pytest.approx(round(100 * report.baseline), abs=1e-3)
    assert (dense_run.folder / "sensitivity.png").exists()
    assert "the first 100 examples of the test set of digits" in capsys.readouterr().out


def test_what_cannot_be_analysed_is_refused(dense_run, tmp_path):
    quiet = Console(quiet=True)
    with pytest.raises(FileNotFoundError, match=r"--run=.* holds no run"):
        analyse(str(tmp_path), [0.5], 0.1, None, None, None, quiet)
    with pytest.raises(FileNotFoundError, match=r"--out=.* is no folder"):
        analyse(str(dense_run.folder), [0.5], 0.1, None, None, str(tmp_path / "none"), quiet)
    settings = (dense_run.folder / "config.json").read_text()
    (tmp_path / "config.json").write_text(settings.replace('"method": "dense"', '"method": "dsr"'))
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(ValueError, match=r"--run=.* is a run of --method=dsr, sparse already"):
        analyse(str(tmp_path), [0.5], 0.1, None, None, None, quiet)
