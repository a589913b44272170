"""Two programs on one folder exclude each other, and a killed one holds nothing."""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.helpers.run_folders import contents
from train.experiment.settings import Settings
from train.run import execute, prepare, train
from train.sensitivity import analyse
from train.storage import lock
from train.storage.lock import held

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[3]
HOLD = """
import sys
from train.storage.lock import held
with held(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds `tmp_path / "run"` until its input ends."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def in_use(folder, process):
    return (
        f"--out={folder} is in use by process {process.pid}: only one program at a time writes to a folder. Wait until "
        "that one has ended, or stop it, or pass another --out."
    )


def test_a_folder_is_held_by_one_process_and_free_when_it_ends(holder, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(BlockingIOError) as raised, held(folder):
        pass
    assert str(raised.value) == in_use(folder, holder)
    holder.communicate(b"")
    assert not folder.exists()  # nothing was written
    with held(folder):
        assert (folder / lock.NAME).read_text() == f"{os.getpid()} {socket.gethostname()}"


def test_a_killed_process_holds_nothing(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / lock.NAME).read_text().split()[0] == str(holder.pid)
    result = train(Settings(epochs=1, steps_per_epoch=2, out=str(tmp_path / "run")))
    assert result.folder == tmp_path / "run" and not (tmp_path / "run" / lock.NAME).exists()


def test_a_link_to_a_folder_is_the_same_folder(holder, tmp_path):
    (tmp_path / "link").symlink_to("run")
    with pytest.raises(BlockingIOError, match=f"link is in use by process {holder.pid}:"), held(tmp_path / "link"):
        pass


def test_another_machine_is_named(holder, tmp_path):
    (tmp_path / "run" / lock.NAME).write_text("12 far.away")
    with pytest.raises(BlockingIOError, match="is in use by process 12 on far.away:"), held(tmp_path / "run"):
        pass
    (tmp_path / "run" / lock.NAME).write_text("")
    with pytest.raises(BlockingIOError, match="is in use by another process:"), held(tmp_path / "run"):
        pass


def test_folders_that_were_made_for_the_lock_go_with_it_and_others_stay(tmp_path):
    (tmp_path / "old").mkdir()
    with pytest.raises(TypeError), held(tmp_path / "old" / "new" / "newer"):
        raise TypeError
    assert list(tmp_path.rglob("*")) == [tmp_path / "old"]
    with held(tmp_path / "old" / "new"):
        (tmp_path / "old" / "new" / "it").write_text("")
    assert [path.name for path in (tmp_path / "old").rglob("*")] == ["new", "it"]


def test_where_there_are_no_locks_programs_run_all_the_same(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    with held(tmp_path / "run"), held(tmp_path / "run"):
        (tmp_path / "run" / "it").write_text("")
    monkeypatch.setattr(lock, "fcntl", None)
    with held(tmp_path / "run"), held(tmp_path / "run"):
        pass
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["it"]


def test_every_program_keeps_off_a_folder_in_use(holder, finished, tmp_path):
    folder = tmp_path / "run"
    before = contents(folder)
    with pytest.raises(BlockingIOError) as raised:
        train(dataclasses.replace(finished[0], out=str(folder), overwrite=True))
    assert str(raised.value) == in_use(folder, holder)
    command = [sys.executable, "-m", "train.compare", f"--out={folder}", "--epochs=1", "--overwrite"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and f"error: {in_use(folder, holder)}" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert contents(folder) == before


def test_what_another_program_wrote_after_the_check_is_not_overwritten(tmp_path):
    settings = Settings(epochs=1, steps_per_epoch=2, out=str(tmp_path / "run"))
    run = prepare(settings)
    train(settings)
    before = contents(tmp_path / "run")
    with pytest.raises(FileExistsError, match="holds a run already. Pass --resume"):
        execute(run, Console(quiet=True))
    assert contents(tmp_path / "run") == before


def test_an_analysis_keeps_off_a_folder_in_use(holder, tmp_path):
    dense = train(Settings(method="dense", epochs=1, steps_per_epoch=2, out=str(tmp_path / "dense"))).folder
    arguments = {"sparsities": [0.5], "max_drop": 0.1, "examples": 10, "data_dir": None, "console": Console(quiet=True)}
    with pytest.raises(BlockingIOError) as raised:
        analyse(str(dense), out=str(tmp_path / "run"), **arguments)
    assert str(raised.value) == in_use(tmp_path / "run", holder)
