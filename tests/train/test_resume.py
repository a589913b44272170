"""A run that is killed in mid-epoch and resumed ends with the same bits as one that was not."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from train.checkpoint import read_progress

ROOT = Path(__file__).parents[2]
LENET = ["--epochs=4", "--batch_size=2", "--steps_per_epoch=360"]
WIDE_RESNET = ["--model=wide_resnet", "--dataset=digits", "--recipe=wide_resnet_cifar10", "--depth=10", "--width=1"]
WIDE_RESNET += ["--target=0.1", "--epochs=4", "--batch_size=10"]


def start(out: Path, *flags: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "train.run", "--method=dsr", "--seed=3", f"--out={out}", *flags]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def kill_in_mid_epoch(process: subprocess.Popen, out: Path, epochs: int) -> None:
    """SIGKILL when a third of the epoch after the first `epochs` is over."""
    ends, written = [], None
    while len(ends) < epochs + 1:  # the first checkpoint is written before the first epoch
        assert process.poll() is None, process.stdout.read()
        latest = (out / "checkpoint").stat().st_mtime_ns if (out / "checkpoint").exists() else None
        if latest != written:
            written = latest
            ends.append(time.monotonic())
        time.sleep(0.01)
    time.sleep((ends[-1] - ends[-2]) / 3)
    process.kill()
    process.communicate()


@pytest.mark.parametrize("flags", [LENET, WIDE_RESNET], ids=["lenet_300_100", "wide_resnet"])
def test_sigkill_in_mid_epoch_changes_no_bit(flags, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    unharmed = start(whole, *flags)  # at the same time: how fast they run must not matter
    kill_in_mid_epoch(start(killed, *flags), killed, epochs=2)
    assert read_progress(killed / "checkpoint").epochs == 2, "killed in the third epoch, or this test tests nothing"
    assert not (killed / "result.json").exists()

    assert "from epoch 3" in finish(start(killed, *flags, "--resume"))
    finish(unharmed)
    assert (killed / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()

    with np.load(whole / "checkpoint") as expected, np.load(killed / "checkpoint") as found:
        assert expected.files == found.files
        for name in expected.files:  # weights, masks, thresholds, batch statistics, momenta, the step, and the rows
            assert expected[name].tobytes() == found[name].tobytes(), name
