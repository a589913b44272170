"""A SIGKILL while a model is saved or exported: what is there is a whole model, the old or the new one."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from tests.helpers.files import files_in
from tests.helpers.rewriting import models

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.backends("tensorflow")  # which forks before it has run, and exports


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.thorough)])
def test_kills_leave_whole_models(tmp_path, rounds):
    (tmp_path / "models").mkdir()
    command = [sys.executable, "-m", "tests.helpers.rewriting", str(tmp_path / "models"), str(rounds)]
    result = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    ones = np.ones((1, 64), "float32")
    expected = {float(model(ones)[0, 0]) for model in models()}
    assert len(expected) == 2
    found = {name: set() for name in ("plain.keras", "resumable.keras", "packed")}
    for number in range(rounds):
        folder = tmp_path / str(number)
        for name in ("plain.keras", "resumable.keras"):
            found[name].add(float(keras.models.load_model(folder / name)(ones)[0, 0]))
        packed = tf.saved_model.load(str(folder / "packed"))
        found["packed"].add(float(packed.serve(ones)[0, 0]))
    for name, outputs in found.items():
        assert outputs <= expected, name
    leftovers = [name for name in files_in(tmp_path / "models") if name.startswith(".")]
    for model in models():
        dsr.save(model, tmp_path / "models" / "plain.keras")
        dsr.save(model, tmp_path / "models" / "resumable.keras", resumable=True)
        dsr.export(model, tmp_path / "models" / "packed")
    assert files_in(tmp_path / "models") == ["packed", "plain.keras", "resumable.keras"], leftovers
