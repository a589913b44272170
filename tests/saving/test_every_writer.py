"""Whatever writes a file: a link's target is written, a file keeps its permissions, names are taken."""

import os
import stat
import zipfile

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.analysis.sensitivity_report import Sensitivity, SensitivityRow
from tests.helpers.files import files_in
from train.results import plots
from train.storage import checkpoint
from train.storage.run_folder import write_rows, write_text

pytestmark = pytest.mark.backends("tensorflow")  # which alone writes all of them


@pytest.fixture(scope="module")
def model():
    """Compiled, and large enough to be packed."""
    network = keras.Sequential([keras.Input((64,), name="pixels"), dsr.SparseDense(100, sparsity=0.9, mask_seed=1)])
    network.compile("sgd", "mse")
    network.optimizer.build(network.trainable_variables)
    return network


ANALYSIS = Sensitivity("loss", "min", 0.5, (0.5, 0.9), (SensitivityRow("a/kernel", (8, 4), (0.5, 0.7)),))
WRITERS = {
    "plain.keras": lambda model, path: dsr.save(model, path),
    "resumable.keras": lambda model, path: dsr.save(model, path, resumable=True),
    "packed": lambda model, path: dsr.export(model, path),
    "dense": lambda model, path: dsr.export(model, path, packed=False),
    "model.onnx": lambda model, path: dsr.export(model, path),
    "model.tflite": lambda model, path: dsr.export(model, path),
    "report.html": lambda model, path: dsr.report(model, path, batch_sizes=()),
    "sensitivity.png": lambda model, path: ANALYSIS.plot(path),
    "score.png": lambda model, path: plots.plot_score(path, "title", "accuracy", {"test": [0.5, 0.6]}),
    "metrics.csv": lambda model, path: write_rows(path, [{"epoch": 0}]),
    "result.json": lambda model, path: write_text(path, "{}"),
    "checkpoint": lambda model, path: checkpoint.save(path, model, checkpoint.Progress(0, [])),
}
PACKAGES = {"model.onnx": ("onnx", "tf2onnx"), "model.tflite": ("ai_edge_litert",)}


@pytest.fixture(params=WRITERS)
def writer(request, model):
    """The name of a file, and what writes it to a path."""
    for package in PACKAGES.get(request.param, ()):
        pytest.importorskip(package)
    return request.param, lambda path: WRITERS[request.param](model, path)


def test_a_link_is_followed_and_permissions_are_kept(writer, tmp_path, monkeypatch):
    name, write = writer
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "real", tmp_path / name
    link.symlink_to(os.path.join("there", "real"))
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o027)
    try:
        write(name)  # relative, to a link that dangles
        assert stat.S_IMODE(target.stat().st_mode) == (0o750 if target.is_dir() else 0o640)
        target.chmod(0o755)
        content = None if target.is_dir() else target.read_bytes()
        write(name)
    finally:
        os.umask(before)
    assert link.is_symlink() and stat.S_IMODE(target.stat().st_mode) == 0o755
    assert files_in(tmp_path) == sorted([name, "there"]) and files_in(tmp_path / "there") == ["real"]
    if content is not None:
        assert content and target.read_bytes()[:4] == content[:4]


@pytest.mark.parametrize("name", [".{}", "{} [a]*\n模", "{}" + "n" * 230])
def test_names_are_taken(writer, tmp_path, name):
    ending = os.path.splitext(writer[0])[1]
    name = name.format("it") + ending
    for _ in range(2):
        writer[1](tmp_path / name)
    assert files_in(tmp_path) == [name]


def test_what_is_read_through_a_link_is_what_was_saved(model, tmp_path):
    (tmp_path / "link.keras").symlink_to(tmp_path / "real.keras")
    dsr.save(model, tmp_path / "link.keras")
    assert zipfile.is_zipfile(tmp_path / "real.keras")
    ones = np.ones((1, 64), "float32")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "real.keras")(ones), model(ones), rtol=1e-6)
