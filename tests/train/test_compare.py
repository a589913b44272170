"""A comparison does what is not done, several runs at a time, and tells it in tables and plots."""

import csv
import dataclasses
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.image
import pytest
from rich.console import Console

from tests.helpers.run_folders import contents, rows_of
from train.compare import ALL, compare, plan
from train.experiment.settings import Settings
from train.results.results import read_result
from train.storage.checkpoint import read_progress

pytestmark = pytest.mark.backends("torch")

ROOT = Path(__file__).parents[2]
SHORT = Settings(epochs=1, steps_per_epoch=36, period=36)
SOME = ["dense", "thin", "static", "dsr", "lottery_original", "lottery_new"]
PLOTS = ["accuracy.png", "early_stop.png", "layers.png", "structure.png"]


@pytest.fixture(autouse=True, scope="module")
def threads():
    """What a comparison tells its workers about threads is not for other tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
            patch.setenv(name, "1")
        yield


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A comparison of methods in one epoch: the settings, its folder, runs, results, and what it printed."""
    common = dataclasses.replace(SHORT, out=str(tmp_path_factory.mktemp("all") / "out"))
    console = Console(file=io.StringIO(), width=120)
    out, runs = plan(common, SOME, early_stops=[0.25])
    return common, out, runs, compare(out, runs, jobs=2, console=console), console.file.getvalue()


def test_all_methods_are_planned_the_lottery_after_dsr(tmp_path):
    _, runs = plan(dataclasses.replace(SHORT, out=str(tmp_path / "out")), list(ALL))
    assert [run.method for run in runs] == list(ALL)
    assert {*SOME, "set", "compressed", "deepr", "rigl", "grasp", "acdc"} <= set(ALL)
    assert {run.method: Path(run.needs).name for run in runs if run.needs} == dict.fromkeys(
        ["lottery_original", "lottery_new"], "dsr-0.98-seed0"
    )


def table_of(out) -> list[dict]:
    with open(out / "table.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_it_leaves_a_folder_a_run_tables_and_plots(everything):
    _, out, runs, results, _ = everything
    folders = [Path(run.settings.out).name for run in runs]
    assert folders == [result.name for result in results]
    sized = [f"{name}-0.98-seed0" for name in ("thin", "static", "dsr")]
    lotteries = ["lottery-original-0.98-seed0", "lottery-new-0.98-seed0"]
    assert folders == ["dense-seed0", *sized, *lotteries, "dsr-0.98-stop0-seed0"]
    assert sorted(path.name for path in out.iterdir()) == sorted([*folders, *PLOTS, "table.csv", "table.md"])
    assert all(matplotlib.image.imread(out / name).size for name in PLOTS)


def test_the_table_has_a_row_a_run(everything):
    _, out, runs, results, printed = everything
    rows = table_of(out)
    assert [row["method"] for row in rows] == [*SOME, "dsr"]
    for row, run, result in zip(rows, runs, results, strict=True):
        assert float(row["test_accuracy"]) == result.test_score and row["folder"] == result.name
        assert int(row["active_weights"]) == {"dense": 50_200, "thin": 3133}.get(run.method, 1004)
        assert int(row["parameters"]) == result.parameters and row["epochs"] == "1"
        assert row["stop_at"] == ("0" if run.share else "")
    text = (out / "table.md").read_text().splitlines()
    assert text[0] == "lenet_300_100 on digits"
    assert text[2].startswith("| method | sparsity | epochs | active weights | parameters | test accuracy |")
    assert [line.split(" | ")[0] for line in text[4:]] == [f"| {method}" for method in SOME]
    assert "lottery_original" in printed and "1,004" in printed


def test_the_lottery_comes_after_dsr_and_has_its_mask(everything):
    _, out, _, results, printed = everything
    by_name = {result.name: result for result in results}
    dsr = by_name["dsr-0.98-seed0"]
    for kind in ("original", "new"):
        lottery = by_name[f"lottery-{kind}-0.98-seed0"]
        assert lottery.layers == dsr.layers and lottery.changed == (0.0,)
        assert printed.index("dsr-0.98-seed0  ") < printed.index(lottery.name)
        (row,) = rows_of(out / lottery.name)
        assert not any(name.startswith("dsr_") for name in row)


def test_progress_tells_each_run_and_the_time_left(everything):
    _, _, runs, results, printed = everything
    assert all(f"{result.name}  {result.test_score:.2%}" in printed for result in results)
    assert f"1 of {len(runs)} runs, " in printed and " left" in printed


def test_again_nothing_is_left_to_do(everything):
    common, out, _, results, _ = everything
    before = {name: digest for name, digest in contents(out).items() if not name.endswith(".png")}
    console = Console(file=io.StringIO(), width=120)
    again, runs = plan(common, SOME, early_stops=[0.25])
    assert again == out and all(run.settings.resume for run in runs)
    assert compare(out, runs, jobs=1, console=console) == results
    assert {name: digest for name, digest in contents(out).items() if not name.endswith(".png")} == before
    assert console.file.getvalue().count("(was finished)") == len(runs)


def test_the_same_folder_with_other_settings_is_refused(everything):
    common, out, *_ = everything
    before = contents(out)
    message = r"was started with other settings.*epochs: 1 there, 2 asked for.*--overwrite"
    with pytest.raises(ValueError, match=message):
        plan(dataclasses.replace(common, epochs=2), ["dense", "dsr"])
    assert contents(out) == before


LONG = ["--methods=dense,dsr", "--epochs=6", "--batch_size=4", "--steps_per_epoch=300"]


def start(out, *flags) -> subprocess.Popen:
    command = [sys.executable, "-m", "train.compare", f"--out={out}", *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, **pipes, start_new_session=True, preexec_fn=_hear_interrupts)


def _hear_interrupts():
    """Also where the tests run in the background of a shell, which has its programs ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(process) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def children_of(process) -> set[int]:
    """The processes that a process has started, and theirs."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        if (state := _state(int(path.name))) is not None:
            parents[int(path.name)] = state[1]
    found = {process.pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {process.pid}


def _state(pid: int) -> tuple[str, int] | None:
    """State letter and parent of a process; None if there is none, or only what its parent has yet to read."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state == "Z" else (state, int(parent))


def stopped_in_mid_run(out, send) -> str:
    """Starts a long comparison, sends a signal after an epoch of each run, and waits for its processes to end."""
    process = start(out, *LONG, "--jobs=2")
    checkpoints = [out / "dense-seed0" / "checkpoint", out / "dsr-0.98-seed0" / "checkpoint"]
    while not all(path.exists() and read_progress(path).epochs for path in checkpoints):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    children = children_of(process)
    assert len(children) >= 2
    send(process)
    end = time.monotonic() + 15
    while any(_state(child) for child in children) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [child for child in children if _state(child)], "workers go on without their parent"
    return process.communicate(timeout=30)[0]


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")
def test_a_comparison_that_is_killed_leaves_nothing_running_and_goes_on(tmp_path):
    out = tmp_path / "out"
    stopped_in_mid_run(out, subprocess.Popen.kill)
    assert not (out / "table.csv").exists() and not any(read_result(path) for path in out.iterdir())
    first = {path.parent.name: read_progress(path).rows[0] for path in out.glob("*/checkpoint")}
    printed = finish(start(out, *LONG, "--jobs=2"))
    assert "Traceback" not in printed and "of 2 runs" in printed
    assert [row["method"] for row in table_of(out)] == ["dense", "dsr"]
    for name, row in first.items():  # the epoch before the kill was not done again
        assert read_progress(out / name / "checkpoint").rows[0] == row
        assert len(rows_of(out / name)) == 6


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")
def test_an_interruption_ends_all_with_one_line(tmp_path):
    # as a terminal sends it: to the parent and to the workers
    output = stopped_in_mid_run(tmp_path / "out", lambda process: os.killpg(process.pid, signal.SIGINT))
    assert "Stopped. The same command goes on after the last complete epoch of each run." in output
    assert "Traceback" not in output


@pytest.mark.thorough
def test_one_at_a_time_gives_the_same_rows_up_to_rounding(everything, tmp_path):
    _, out, *_ = everything
    common = dataclasses.replace(SHORT, out=str(tmp_path / "out"))
    alone, runs = plan(common, ["dense", "dsr"])
    compare(alone, runs, jobs=1, console=Console(quiet=True))
    together = [row for row in table_of(out) if row["folder"] in ("dense-seed0", "dsr-0.98-seed0")]
    for ours, theirs in zip(
        table_of(alone), together, strict=True
    ):  # a run alone has more threads: sums round otherwise
        assert {**ours, "test_accuracy": 0, "model_bytes": 0} == {**theirs, "test_accuracy": 0, "model_bytes": 0}
        assert float(ours["test_accuracy"]) == pytest.approx(float(theirs["test_accuracy"]), abs=0.05)


@pytest.mark.thorough
def test_a_run_that_fails_ends_it_with_one_line_and_the_others_stay(tmp_path):
    out = tmp_path / "out"
    flags = ["--methods=dense,dsr", "--epochs=1", "--steps_per_epoch=2"]
    settings = dataclasses.replace(SHORT, steps_per_epoch=2, out=str(out))
    compare(*plan(settings, ["dense", "dsr"]), jobs=1, console=Console(quiet=True))
    damaged = out / "dsr-0.98-seed0"
    (damaged / "result.json").unlink()
    (damaged / "checkpoint").write_bytes((damaged / "checkpoint").read_bytes()[:5000])
    before = contents(out)
    process = start(out, *flags)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1 and "Traceback" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert f"The checkpoint {damaged}/checkpoint is damaged or truncated" in line and "--overwrite" in line
    assert contents(out) == before and read_result(out / "dense-seed0") is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": []}, "--methods must be 'all' or name methods, each once, out of dense, thin, .*lottery_new"),
        ({"methods": ["dsr", "dsr"]}, r"--methods must be .*each once.*Received: --methods=dsr,dsr"),
        ({"methods": ["dense", "nosuch"]}, r"--methods must be .*Received: --methods=dense,nosuch"),
        ({"methods": ["lottery_new"]}, "--methods=lottery_new trains with the masks of dsr: name dsr too"),
        ({"sparsities": [0.9, 1.0]}, r"--sparsity must be numbers in \[0, 1\), each once. Received: --sparsity="),
        ({"sparsities": [-0.1]}, r"--sparsity must be numbers in \[0, 1\)"),
        ({"sparsities": [0.9, 0.9]}, "--sparsity must be .*each once"),
        ({"sparsities": [float("nan")]}, "--sparsity must be numbers"),
        ({"early_stops": [0.0]}, r"--early_stop must be numbers in \(0, 1\), each once. Received: --early_stop="),
        ({"early_stops": [0.5, 1.0]}, r"--early_stop must be numbers in \(0, 1\)"),
        ({"early_stops": [0.25, 0.5]}, r"--early_stop must .*different epochs"),  # both end in epoch 0 of 1
        ({"seeds": 0}, "--seeds must be at least 1, the number of runs of each method. Received: --seeds=0"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message, tmp_path):
    common = dataclasses.replace(SHORT, out=str(tmp_path / "out"))
    with pytest.raises(ValueError, match=message):
        plan(common, **{"methods": ["dsr"], **arguments})
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_never_touched(tmp_path):
    (tmp_path / "accuracy.png").write_bytes(b"mine")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"is not empty and holds no runs. Nothing was changed"):
            plan(Settings(out=str(tmp_path), overwrite=overwrite), ["dense"])
    assert os.listdir(tmp_path) == ["accuracy.png"]


def test_the_plan_has_each_run_once(tmp_path):
    common = Settings(out=str(tmp_path / "out"))
    _, runs = plan(common, ["dense", "static", "dsr", "lottery_new"], [0.9, 0.98], seeds=2, early_stops=[0.5])
    names = [Path(run.settings.out).name for run in runs]
    assert len(set(names)) == len(names) == 2 + 3 * 2 * 2 + 2
    assert names[:4] == ["dense-seed0", "dense-seed1", "static-0.98-seed0", "static-0.98-seed1"]
    assert names[-2:] == ["dsr-0.98-stop30-seed0", "dsr-0.98-stop30-seed1"]
    for run in runs:
        is_lottery = run.method == "lottery_new"
        assert run.needs == (run.settings.mask_from if is_lottery else None)
        assert not is_lottery or Path(run.needs).name == f"dsr-{run.settings.sparsity:g}-seed{run.settings.seed}"
        assert run.share == (0.5 if "stop30" in run.settings.out else None)


def test_slices_are_for_the_methods_that_have_them(tmp_path):
    common = Settings(recipe="wide_resnet_cifar10", dataset="digits", pattern="kernel", out=str(tmp_path / "out"))
    _, runs = plan(common, ["dense", "deepr", "hashed", "static", "dsr", "compressed"])
    patterns = [run.settings.pattern for run in runs]
    assert patterns == ["element", "element", "element", "kernel", "kernel", "kernel"]
    assert runs[4].settings.target == 2000
