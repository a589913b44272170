"""Runs of train.run in processes of their own, and whether two ended with the same bits."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

ROOT = Path(__file__).parents[2]


def start(out: Path, *flags: str, module: tuple[str, ...] = ("train.run",)) -> subprocess.Popen:
    command = [sys.executable, "-m", *module, "--seed=3", f"--out={out}", *flags]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def assert_same_bits(whole: Path, killed: Path) -> None:
    """Of weights, masks, thresholds, batch statistics, momenta, the step, and the rows of metrics."""
    assert (killed / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    with np.load(whole / "checkpoint") as expected, np.load(killed / "checkpoint") as found:
        assert expected.files == found.files
        for name in expected.files:
            assert expected[name].tobytes() == found[name].tobytes(), name


class Interrupt(keras.callbacks.Callback):
    """Stops a run in the middle of its second epoch, as Ctrl-C does."""

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if self._epoch == 1 and batch > 0:
            raise KeyboardInterrupt
