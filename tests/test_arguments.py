"""What is no model of Keras 3 is refused by every function, each time by what it is."""

import pathlib

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.arguments import check_model, is_function, is_number, is_of_keras_2, is_one_of, is_whole

pytestmark = pytest.mark.once


def of_module(module: str) -> type:
    """A class as a library would have it that is not installed here."""
    return type("Sequential", (), {"__module__": module})


FUNCTIONS = {
    "sparsify": dsr.sparsify,
    "densify": dsr.densify,
    "strip": dsr.strip,
    "summary": dsr.summary,
    "sparse_weights": dsr.sparse_weights,
    "shrink": dsr.shrink,
    "save": lambda model: dsr.save(model, "model.keras"),
    "export": lambda model: dsr.export(model, "exported"),
    "report": lambda model: dsr.report(model, "report.html"),
    "sensitivity": lambda model: dsr.sensitivity(model, (np.ones((1, 2)), np.ones(1))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_model_of_keras_2_is_named_as_such(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    theirs = of_module("tf_keras.src.engine.sequential")
    for model in (theirs(), type("Mine", (theirs,), {})()):
        message = rf"{name}\(\w+=\.\.\.\) is a Keras 2 model \(tf_keras\), and keras_dsr is for Keras 3\. Build it with"
        with pytest.raises(TypeError, match=message):
            FUNCTIONS[name](model)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "is_old"),
    [
        ("tf_keras", True),
        ("tf_keras.src.engine.training", True),
        ("tensorflow.python.keras.engine.training", True),
        ("tf_keras_tools.models", False),
        ("keras.src.models.sequential", False),
        ("tensorflow.python.trackable.base", False),
    ],
)
def test_keras_2_is_known_by_its_modules(module, is_old):
    assert is_of_keras_2(of_module(module)()) is is_old


def test_models_and_layers_of_keras_3_pass_built_or_not():
    for model in (keras.Sequential(), keras.layers.Dense(3), keras.Model()):
        assert not is_of_keras_2(model)
        check_model(model, "densify")


@pytest.mark.parametrize(
    ("model", "received"),
    [
        (None, r"must be a built Keras model\. Received: model=None \(of type NoneType\)$"),
        ("m.keras", r"model='m\.keras' \(of type str\): load a model .* with keras\.models\.load_model\(path\)$"),
        (pathlib.Path("m"), r"load a model from its file"),
        (keras.Sequential, r"which is a class: make a model of it$"),
        (
            keras.layers.Dense(3, name="lone"),
            r"<Dense name=lone, built=False> \(of type Dense\), a layer: put it in a model",
        ),
        ([keras.Sequential()], r"\(of type list\)$"),
    ],
)
def test_what_is_no_model_is_told_what_to_do(model, received):
    with pytest.raises(TypeError, match=rf"save\(model=\.\.\.\) .*{received}"):
        check_model(model, "save", kind=keras.Model)


def test_what_counts_as_a_number_a_whole_one_a_function_and_a_name():
    assert [is_whole(value) for value in (3, np.int64(3), True, np.True_, 3.0, "3")] == [True, True] + [False] * 4
    numbers = (3, 0.5, np.float32(2), 1e-320, True, float("nan"), float("-inf"), 10**400, 1e39, 1j, "3", None)
    assert [is_number(value) for value in numbers] == [True] * 4 + [False] * 8
    assert [is_function(value) for value in (len, dict.get, int, keras.layers.Dense(3), 5)] == [True] * 2 + [False] * 3
    names = ("a", "c", ["a"], np.array(["a", "b"]), None, {})
    assert [is_one_of(value, ("a", "b")) for value in names] == [True] + [False] * 5
