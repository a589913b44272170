"""Damaged files of a run are named in one error, which says how to go on; nothing else comes out of reading them."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.helpers.run_folders import contents
from train.compare import plan
from train.fine_tune import fine_tune
from train.results import run_files as runs
from train.results.results import read_result
from train.run import prepare, train
from train.sensitivity import analyse
from train.storage.previous_run import read_origin
from train.storage.run_folder import read_config

pytestmark = pytest.mark.once

READERS = {
    "config.json": lambda folder: (read_config(folder), read_origin(str(folder), "run")),
    "result.json": read_result,
    "metrics.csv": lambda folder: runs.read_metrics(folder / "metrics.csv"),
}


@pytest.fixture
def damaged(finished, tmp_path):
    """Settings that go on with a copy of a finished run, and its folder."""
    settings, result = finished
    folder = tmp_path / "run"
    shutil.copytree(result.folder, folder, ignore=shutil.ignore_patterns("tensorboard", "saved_model"))
    return dataclasses.replace(settings, out=str(folder), resume=True), folder


@pytest.mark.parametrize("name", READERS)
def test_a_flipped_bit_or_a_cut_gives_an_error_that_names_the_file_or_none(damaged, name):
    _, folder = damaged
    whole = (folder / name).read_bytes()
    chance = np.random.default_rng(0)
    refused = 0
    for number in range(400):
        version = bytearray(whole)
        if number % 4:
            version[chance.integers(len(whole))] ^= 1 << chance.integers(8)
        else:
            del version[chance.integers(len(whole)) :]
        (folder / name).write_bytes(bytes(version))
        refused += _is_refused(READERS[name], folder, (name, "holds no run"))
    assert refused > 100


def _is_refused(read, folder, words) -> bool:
    try:
        read(folder)
    except (ValueError, FileNotFoundError) as error:
        return any(word in str(error) for word in words) or pytest.fail(str(error))
    return False


CASES = [
    ("config.json", b"\xff{", "Restore it from a copy, or do the run again in another folder"),
    ("config.json", b'{"program": "train.run", "recipe": {}}', r"it has no 'settings'\)\. Restore it"),
    ("config.json", b'{"program": "train.run", "settings": []}', r"'settings' cannot be \[\]\)\. Restore it"),
    ("result.json", b"", "Remove it: the command of the run with --resume writes it again from its checkpoint"),
    ("result.json", b"[]", "it has no 'test_score', 'layers'.* Remove it: "),
    ("result.json", b"[" * 100_000, "Remove it: "),
]


@pytest.mark.parametrize(("name", "content", "message"), CASES)
def test_going_on_with_a_run_names_its_damaged_file(damaged, name, content, message):
    settings, folder = damaged
    (folder / name).write_bytes(content)
    before = contents(folder)
    with pytest.raises(ValueError, match=rf"{name} of the run in '.*run' is damaged \(.*{message}"):
        prepare(settings)
    with pytest.raises(ValueError, match=name) if name == "config.json" else pytest.raises(FileExistsError):
        prepare(dataclasses.replace(settings, resume=False))
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": [["a/kernel", 3]]}, r"'layers' cannot be \[\['a/kernel', 3\]\]"),
        ({"active_weights": -1}, "'active_weights' cannot be -1"),
        ({"weights": True}, "'weights' cannot be True"),
        ({"test_score": "97"}, "'test_score' cannot be '97'"),
        ({"changed": [None]}, r"'changed' cannot be \[None\]"),
        ({"tesu_score": 1}, "unexpected keyword argument 'tesu_score'"),
    ],
)
def test_a_result_of_another_kind_is_refused(damaged, change, message):
    _, folder = damaged
    values = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**values, **change}))
    with pytest.raises(ValueError, match=rf"result.json of the run in .* is damaged \(.*{message}.*\)\. Remove it: "):
        read_result(folder)


def test_what_the_error_says_helps(damaged, finished):
    settings, folder = damaged
    for name in ("result.json", "metrics.csv", "model.keras"):
        (folder / name).write_text("{")
    with pytest.raises(ValueError, match="Remove it"):
        train(settings)
    (folder / "result.json").unlink()
    assert train(settings).test_scores == finished[1].test_scores
    assert (folder / "metrics.csv").read_bytes() == (finished[1].folder / "metrics.csv").read_bytes()
    assert len(runs.read_run(folder).rows) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "dsq"}, "'method' cannot be 'dsq'"),
        ({"dataset": None}, "it has no 'dataset'"),
    ],
)
def test_programs_that_start_from_a_run_name_its_damaged_config(damaged, change, message):
    settings, folder = damaged
    config = json.loads((folder / "config.json").read_text())
    given = {**config["settings"], **change}
    config["settings"] = {name: value for name, value in given.items() if name not in change or value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    programs = [
        lambda: fine_tune(str(folder), 0.9, 1, "erk", None, Console(quiet=True)),
        lambda: analyse(str(folder), [0.5], 0.1, None, None, None, Console(quiet=True)),
        lambda: prepare(dataclasses.replace(settings, resume=False, mask_from=str(folder), init_from="random")),
    ]
    for program in programs:
        with pytest.raises(ValueError, match=rf"config.json of the run in .* is damaged \({message}\)\. Restore it"):
            program()


def test_a_damaged_model_is_named(damaged):
    _, folder = damaged
    (folder / "model.keras").write_bytes((folder / "model.keras").read_bytes()[:3000])
    message = r"model.keras of the run in .* is damaged \(.*\)\. Remove it and result.json: the command of the run with"
    with pytest.raises(ValueError, match=message):
        fine_tune(str(folder), 0.9, 1, "erk", None, Console(quiet=True))


def test_a_comparison_names_a_damaged_file_of_its_runs(damaged):
    settings, folder = damaged
    common = dataclasses.replace(settings, out=str(folder.parent / "out"), resume=False)
    shutil.copytree(folder, folder.parent / "out" / "dsr-0.98-seed0")
    (folder.parent / "out" / "dsr-0.98-seed0" / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json of the run in '.*out/dsr-0.98-seed0' is damaged"):
        plan(common, ["dsr"])


@pytest.mark.thorough
def test_the_command_line_says_it_in_one_line(damaged):
    _, folder = damaged
    (folder / "result.json").write_text("{")
    command = [sys.executable, "-m", "train.run", "--epochs=3", "--seed=1", f"--out={folder}", "--resume"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], timeout=120)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"error: result.json of the run in '{folder}' is damaged" in done.stderr
