"""A run leaves one folder with everything in it, and refuses what it cannot do before it touches anything."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.networks import values
from tests.helpers.run_folders import contents, rows_of
from train.data.in_memory import digits
from train.experiment.settings import Settings
from train.run import prepare, train

pytestmark = pytest.mark.slow_on("tensorflow", "jax")  # it is above the backends, and takes long there


def test_the_folder_has_everything_and_nothing_else(finished):
    _, result = finished
    expected = ["accuracy.png", "checkpoint", "config.json", "metrics.csv", "model.keras", "result.json"]
    expected += ["saved_model"] if keras.backend.backend() == "tensorflow" else []
    expected += ["sparsity.png", "summary.txt", "tensorboard"]
    assert sorted(path.name for path in result.folder.iterdir()) == expected
    for name in ("accuracy.png", "sparsity.png"):
        assert (result.folder / name).read_bytes().startswith(b"\x89PNG")


def test_metrics_have_a_row_an_epoch_and_the_exact_number_of_active_weights(finished):
    _, result = finished
    rows = rows_of(result.folder)
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    expected = {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "sparsity"}
    expected |= {"dsr_threshold", "dsr_pruned", "dsr_reallocations"}
    assert expected <= set(rows[0])
    for row in rows:
        active = [int(value) for name, value in row.items() if name.startswith("active/")]
        assert len(active) == 3 and sum(active) == result.active_weights == 1004
        assert float(row["sparsity"]) == pytest.approx(0.98)
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([0.1, 0.1, 0.01])
    assert float(rows[-1]["val_accuracy"]) == result.test_score


def test_the_summary_names_every_weight_and_the_result(finished):
    _, result = finished
    text = (result.folder / "summary.txt").read_text()
    assert "sparse_dense_2/kernel" in text and "active weights  1,004 of 50,200" in text
    assert f"test accuracy   {result.test_score:.2%}" in text


def test_the_files_hold_the_trained_network(finished):
    _, result = finished
    images, _ = next(iter(digits().test()))
    model = keras.models.load_model(result.folder / "model.keras")
    if keras.backend.backend() == "tensorflow":
        served = tf.saved_model.load(str(result.folder / "saved_model"))
        np.testing.assert_allclose(served.serve(images), model.predict(images, verbose=0), atol=1e-5)
    kernels = [values(layer.kernel) for layer in model.layers if type(layer) is keras.layers.Dense]
    assert sum(int(np.count_nonzero(kernel)) for kernel in kernels) <= 1004
    whole = np.concatenate(
        [model.predict(images, verbose=0).argmax(-1) == labels for images, labels in digits().test()]
    )
    assert whole.mean() == pytest.approx(result.test_score, abs=1e-6)


def test_tensorboard_has_each_epoch_once(finished):
    _, result = finished
    files = [str(path) for path in (result.folder / "tensorboard" / "test").iterdir()]
    events = [event for file in files for event in tf.compat.v1.train.summary_iterator(file)]
    steps = [event.step for event in events for value in event.summary.value if value.tag == "accuracy"]
    assert steps == [0, 1, 2]


def test_the_config_holds_no_place(finished):
    settings, result = finished
    config = json.loads((result.folder / "config.json").read_text())
    assert config["settings"]["seed"] == 1 and config["settings"]["epochs"] == 3
    assert config["recipe"]["weight_decay"] == 5e-4
    assert settings.out not in json.dumps(config)


@pytest.mark.slow_on("tensorflow")
def test_the_same_settings_give_the_same_bits_in_the_same_process(finished, tmp_path):
    settings, result = finished
    again = train(dataclasses.replace(settings, out=str(tmp_path / "again")))
    for name in ("metrics.csv", "config.json"):
        assert (again.folder / name).read_bytes() == (result.folder / name).read_bytes()


def test_resuming_a_finished_run_gives_its_result_and_changes_nothing(finished):
    settings, result = finished
    before = contents(result.folder)
    assert train(dataclasses.replace(settings, resume=True)) == result
    assert contents(result.folder) == before


def test_a_run_killed_before_its_results_were_written_only_writes_them(finished, tmp_path):
    settings, result = finished
    folder = tmp_path / "run"
    shutil.copytree(result.folder, folder)
    for name in ("result.json", "summary.txt", "metrics.csv", "accuracy.png", "model.keras"):
        (folder / name).unlink()
    again = train(dataclasses.replace(settings, out=str(folder), resume=True))
    assert again.test_scores == result.test_scores and again.active_weights == result.active_weights
    for name in ("metrics.csv", "checkpoint"):
        assert (folder / name).read_bytes() == (result.folder / name).read_bytes()


def test_overwrite_removes_the_old_run(finished, tmp_path):
    settings, result = finished
    folder = tmp_path / "run"
    shutil.copytree(result.folder, folder)
    (folder / "leftover.txt").write_text("of the old run")
    train(dataclasses.replace(settings, out=str(folder), epochs=1, overwrite=True))
    assert len(rows_of(folder)) == 1 and not (folder / "leftover.txt").exists()


def test_a_folder_with_a_run_needs_a_word(finished):
    settings, _ = finished
    _assert_refused(settings, FileExistsError, "holds a run already. Pass --resume .* --overwrite .* or another --out")


@pytest.mark.parametrize("changes", [{}, {"overwrite": True}])
@pytest.mark.parametrize("name", ["thesis.tex", "config.json"])
def test_a_folder_of_something_else_is_never_touched(tmp_path, changes, name):
    (tmp_path / name).write_text("{}")
    _assert_refused(Settings(out=str(tmp_path), **changes), FileExistsError, "not empty and holds no run of this")


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(FileExistsError, match=r"is a file. Pass the name of a folder"):
        prepare(Settings(out=str(tmp_path / "file"), overwrite=True))


def test_resume_needs_a_run(tmp_path, finished):
    with pytest.raises(FileNotFoundError, match=r"no run to go on with .*no config.json.*Leave out --resume"):
        prepare(Settings(out=str(tmp_path / "new"), resume=True))
    assert not (tmp_path / "new").exists()
    shutil.copy(finished[1].folder / "config.json", tmp_path)
    settings = dataclasses.replace(finished[0], out=str(tmp_path), resume=True)
    _assert_refused(settings, FileNotFoundError, r"no run to go on with .*no checkpoint.*--overwrite")


def test_resume_needs_the_same_settings(finished):
    settings = dataclasses.replace(finished[0], resume=True, batch_size=20, sparsity=0.9)
    message = "started with other settings.*sparsity: 0.98 there, 0.9 asked for; settings batch_size: 40 there, 20"
    _assert_refused(settings, ValueError, message)


def test_a_truncated_checkpoint_is_refused(finished, tmp_path):
    settings, result = finished
    shutil.copytree(result.folder, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    path = tmp_path / "run" / "checkpoint"
    path.write_bytes(path.read_bytes()[:5000])
    settings = dataclasses.replace(settings, out=str(tmp_path / "run"), resume=True)
    _assert_refused(settings, ValueError, "damaged or truncated")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 1441}, "--batch_size must be at most 1440, the training examples of digits"),
        ({"steps_per_epoch": 37}, "--steps_per_epoch must be at most 36.*Received: --steps_per_epoch=37"),
        ({"target": 1004}, "target.*must leave one active unit in each of the 3 tensors"),
        ({"target": -1}, "target.*must be"),
        ({"recipe": "wide_resnet_cifar10", "depth": 27}, "depth.*6n"),
    ],
)
def test_what_the_data_or_the_network_cannot_do_is_refused(given, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        prepare(Settings(dataset="digits", out=str(tmp_path / "run"), **given))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow_on("tensorflow")
def test_the_command_line_says_what_is_wrong_in_one_line(tmp_path):
    command = [sys.executable, "-m", "train.run", "--dataset=mnist", f"--data_dir={tmp_path}", f"--out={tmp_path}/run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120)
    assert done.returncode == 1
    assert "error: The data set 'mnist' is not prepared in --data_dir=" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()


def _assert_refused(settings, kind, message):
    before = contents(settings.out)
    with pytest.raises(kind, match=message):
        prepare(settings)
    assert contents(settings.out) == before
