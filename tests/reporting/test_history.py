"""What is read of a run, and of what `fit` returned."""

import math

import pytest

from keras_dsr.reporting.history import history_of_rows, rows_of_logs

no_backend = pytest.mark.backends("torch")  # no backend does any of it


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
def test_densities_that_were_logged_as_such():
    rows = [{"epoch": epoch, "density/a": 0.25 * epoch, "active/b": 2} for epoch in range(2)]
    assert history_of_rows(rows, {"a": 40, "b": 8, "c": 4}).densities == {"a": (0.0, 0.25), "b": (0.25, 0.25)}


@no_backend
@pytest.mark.parametrize(("given", "error"), [({}, ValueError), (3, TypeError)])
def test_no_history(given, error):
    with pytest.raises(error, match=r"report\(history=\.\.\.\)"):
        rows_of_logs(given)
