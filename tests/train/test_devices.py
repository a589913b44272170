"""`train.run` on several devices of one machine: `tf.distribute.MirroredStrategy`, or `DataParallel` on JAX."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from tests.helpers.run_folders import rows_of
from tests.helpers.runs import ROOT, assert_same_bits
from train.storage.checkpoint import read_progress

FLAGS = ["--epochs=2", "--batch_size=20", "--steps_per_epoch=30", "--period=36", "--seed=3"]


def run(out: Path, devices: int, *flags: str, module: tuple[str, ...] = ("train.run",)) -> tuple[int, str]:
    backend = keras.backend.backend()
    environment = {**os.environ, "KERAS_BACKEND": backend}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    within = [] if backend == "jax" else ["tests.train.on_devices", str(devices)]
    command = [sys.executable, "-m", *within, *module, f"--out={out}", f"--backend={backend}", f"--devices={devices}"]
    done = subprocess.run([*command, *FLAGS, *flags], cwd=ROOT, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.backends("tensorflow", "jax")
@pytest.mark.thorough
def test_two_devices_do_what_one_does_and_a_killed_run_resumes_to_the_same_bits(tmp_path):
    one, two, killed = (tmp_path / name for name in ("one", "two", "killed"))
    for out, devices in ((one, 1), (two, 2)):
        code, output = run(out, devices)
        assert code == 0 and "test accuracy" in output, output
        for row in rows_of(out):
            assert sum(int(value) for name, value in row.items() if name.startswith("active/")) == 1004
    alone, shared = rows_of(one), rows_of(two)
    assert int(alone[1]["dsr_reallocations"]) == 1 and alone[1]["dsr_pruned"] == shared[1]["dsr_pruned"]
    for row, other in zip(alone, shared, strict=True):
        assert float(row["loss"]) == pytest.approx(float(other["loss"]), rel=1e-3)

    normalizing = keras.models.load_model(two / "model.keras").layers
    assert any(isinstance(layer, keras.layers.BatchNormalization) for layer in normalizing)
    assert not any(getattr(layer, "synchronized", False) for layer in normalizing)  # so that it loads everywhere

    code, output = run(killed, 2, module=("tests.train.killed", "1"))
    assert code == -signal.SIGKILL, output
    assert read_progress(killed / "checkpoint").epochs == 1
    code, output = run(killed, 2, "--resume")
    assert code == 0, output
    assert_same_bits(two, killed)
