"""Every flag of the programs is given what it was not made for: the error names the flag, and nothing is written."""

import dataclasses
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.helpers.values_to_try import values_to_try
from train.compare import plan
from train.distributed.cluster import joined
from train.experiment.settings import Settings, resolve
from train.fine_tune import fine_tune
from train.sensitivity import analyse

pytestmark = pytest.mark.once

# The labels of good values, by flag (paths are looked for later); and the settings in which a flag is tried.
SHARES = {"0.5", "1e-320"}
PATHS = {"None", "string", "expression"}
COUNTS = {"1", "7", "None"}
TAKEN = {
    "model": {"None"},
    "dataset": {"None"},
    "method": {"None"},
    "recipe": {"None"},
    "backend": {"None"},
    "sparsity": SHARES | {"0", "None"},
    "epochs": COUNTS,
    "batch_size": COUNTS,
    "steps_per_epoch": COUNTS,
    "seed": {"0", "1", "7"},
    "out": PATHS,
    "data_dir": PATHS,
    "mask_from": {"None"},
    "init_from": {"None"},
    "depth": {"None"},
    "width": {"1", "7", "0.5", "1.5", "1e-320", "None"},
    "dropout": SHARES | {"0", "None"},
    "train_examples": COUNTS,
    "label_noise": SHARES | {"0", "1", "None"},
    "target": SHARES | COUNTS,
    "period": COUNTS,
    "last_layer_at_least": COUNTS,
    "stop_at": COUNTS | {"0", "10**400"},
    "resume": {"True", "False"},
    "overwrite": {"True", "False"},
}
BESIDE = {"depth": {"model": "wide_resnet", "dataset": "cifar10"}}


def refused(call, flag: str, value) -> str | None:
    """What is wrong with how a value was refused; None: nothing is."""
    try:
        call()
    except (ValueError, FileNotFoundError) as error:
        text = re.escape(str(value))
        is_told = re.search(rf"--{flag}[= ](.|\n)*({text}|{re.escape(repr(value))})", str(error))
        return None if is_told else f"the message does not say so: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "was taken"


@pytest.mark.parametrize("flag", [field.name for field in dataclasses.fields(Settings)])
def test_a_flag_of_a_run_is_refused_by_name(flag, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = []
    for label, value in values_to_try().items():
        problem = refused(lambda value=value: resolve(Settings(**{**BESIDE.get(flag, {}), flag: value})), flag, value)
        if problem != ("was taken" if label in TAKEN.get(flag, ()) else None):
            wrong.append(f"{label}: {problem or 'is a good value, and was refused'}")
    assert not wrong, "\n".join(wrong)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("depth", [4, 9, 29, 10**9])
def test_a_depth_is_one_that_the_network_has(depth):
    with pytest.raises(ValueError, match=rf"--depth must be 6n \+ 4, such as 28, .* Received: --depth={depth}"):
        resolve(Settings(model="wide_resnet", dataset="cifar10", depth=depth))


NUMBERS = [-1, math.nan, math.inf, -math.inf, 10**400]
OTHERS = {  # of the programs beside `train.run`: what a flag can be given, as the program reads it
    "methods": [[], ["nosuch"], [""], ["dsr", "dsr"]],
    "sparsity": [[1.0], *([number] for number in NUMBERS), [0.5, 0.5]],
    "early_stop": [[0.0], [1.0], *([number] for number in NUMBERS)],
    "seeds": [0, -1, 10**400],
}
ARGUMENTS = {"methods": "methods", "sparsity": "sparsities", "early_stop": "early_stops", "seeds": "seeds"}


@pytest.mark.parametrize("flag", OTHERS)
def test_a_flag_of_a_comparison_is_refused_by_name(flag, tmp_path):
    for value in OTHERS[flag]:
        given = {"methods": ["dsr"], ARGUMENTS[flag]: value}
        with pytest.raises(ValueError, match=rf"--{flag} must .*Received: --{flag}="):
            plan(Settings(out=str(tmp_path / "out")), **given)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("flag", "values"),
    [
        ("sparsities", [[], [1.0], [0.5, 0.5], [0.9, 0.5], *([number] for number in NUMBERS)]),
        ("max_drop", NUMBERS),
        ("examples", [0, -1, 10**400]),
    ],
)
def test_a_flag_of_an_analysis_is_refused_by_name_before_anything_is_read(flag, values, tmp_path):
    for value in values:
        given = {"sparsities": [0.5], "max_drop": 0.1, "examples": None, flag: value}
        with pytest.raises(ValueError, match=rf"--{flag} must .*Received: --{flag}="):
            analyse(str(tmp_path / "run"), data_dir=None, out=None, console=Console(quiet=True), **given)


@pytest.mark.parametrize(
    ("flag", "values"),
    [("sparsity", [1.0, *NUMBERS]), ("epochs", [0, -1, 10**400]), ("distribution", ["", "nosuch", None])],
)
def test_a_flag_of_fine_tuning_is_refused_by_name_before_anything_is_read(flag, values, tmp_path):
    for value in values:
        given = {"sparsity": 0.9, "epochs": 1, "distribution": "erk", flag: value}
        with pytest.raises(ValueError, match=rf"--{flag} must .*Received: --{flag}={re.escape(str(value))}"):
            fine_tune(str(tmp_path / "run"), data_dir=None, console=Console(quiet=True), **given)


@pytest.mark.parametrize(
    ("flag", "values"),
    [
        ("devices", [0, -1, 10**400]),
        ("coordinator", ["", ":", "host", "host:", ":80", "host:port", "host:-1", "host:70000", "host:²"]),
        ("num_processes", [0, -1]),
        ("process_id", [-1, 2, 10**400]),
    ],
)
def test_a_flag_of_many_devices_is_refused_by_name(flag, values):
    together = {} if flag == "devices" else {"coordinator": "host:80", "num_processes": 2, "process_id": 0}
    for value in values:
        message = rf"--{flag} must .*Received: --{flag}={re.escape(str(value))}"
        with pytest.raises(ValueError, match=message), joined(**{**together, flag: value}):
            pass


@pytest.mark.backends("torch")
def test_importing_the_experiments_reads_no_command_line():
    code = "import os, train; assert 'KERAS_BACKEND' not in os.environ"
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, "--backend=jax"], cwd=root, env=environment, check=False)
    assert done.returncode == 0
