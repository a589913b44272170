"""ImageNet is read from its files, in an order that is a function of (seed, epoch), and ResNet-50 trains on it: on a
tiny one, written here."""

import json
import math
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.imagenet import write_imagenet
from tests.helpers.run_folders import rows_of
from tests.helpers.runs import assert_same_bits, finish, start
from tests.train.moving_often import MOVING_OFTEN, NAME
from train.data.batch_shard import Part
from train.data.in_memory import load_data
from train.experiment.settings import Settings, resolve
from train.recipes import RECIPES
from train.run import train
from train.storage.checkpoint import read_variables

TRAIN_FILES, VALIDATION_FILES = (9, 8, 7), (5,)
STEPS, EPOCHS = 4, 2


def jpegs(count: int) -> list[bytes]:
    """So many JPEGs, no two of the same height."""
    random = np.random.default_rng(0)
    images = (random.integers(0, 256, (40 + number, 60, 3)).astype("uint8") for number in range(count))
    return [tf.io.encode_jpeg(image).numpy() for image in images]


def write(root: Path, images: list[bytes]) -> Path:
    """A data set of 24 training images in 3 files and 5 for validation, each with its own label."""
    remaining = iter(images)
    splits = [[[next(remaining) for _ in range(size)] for size in sizes] for sizes in (TRAIN_FILES, VALIDATION_FILES)]
    write_imagenet(root, *splits)
    return root


@pytest.fixture(scope="module")
def tiny_imagenet(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("tfds"), jpegs(29))


def read(stream):
    images, labels = zip(*stream.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def small(root: Path, out: Path, **changes) -> Settings:
    """ResNet-50 of a sixteenth of its width, for a few steps."""
    settings = {"model": "resnet_50", "dataset": "imagenet2012", "width": 1 / 16, "sparsity": 0.8, "batch_size": 6}
    settings |= {"steps_per_epoch": STEPS, "epochs": EPOCHS, "data_dir": str(root), "out": str(out)}
    return Settings(**{**settings, **changes})


def assert_trained(result) -> None:
    """Every row has top-1 and top-5 of both sets, the budget is that of the beginning, and weights have moved."""
    rows = rows_of(result.folder)
    assert [int(row["epoch"]) for row in rows] == list(range(len(result.test_scores)))
    for row in rows:
        for name in ("accuracy", "top5_accuracy", "val_accuracy", "val_top5_accuracy"):
            assert 0 <= float(row[name]) <= 1
        assert float(row["top5_accuracy"]) >= float(row["accuracy"]) and math.isfinite(float(row["loss"]))
        # The first convolution and the shortcuts are dense; of the 49 others each has its share of what is active.
        active = [int(value) for name, value in row.items() if name.startswith("active/")]
        assert len(active) == 49 and sum(active) == result.active_weights
    assert any(changed > 0 for changed in result.changed)
    assert result.active_weights == pytest.approx(0.2 * result.weights, rel=1e-3)
    assert result.test_top5 == float(rows[-1]["val_top5_accuracy"])
    assert f"test top-5      {result.test_top5:.2%}" in (result.folder / "summary.txt").read_text()


@pytest.mark.backends("tensorflow")
def test_the_stream_is_a_function_of_seed_and_epoch(tiny_imagenet):
    data = load_data("imagenet2012", str(tiny_imagenet))
    assert data.dimensions["classes"] == 1000 and data.train_examples == 24
    images, labels = read(data.train(seed=1, batch_size=8, steps=3, first_epoch=0, epochs=2))
    assert images.shape == (48, 224, 224, 3) and images.dtype == np.float32
    assert sorted(labels[:24]) == list(range(24)) and sorted(labels[24:]) == list(range(24))
    assert tuple(labels[:24]) != tuple(labels[24:])
    tail = read(data.train(seed=1, batch_size=8, steps=3, first_epoch=1, epochs=2))
    np.testing.assert_array_equal(tail[0], images[24:])
    np.testing.assert_array_equal(tail[1], labels[24:])


@pytest.mark.backends("tensorflow")
def test_validation_images_are_all_there_in_order(tiny_imagenet):
    images, labels = read(load_data("imagenet2012", str(tiny_imagenet)).test())
    assert images.shape == (5, 224, 224, 3) and list(labels) == [24, 25, 26, 27, 28]
    assert abs(images.mean()) < 0.5


@pytest.mark.backends("tensorflow")
def test_the_parts_of_processes_put_together_are_the_whole(tiny_imagenet):
    data = load_data("imagenet2012", str(tiny_imagenet))
    whole = data.train(1, 6, 3, 0, 2).as_numpy_iterator()
    parts = [data.train(1, 6, 3, 0, 2, Part(index, 3)).as_numpy_iterator() for index in range(3)]
    batches = list(zip(whole, *parts, strict=True))
    assert len(batches) == 6
    for expected, *found in batches:
        assert all(len(images) == 2 for images, _ in found)
        for place in (0, 1):
            np.testing.assert_array_equal(np.concatenate([part[place] for part in found]), expected[place])
    with pytest.raises(ValueError, match="divisible by 5, the number of processes"):
        data.train(1, 6, 3, 0, 2, Part(0, 5))


@pytest.mark.backends("tensorflow")
def test_a_process_does_not_decode_the_images_of_the_others(tiny_imagenet, tmp_path):
    batch = (1, 6, 4, 0, 1)
    images, labels = read(load_data("imagenet2012", str(tiny_imagenet)).train(*batch, Part(0, 2)))
    encoded = jpegs(29)
    of_others = set(range(24)) - set(labels)
    assert len(labels) == len(of_others) == 12
    damaged = write(tmp_path, [b"no JPEG" if n in of_others else jpeg for n, jpeg in enumerate(encoded)])
    data = load_data("imagenet2012", str(damaged))
    found = read(data.train(*batch, Part(0, 2)))
    np.testing.assert_array_equal(found[0], images)
    np.testing.assert_array_equal(found[1], labels)
    with pytest.raises(tf.errors.InvalidArgumentError, match="JPEG"):
        read(data.train(*batch, Part(1, 2)))


@pytest.mark.backends("tensorflow")
def test_an_incomplete_data_set_is_refused(tiny_imagenet):
    lost = next(tiny_imagenet.rglob("*train*00001-of*"))
    kept = lost.rename(lost.with_name("elsewhere"))
    load_data.cache_clear()  # it has been read whole in this process
    try:
        with pytest.raises(FileNotFoundError, match="incomplete: 1 of its 4 files are absent, such as imagenet"):
            load_data("imagenet2012", str(tiny_imagenet))
    finally:
        kept.rename(lost)


def test_an_unknown_precision_is_refused_and_a_known_one_is_of_the_name():
    message = "--precision must be one of float32, mixed_float16, mixed_bfloat16. Received: --precision=half"
    with pytest.raises(ValueError, match=message):
        resolve(Settings(model="resnet_50", precision="half", dataset="imagenet2012"))
    settings, _ = resolve(Settings(model="resnet_50", dataset="imagenet2012", precision="mixed_float16"))
    assert settings.name == "dsr-0.8-mixed_float16-seed0" and settings.identity()["precision"] == "mixed_float16"


@pytest.mark.thorough
@pytest.mark.backends("tensorflow", "torch")
def test_resnet_50_trains_in_bfloat16_with_weights_and_budget_exact(tiny_imagenet, tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, NAME, MOVING_OFTEN)
    result = train(small(tiny_imagenet, tmp_path / "run", target=0.2, precision="mixed_bfloat16"))
    assert keras.config.dtype_policy().name == "float32"
    assert_trained(result)
    model = keras.models.load_model(result.folder / "model.keras")
    assert model.get_layer("logits").compute_dtype == "float32"
    layers = [layer for layer in model.layers if type(layer) is keras.layers.Conv2D]
    assert {(layer.compute_dtype, layer.kernel.dtype) for layer in layers} == {("bfloat16", "float32")}
    assert json.loads((result.folder / "result.json").read_text())["test_top5"] == result.test_top5


@pytest.mark.thorough
def test_resnet_50_trains_on_every_backend(tiny_imagenet, tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, NAME, MOVING_OFTEN)
    assert_trained(train(small(tiny_imagenet, tmp_path / "run", target=0.2)))


@pytest.mark.thorough
@pytest.mark.parametrize(("method", "target"), [("dsr", 0.2), ("rigl", None)])
def test_a_step_that_float16_leaves_out_does_not_count(method, target, tiny_imagenet, tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, NAME, MOVING_OFTEN)
    changes = {"method": method, "target": target, "precision": "mixed_float16", "epochs": 4}
    result = train(small(tiny_imagenet, tmp_path / "run", **changes))
    assert_trained(result)
    state = dict(read_variables(result.folder / "checkpoint"))
    scale = next(value for name, value in state.items() if name.endswith("dynamic_scale"))
    taken = max(value for name, value in state.items() if name.endswith("iteration"))  # that of the innermost optimizer
    left_out = math.log2(2**15 / scale)  # the scale is halved each time that a gradient is not finite
    assert left_out > 0 and taken == 4 * STEPS - left_out
    assert sum(int(row["dsr_reallocations"]) for row in rows_of(result.folder)) == taken // 2


@pytest.mark.thorough
@pytest.mark.backends("tensorflow")
def test_sigkill_in_mid_epoch_changes_no_bit(tiny_imagenet, tmp_path):
    flags = ["--model=resnet_50", "--dataset=imagenet2012", "--width=0.0625", "--batch_size=6", "--epochs=2"]
    flags += [f"--steps_per_epoch={STEPS}", "--target=0.2", f"--data_dir={tiny_imagenet}"]
    program = ("tests.train.moving_often", "train.run")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(whole, *flags, module=program))
    process = start(killed, *flags, module=("tests.train.moving_often", "tests.train.killed", "1"))
    output, _ = process.communicate(timeout=1200)
    assert process.returncode == -signal.SIGKILL and not (killed / "result.json").exists(), output
    assert "from epoch 2" in finish(start(killed, *flags, "--resume", module=program))
    assert sum(int(row["dsr_reallocations"]) for row in rows_of(killed)) == 4
    assert_same_bits(whole, killed)
