"""Who waits for many runs reads which have ended, how many are left, and for how long."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from train.callbacks.progress import ShowProgress, ShowRuns, _duration
from train.results.results import Result

pytestmark = pytest.mark.backends("tensorflow")


def result(name, accuracy=0.975) -> Result:
    return Result(Path(name), name, "accuracy", accuracy, 1004, 50_200, 1824, 15_000, (accuracy,), (0.0,), ())


def shown(events, epochs=(2, 2, 4)) -> list[str]:
    """The lines that are printed outside of a terminal."""
    console = Console(file=io.StringIO(), width=40)
    with ShowRuns(console, epochs) as show:
        for method, *arguments in events:
            getattr(show, method)(*arguments)
    return console.file.getvalue().splitlines()


def test_a_line_for_each_run_with_the_time_left():
    lines = shown(
        [
            ("epochs_done", 0, 1),
            ("epochs_done", 0, 2),
            ("finished", 0, result("dense-seed0")),
            ("epochs_done", 2, 4),
            ("finished", 2, result("static-0.98-seed0", 0.5)),
            ("epochs_done", 1, 2),
            ("finished", 1, result("dsr-0.98-seed0", 1.0)),
        ]
    )
    assert lines == [
        "dense-seed0  97.50%  1 of 3 runs, 0 s left",
        "static-0.98-seed0  50.00%  2 of 3 runs, 0 s left",
        "dsr-0.98-seed0  100.00%",
    ]


def test_runs_that_were_finished_before_are_said_to_be_and_say_nothing_about_time():
    lines = shown([("finished", 1, result("dense-seed0")), ("finished", 0, result("dsr-0.98-seed0"))])
    assert lines == [
        "dense-seed0  97.50%  (was finished)  1 of 3 runs",
        "dsr-0.98-seed0  97.50%  (was finished)  2 of 3 runs",
    ]


def test_the_time_left_is_that_of_the_epochs_left(monkeypatch):
    clock = iter([100.0, *[160.0] * 20])  # begins at 100 s; four epochs are done at 160 s
    monkeypatch.setattr("train.callbacks.progress.time.monotonic", lambda: next(clock))
    epochs = [("epochs_done", run, epoch) for run in (2, 0) for epoch in (1, 2)]
    assert shown([*epochs, ("finished", 0, result("dense-seed0"))])[-1].endswith("1 of 3 runs, 1 min 00 s left")


def test_epochs_from_before_a_restart_say_nothing_about_time(monkeypatch):
    clock = iter([100.0, *[160.0] * 20])  # in a minute the third of four epochs, two were done before
    monkeypatch.setattr("train.callbacks.progress.time.monotonic", lambda: next(clock))
    assert shown([("epochs_done", 0, 3)], epochs=(4,)) == ["0 of 1 runs, 1 min 00 s left"]


def test_a_long_time_between_ends_is_no_silence(monkeypatch):
    clock = iter([0.0, *[31.0] * 20])
    monkeypatch.setattr("train.callbacks.progress.time.monotonic", lambda: next(clock))
    assert shown([("epochs_done", 0, 1), ("epochs_done", 0, 2)]) == ["0 of 3 runs, 3 min 37 s left"]


def test_a_terminal_gets_a_bar():
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with ShowRuns(console, [1, 1]) as show:
        show.epochs_done(0, 1)
        show.finished(0, result("dense-seed0"))
    assert "1 of 2 runs" in console.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.9, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations(seconds, text):
    assert _duration(seconds) == text


def test_an_evaluation_that_takes_long_is_seen_and_the_line_of_its_epoch_too(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("train.callbacks.progress.time.monotonic", lambda: clock[0])
    console = Console(file=io.StringIO(), width=80)
    show = ShowProgress(console, "accuracy", epochs=2, steps=3, test_batches=4)
    show.on_train_begin()
    show.on_epoch_begin(0)
    for batch in range(4):
        clock[0] += 16
        show.on_test_batch_end(batch)
    show.on_epoch_end(0, {"loss": 0.5, "accuracy": 0.9, "val_accuracy": 0.8})
    show.stop()
    assert console.file.getvalue().splitlines() == [
        "epoch 1/2, test batch 2/4",
        "epoch 1/2, test batch 4/4",
        "epoch 1/2  loss 0.5000  train 90.00%  test 80.00%  1 min 04 s left",
    ]
