"""Showing that a run works: a bar while it trains, and a line for each epoch that takes its time."""

import time
from collections.abc import Sequence

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_EPOCHS = 2  # short epochs share a line: nobody reads sixty
SECONDS_BETWEEN_NOTES = 30


class ShowProgress(keras.callbacks.Callback):
    """Prints lines of metrics; in a terminal also a bar with the time left, elsewhere a note every half a minute, while
    the network is evaluated too.

    There is a line for each epoch, but for those that end within two seconds of the last line.

    List it last: it reads what the others put into the logs.

    Args:
        console: where to print.
        score: name of the figure by which the network is judged.
        epochs: int, the number of epochs of the run.
        steps: int, steps in an epoch.
        done: int, epochs that were complete before.
        test_batches: int, batches of the test set; None: not known.
    """

    def __init__(
        self, console: Console, score: str, epochs: int, steps: int, done: int = 0, test_batches: int | None = None
    ):
        super().__init__()
        self._console = console
        self._score = score
        self._epochs = epochs
        self._steps = steps
        self._done = done
        self._of_tests = f"/{test_batches}" if test_batches else ""

    def on_train_begin(self, logs=None):
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left:"))
        self._bar = Progress(
            *columns,
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        total = self._epochs * self._steps
        self._task = self._bar.add_task("starting", total=total, completed=self._done * self._steps)
        self._bar.start()
        self._began = self._noted = self._last_line = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        step = batch + 1
        description = f"epoch {self._epoch + 1}/{self._epochs}, step {step}/{self._steps}"
        self._bar.update(self._task, completed=self._epoch * self._steps + step, description=description)
        if not self._console.is_terminal and time.monotonic() - self._noted > SECONDS_BETWEEN_NOTES:
            self._note(f"{description}  loss {float(logs['loss']):.4f}")

    def on_test_batch_end(self, batch, logs=None):
        description = f"epoch {self._epoch + 1}/{self._epochs}, test batch {batch + 1}{self._of_tests}"
        self._bar.update(self._task, description=description)
        if not self._console.is_terminal and time.monotonic() - self._noted > SECONDS_BETWEEN_NOTES:
            self._note(description)

    def on_epoch_end(self, epoch, logs=None):
        last = epoch + 1 == self._epochs
        if time.monotonic() - self._last_line < SECONDS_BETWEEN_EPOCHS and not last:
            return
        self._last_line = time.monotonic()
        elapsed = time.monotonic() - self._began
        left = elapsed / (epoch + 1 - self._done) * (self._epochs - epoch - 1)
        line = (
            f"epoch {epoch + 1:>{len(str(self._epochs))}}/{self._epochs}  loss {logs['loss']:.4f}  "
            f"{f'train {logs[self._score]:.2%}  ' if self._score in logs else ''}test {logs[f'val_{self._score}']:.2%}"
        )
        if "dsd_phase" in logs:
            line += f"  {'sparse' if logs['dsd_phase'] % 2 else 'dense'} phase"
        if "dsr_pruned" in logs:
            line += f"  moved {logs['dsr_pruned']}"
        if "dsr_threshold" in logs:
            line += f"  H {logs['dsr_threshold']:.2g}"
        self._note(line if last else f"{line}  {_duration(left)} left")

    def on_train_end(self, logs=None):
        self.stop()

    def stop(self) -> None:
        """Give the terminal back, when training ends or fails."""
        self._bar.stop()

    def _note(self, line: str):
        self._noted = time.monotonic()
        self._console.print(line, highlight=False, soft_wrap=True)


class ShowRuns:
    """Shows how far several runs have come: a line for each that ends, in a terminal also a bar with the time left.

    Args:
        console: where to print.
        epochs: the number of epochs of each run.
    """

    def __init__(self, console: Console, epochs: Sequence[int]):
        self._console = console
        self._epochs = epochs
        self._done = [0] * len(epochs)
        self._ended = 0
        self._found = 0

    def __enter__(self):
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._bar = Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal, expand=False
        )
        self._task = self._bar.add_task(f"0 of {len(self._epochs)} runs", total=sum(self._epochs))
        self._bar.start()
        self._began = self._noted = time.monotonic()
        return self

    def __exit__(self, *error):
        self._bar.stop()

    def epochs_done(self, index: int, epochs: int) -> None:
        """A run has come to an epoch."""
        if self._done[index] == 0:  # it goes on from a checkpoint: what came before took none of our time
            self._found += epochs - 1
        self._done[index] = epochs
        self._bar.update(self._task, completed=sum(self._done), description=self._state())
        if not self._console.is_terminal and time.monotonic() - self._noted > SECONDS_BETWEEN_NOTES:
            self._note(self._state())

    def finished(self, index: int, result) -> None:
        """A run has ended, with a `Result`."""
        was_done = self._done[index] == 0
        self._done[index] = self._epochs[index]
        self._ended += 1
        if was_done:  # before this program began: it says nothing about the time that a run takes
            self._found += self._epochs[index]
        line = f"{result.name}  {result.test_score:.2%}{'  (was finished)' if was_done else ''}"
        self._note(f"{line}  {self._state()}" if self._ended < len(self._epochs) else line)
        self._bar.update(self._task, completed=sum(self._done), description=self._state())

    def _state(self) -> str:
        worked = sum(self._done) - self._found
        state = f"{self._ended} of {len(self._epochs)} runs"
        if not worked:
            return state
        left = (time.monotonic() - self._began) / worked * (sum(self._epochs) - sum(self._done))
        return f"{state}, {_duration(left)} left"

    def _note(self, line: str):
        self._noted = time.monotonic()
        self._console.print(line, highlight=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    """Seconds as `45 s`, `3 min 20 s` or `2 h 05 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
