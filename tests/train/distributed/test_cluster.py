"""Several processes that train together do what one does, leave one folder, and none goes on without the others."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.helpers.run_folders import contents, rows_of
from tests.helpers.runs import assert_same_bits
from train.data.batch_shard import Part
from train.data.in_memory import digits
from train.data.tasks import classification
from train.distributed.cluster import Cluster, joined
from train.storage.checkpoint import read_progress

ROOT = Path(__file__).parents[3]
FLAGS = ["--backend=jax", "--epochs=2", "--batch_size=20", "--steps_per_epoch=30", "--period=36", "--seed=3"]
DEVICES_EACH = 2


def start(
    out: Path,
    *flags: str,
    killed_in: dict[int, int] | None = None,
    seeds: tuple[int, int] = (3, 3),
    program: str = "train.run",
) -> list[subprocess.Popen]:
    """Two processes with two devices each; some to be killed in the middle of an epoch, counted from 0."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    host_devices = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES_EACH}"
    environment = {**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": host_devices}
    started = []
    for index in range(2):
        epoch = (killed_in or {}).get(index)
        module = [program] if epoch is None else ["tests.train.killed", str(epoch)]
        command = [sys.executable, "-m", *module, f"--out={out}", *FLAGS, *flags]
        command += [f"--seed={seeds[index]}", f"--coordinator={address}", "--num_processes=2", f"--process_id={index}"]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment, **streams))
    return started


def ends(processes: list[subprocess.Popen]) -> list[tuple[int, str]]:
    """The exit code and the output of each."""
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    return [(process.returncode, output) for process, output in zip(processes, outputs)]


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> tuple[Path, list[str]]:
    """The folder of a run of two processes, and what each says of the bits that its devices hold."""
    out = tmp_path_factory.mktemp("together") / "run"
    (first, shown), (second, silent) = ends(start(out, program="tests.train.telling"))
    assert first == 0 and "test accuracy" in shown, shown
    assert second == 0 and "accuracy" not in silent, silent
    digests = [line for output in (shown, silent) for line in output.splitlines() if line.startswith("digest ")]
    return out, digests


@pytest.fixture
def together(told) -> Path:
    return told[0]


@pytest.mark.backends("jax")
def test_two_processes_leave_one_folder_with_everything_in_it(together):
    assert {"model.keras", "checkpoint", "result.json", "metrics.csv"} <= {path.name for path in together.iterdir()}
    for row in rows_of(together):
        assert sum(int(value) for name, value in row.items() if name.startswith("active/")) == 1004
    model = keras.models.load_model(together / "model.keras")
    correct = np.concatenate([model.predict(x, verbose=0).argmax(-1) == y for x, y in digits().test()])
    # 357 examples fill no whole number of batches for 4 devices: the score counts each of them once all the same.
    assert correct.mean() == pytest.approx(float(rows_of(together)[-1]["val_accuracy"]), abs=1e-6)


@pytest.mark.backends("jax")
def test_two_processes_do_what_one_does(together, tmp_path):
    """The same batches, so the same weights but for rounding, until a decision lies within that of its edge."""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    command = [sys.executable, "-m", "train.run", *FLAGS, f"--out={tmp_path}/alone"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    alone, shared = rows_of(tmp_path / "alone"), rows_of(together)
    assert int(alone[1]["dsr_reallocations"]) == 1 and alone[1]["dsr_pruned"] == shared[1]["dsr_pruned"]
    assert float(alone[0]["loss"]) == pytest.approx(float(shared[0]["loss"]), rel=1e-3)
    assert float(alone[0]["val_loss"]) == pytest.approx(float(shared[0]["val_loss"]), rel=1e-2)


@pytest.mark.thorough
@pytest.mark.backends("jax")
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_stops_the_others_and_all_resume_to_the_same_bits(together, tmp_path, killed):
    out = tmp_path / "run"
    found = ends(start(out, killed_in={killed: 1}))
    assert found[killed][0] == -signal.SIGKILL
    code, output = found[1 - killed]
    assert code == 1 and f"process {killed} has ended, or cannot be reached" in output, output
    assert "--resume" in output and "Traceback" not in output, output
    assert read_progress(out / "checkpoint").epochs == 1 and not (out / "result.json").exists()
    for code, output in ends(start(out, "--resume")):
        assert code == 0, output
    assert_same_bits(together, out)


@pytest.mark.backends("jax")
def test_every_device_of_every_process_holds_the_same_bits(told):
    _, digests = told
    assert len(digests) == 2 * DEVICES_EACH
    assert len(set(digests)) == 1


@pytest.mark.thorough
@pytest.mark.backends("jax")
def test_processes_that_are_told_different_things_do_not_train(tmp_path):
    found = ends(start(tmp_path / "run", seeds=(3, 4)))
    assert [code for code, _ in found] == [1, 1]
    for _, output in found:
        assert "the same flags but --process_id" in output and "seed=3" in output and "seed=4" in output, output
        assert "Traceback" not in output, output
    assert not (tmp_path / "run").exists()


@pytest.mark.thorough
@pytest.mark.backends("jax")
def test_what_one_process_may_not_do_none_does(together):
    before = contents(together)
    (first, of_first), (second, of_second) = ends(start(together))
    assert first == second == 1
    assert "holds a run already" in of_first and "Traceback" not in of_first
    assert "process 0 stopped: error: --out=" in of_second and "Traceback" not in of_second
    assert contents(together) == before


def test_batches_and_tasks_that_cannot_be_shared_are_refused():
    four = Cluster(processes=2, devices=4)
    four.check(20, classification(10))
    with pytest.raises(ValueError, match="--batch_size must be a multiple of 4, the number of devices.*=22"):
        four.check(22, classification(10))
    assert Cluster(processes=2, index=1).part == Part(1, 2) and not Cluster(processes=2, index=1).writes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"devices": 0}, "--devices must be at least 1. Received: --devices=0"),
        ({"coordinator": "here:1"}, "--num_processes must be given.*Received: --num_processes=None"),
        ({"coordinator": "here", "num_processes": 2, "process_id": 0}, "--coordinator must be host:port"),
        ({"coordinator": "here:1", "num_processes": 2, "process_id": 2}, "--process_id must be from 0 to 1"),
        ({"coordinator": "here:1", "num_processes": 0, "process_id": 0}, "--num_processes must be at least 1"),
        ({"coordinator": "a:1", "num_processes": 2, "process_id": 0, "devices": 1}, "--devices must be left out"),
    ],
)
def test_what_no_cluster_can_be_is_refused(given, message):
    with pytest.raises(ValueError, match=message), joined(**given):
        pass


@pytest.mark.backends("torch", "tensorflow")
def test_several_processes_need_jax():
    with (
        pytest.raises(ValueError, match=r"trains in several processes on jax.*Pass --backend=jax"),
        joined(coordinator="here:1", num_processes=2, process_id=0),
    ):
        pass


def test_more_devices_than_there_are_are_refused():
    there = "1 on torch" if keras.backend.backend() == "torch" else "at most [0-9]+, the devices of this machine"
    with pytest.raises(ValueError, match=f"--devices must be {there}"), joined(devices=99):
        pass
