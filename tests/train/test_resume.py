"""A run that is killed in mid-epoch and resumed ends with the same bits as one that was not."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.train.folders import rows_of
from train.checkpoint import read_progress

ROOT = Path(__file__).parents[2]
LENET = ["--epochs=4", "--batch_size=2", "--steps_per_epoch=360"]
WIDE_RESNET = ["--model=wide_resnet", "--dataset=digits", "--recipe=wide_resnet_cifar10", "--depth=10", "--width=1"]
WIDE_RESNET += ["--target=0.1", "--epochs=4", "--batch_size=10"]


def start(out: Path, *flags: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "train.run", "--seed=3", f"--out={out}", *flags]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def kill_in_mid_epoch(process: subprocess.Popen, out: Path, epochs: int, length: float | None = None) -> float:
    """SIGKILL when a third of the epoch after the first `epochs` is over; the seconds that an epoch took.

    Args:
        length: what it took before; None: measure it.
    """
    began = None
    while (done := complete_epochs(out)) < epochs:
        assert process.poll() is None, process.stdout.read()
        if done == epochs - 1 and began is None:
            began = time.monotonic()
        time.sleep(0.01)
    length = length or time.monotonic() - began
    time.sleep(length / 3)
    process.kill()
    process.communicate()
    assert complete_epochs(out) == epochs, "killed in another epoch, so this test tests nothing"
    assert not (out / "result.json").exists()
    return length


def complete_epochs(out: Path) -> int:
    return read_progress(out / "checkpoint").epochs if (out / "checkpoint").exists() else -1


def assert_same_bits(whole: Path, killed: Path) -> None:
    """Of weights, masks, thresholds, batch statistics, momenta, the step, and the rows of metrics."""
    assert (killed / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    with np.load(whole / "checkpoint") as expected, np.load(killed / "checkpoint") as found:
        assert expected.files == found.files
        for name in expected.files:
            assert expected[name].tobytes() == found[name].tobytes(), name


@pytest.mark.parametrize("flags", [LENET, WIDE_RESNET], ids=["lenet_300_100", "wide_resnet"])
def test_sigkill_in_mid_epoch_changes_no_bit(flags, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    unharmed = start(whole, "--method=dsr", *flags)  # at the same time: how fast they run must not matter
    kill_in_mid_epoch(start(killed, "--method=dsr", *flags), killed, epochs=2)
    assert "from epoch 3" in finish(start(killed, "--method=dsr", *flags, "--resume"))
    finish(unharmed)
    assert_same_bits(whole, killed)


def test_sigkill_in_each_phase_of_dsd_changes_no_bit(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    flags = ["--method=dsd", *LENET, "--epochs=8"]
    unharmed = start(whole, *flags)
    length = kill_in_mid_epoch(start(killed, *flags), killed, epochs=2)
    for epochs in (5, 7):
        kill_in_mid_epoch(start(killed, *flags, "--resume"), killed, epochs, length)
    assert "from epoch 8" in finish(start(killed, *flags, "--resume"))
    finish(unharmed)
    assert [row["dsd_phase"] for row in rows_of(killed)] == ["0"] * 4 + ["1"] * 2 + ["2"] * 2
    assert_same_bits(whole, killed)
