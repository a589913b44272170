"""Files of one backend in another: equal outputs, masks and thresholds, and equal decisions by equal weights."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from tests.helpers.across import read, write
from tests.helpers.networks import compiled, fit, perceptron

NEXT = {"tensorflow": "jax", "jax": "torch", "torch": "tensorflow"}


@pytest.mark.slow_on("tensorflow", "torch")
def test_another_backend_reads_the_same_network_and_decides_the_same_by_the_same_weights(tmp_path):
    other = NEXT[keras.backend.backend()]
    if importlib.util.find_spec(other) is None:
        pytest.skip(f"needs {other} too")
    model = compiled(perceptron(), keras.optimizers.Adam(0.01))
    fit(model, dsr.DSRCallback(target=40, initial_threshold=0.05, period=2))
    write(tmp_path, model)
    command = [sys.executable, "-m", "tests.helpers.across", str(tmp_path)]
    environment = {**os.environ, "KERAS_BACKEND": other}
    result = subprocess.run(
        command, cwd=pathlib.Path(__file__).parents[2], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    here, there = read(tmp_path), np.load(tmp_path / "found.npz")
    assert here.keys() == set(there)
    for name, found in here.items():
        if name.startswith("outputs"):
            np.testing.assert_allclose(there[name], found, rtol=1e-4, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(there[name], found, err_msg=name)
    assert here["threshold 0 of whole"] > 0 and here["mask 0 of whole"].sum() + here["mask 1 of whole"].sum() == 355
    assert here["pruned of DSR"] > 0
