"""A run that is killed in mid-epoch and resumed ends with the same bits as one that was not."""

import signal
from pathlib import Path

import pytest

from tests.helpers.run_folders import rows_of
from tests.helpers.runs import assert_same_bits, finish, start
from train.storage.checkpoint import read_progress

LENET = ["--epochs=4", "--batch_size=10", "--steps_per_epoch=72"]
WIDE_RESNET = ["--model=wide_resnet", "--dataset=digits", "--recipe=wide_resnet_cifar10", "--depth=10", "--width=1"]
WIDE_RESNET += ["--target=0.1", "--epochs=4", "--batch_size=20", "--steps_per_epoch=40"]


def killed_in(epoch: int, out: Path, *flags: str) -> None:
    """A run up to the middle of an epoch, counted from 0, where it gets a SIGKILL."""
    process = start(out, *flags, module=("tests.train.killed", str(epoch)))
    output, _ = process.communicate(timeout=600)
    assert process.returncode == -signal.SIGKILL, output
    assert read_progress(out / "checkpoint").epochs == epoch
    assert not (out / "result.json").exists()


@pytest.mark.thorough  # an interruption of another kind is tested for each method
@pytest.mark.parametrize(
    "flags", [pytest.param(LENET, id="lenet_300_100"), pytest.param(WIDE_RESNET, id="wide_resnet")]
)
def test_sigkill_in_mid_epoch_changes_no_bit(flags, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    unharmed = start(whole, "--method=dsr", *flags)  # at the same time: how fast they run must not matter
    killed_in(2, killed, "--method=dsr", *flags)
    assert "from epoch 3" in finish(start(killed, "--method=dsr", *flags, "--resume"))
    finish(unharmed)
    assert_same_bits(whole, killed)


@pytest.mark.thorough
def test_sigkill_in_each_phase_of_dsd_changes_no_bit(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    flags = ["--method=dsd", *LENET, "--epochs=8"]
    unharmed = start(whole, *flags)
    killed_in(2, killed, *flags)
    for epoch in (5, 7):
        killed_in(epoch, killed, *flags, "--resume")
    assert "from epoch 8" in finish(start(killed, *flags, "--resume"))
    finish(unharmed)
    assert [row["dsd_phase"] for row in rows_of(killed)] == ["0"] * 4 + ["1"] * 2 + ["2"] * 2
    assert_same_bits(whole, killed)
