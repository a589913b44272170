"""What is read of a run, and of what `fit` returned."""

import json
import math
import shutil

import numpy as np
import pytest

from keras_dsr.reporting import report
from keras_dsr.reporting.history import history_of_rows, rows_of_logs
from keras_dsr.reporting.runs import read_run
from tests.helpers.networks import values

no_backend = pytest.mark.backends("tensorflow")  # no backend does any of it


@no_backend
def test_rows_by_hand():
    rows = [
        {"epoch": 0, "loss": 2.0, "dsr_threshold": 0.001, "dsr_pruned": 30, "dsr_reallocations": 3, "active/a": 10},
        {"epoch": 1, "loss": 1.0, "dsr_threshold": 0.002, "dsr_pruned": 0, "dsr_reallocations": 0, "active/a": 20},
    ]
    history = history_of_rows(rows, {"a": 40, "b": 8}, target=9.0)
    assert history.epochs == (1, 2)
    assert history.threshold == (0.001, 0.002)
    assert history.moved[0] == 10 and math.isnan(history.moved[1])
    assert history.densities == {"a": (0.25, 0.5)}
    assert history.scores == {"loss": (2.0, 1.0)}


def test_the_logs_of_fit(fitted):
    _, history = fitted
    rows = rows_of_logs(history)
    assert [row["epoch"] for row in rows] == [0, 1]
    read = history_of_rows(rows, {})
    assert read.threshold == tuple(history.history["dsr_threshold"])
    assert read.scores["val_accuracy"] == tuple(history.history["val_accuracy"])
    assert rows_of_logs(history.history) == rows


@no_backend
@pytest.mark.parametrize(("given", "error"), [({}, ValueError), (3, TypeError)])
def test_no_history(given, error):
    with pytest.raises(error, match=r"report\(history=\.\.\.\)"):
        rows_of_logs(given)


def test_a_run_has_the_masks_of_its_checkpoint(run):
    read = read_run(run)
    active = {name: count for name, count, _ in json.loads((run / "result.json").read_text())["layers"]}
    assert {name: int(mask.sum()) for name, mask in read.masks.items()} == active
    for variable in read.model.trainable_variables:
        if variable.path in read.masks:
            assert not np.any(values(variable)[~read.masks[variable.path]])
    assert len(read.rows) == 2 and read.settings["method"] == "dsr"


def test_a_run_without_a_checkpoint_has_no_masks(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "checkpoint").unlink()
    assert read_run(tmp_path / "run").masks is None
    (tmp_path / "run" / "checkpoint").write_bytes(b"damaged")
    assert read_run(tmp_path / "run").masks is None


@no_backend
@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("metrics.csv", "epoch,loss\n0,1.5\n1\n", "not one number for each column"),
        ("metrics.csv", "epoch,loss\n0,none\n", "not one number for each column"),
        ("metrics.csv", "", "at least one row.*Remove it and result.json: the command of the run with --resume writes"),
        ("metrics.csv", "epoch,loss\n0,1\n", "metrics.csv of .*it has 1 rows, and result.json the scores of 2 epochs"),
        ("metrics.csv", "epoch,loss\n0,1\0\n", "not one number for each column"),
        ("metrics.csv", "epoch,loss\n0," + "1" * 200_000, "not one number for each column"),
        ("result.json", "{", "result.json of the run .* is damaged"),
        ("result.json", "{}", "it has no 'test_score', 'layers'"),
        ("config.json", "[]", "it has no 'settings'"),
        ("model.keras", "half", "model.keras of the run .* is damaged"),
        ("model.keras", None, "it has no model.keras. Finish it with --resume"),
        ("config.json", None, "is no run: it has no config.json"),
    ],
)
def test_a_damaged_run_is_refused(run, tmp_path, name, content, text):
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("tensorboard", "saved_model"))
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=text):
        report(folder, tmp_path / "report.html")
    assert not list(tmp_path.glob("*.html"))
