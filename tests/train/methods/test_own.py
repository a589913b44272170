"""A method of the user's own trains by its place, `module:name`, and what cannot be used is refused in words."""

import dataclasses
import importlib
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console

from tests.helpers.run_folders import rows_of
from tests.helpers.runs import ROOT, Interrupt, assert_same_bits
from tests.test_documentation import blocks_of
from train.experiment.settings import Settings, resolve
from train.methods.own import described
from train.run import execute, prepare, train
from train.storage.previous_run import read_origin

ON_THE_PAGE = blocks_of(ROOT / "docs" / "own_method.md", "tensorflow")[0][1]
OTHERS = """

slow = FadingSET(fraction=[(0, 0.5), (40, 0.0)])


@dataclasses.dataclass(frozen=True)
class Needs(FadingSET):
    least: int = dataclasses.field(kw_only=True)


class HasNoUpdate(Method):
    def init(self, inputs):
        return {}


number = 7
"""
# Weights move after 36 steps, in the second epoch, and none after 72, in the third.
SHORT = Settings(method="own_fading_set:slow", epochs=3, steps_per_epoch=30, period=36)


@pytest.fixture(autouse=True)
def modules(tmp_path, monkeypatch):
    """Modules in the current directory: the method of the page and others, and one that cannot be imported."""
    (tmp_path / "own_fading_set.py").write_text(ON_THE_PAGE + OTHERS)
    (tmp_path / "own_and_broken.py").write_text("import no_such_package_anywhere\n")
    (tmp_path / "own_and_empty.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # as `python -m` does
    yield
    for name in ("own_fading_set", "own_and_broken", "own_and_empty"):
        sys.modules.pop(name, None)


@pytest.mark.once
def test_the_command_of_the_page_trains_and_is_resumed(tmp_path):
    (tmp_path / "fading_set.py").write_text(ON_THE_PAGE)
    flags = ["--method=fading_set:FadingSET", "--epochs=2", "--period=36", "--out=runs/fading"]

    def run(*more):
        command = [sys.executable, "-m", "train.run", *flags, *more]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    first = run()
    assert first.returncode == 0, first.stderr
    assert "by fading_set:FadingSET: 1,004 of 50,200 weights active" in first.stdout
    rows = rows_of(tmp_path / "runs" / "fading")
    moved = [int(0.3 * active) for active in (384, 600, 20)]
    assert [int(row["dsr_pruned"]) for row in rows] == [sum(moved)] * 2
    assert "This run is finished" in run("--resume").stdout
    wrong = run("--overwrite", "--method=fading_set:Fading")
    assert wrong.returncode == 1 and "error: --method must be a name that the module has." in wrong.stderr


@pytest.mark.once
def test_a_run_that_was_interrupted_ends_with_the_same_bits(tmp_path):
    whole, stopped = (dataclasses.replace(SHORT, out=str(tmp_path / name)) for name in ("whole", "stopped"))
    result = train(whole)
    assert result.name == "own_fading_set.slow-0.98-seed0" and result.active_weights == 1004
    assert [int(row["dsr_pruned"]) for row in rows_of(result.folder)[1:]] == [192 + 300 + 10, 0]
    with pytest.raises(KeyboardInterrupt):
        execute(prepare(stopped), Console(quiet=True), Interrupt())
    module = importlib.import_module("own_fading_set")
    slow, module.slow = module.slow, module.FadingSET(fraction=0.4)
    with pytest.raises(ValueError, match=r"method method: .*FadingSET.*0\.5.* there, .*0\.4.* asked for"):
        train(dataclasses.replace(stopped, resume=True))
    module.slow = slow
    train(dataclasses.replace(stopped, resume=True))
    assert_same_bits(tmp_path / "whole", tmp_path / "stopped")

    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert config["method"] == {"method": {"class": "FadingSET", "fraction": [[0, 0.5], [40, 0.0]]}}
    (tmp_path / "own_fading_set.py").unlink()  # others read the run without the module
    assert read_origin(str(tmp_path / "whole"), "run")["method"] == "own_fading_set:slow"


@pytest.mark.once
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("own_fading_set:", "a module and a name in it with a colon between, such as my_module:MyMethod"),
        (":FadingSET", "a module and a name in it with a colon between"),
        ("folder/own:FadingSET", "a module and a name in it with a colon between"),
        ("no_such_module:Mine", "There is no module 'no_such_module' in the current directory or among the installed"),
        ("own_fading_set.py:FadingSET", r"no module 'own_fading_set.py' .*write the name of a file without .py"),
        ("own_fading_set:Missing", r"own_fading_set.py has no 'Missing'; it has the methods FadingSET, slow, Needs"),
        ("own_and_empty:Missing", r"own_and_empty.py has no 'Missing'; it has no methods"),
        ("own_fading_set:number", r"a class or an instance of keras_dsr.methods.Method. 'number' is 7, of type .*int"),
        ("own_fading_set:HasNoUpdate", "HasNoUpdate does not define update"),
        ("own_fading_set:Needs", r"Needs needs least: write mine = Needs\(least=...\) in the module"),
    ],
)
def test_what_is_no_method_that_can_be_used_is_refused(place, message):
    with pytest.raises(ValueError, match=rf"--method must be .*{message}.*Received: --method={place}"):
        resolve(Settings(method=place))


@pytest.mark.once
def test_an_error_in_the_module_is_the_users_to_see():
    with pytest.raises(ModuleNotFoundError, match="no_such_package_anywhere"):
        resolve(Settings(method="own_and_broken:Mine"))


@pytest.mark.once
def test_what_json_cannot_hold_is_described_by_its_name():
    assert described([(1, 0.5), {"a": resolve}, None]) == [[1, 0.5], {"a": "resolve"}, None]
    assert described(object()) == "object"
