import warnings
import zipfile

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from tests.helpers.files import damaged, files_in, run_without_keras_dsr
from tests.helpers.model_kinds import functional_model, nested_model, shared_model
from tests.helpers.networks import (
    active_counts,
    batch,
    bits,
    compiled,
    digits,
    fill_dead,
    fit,
    perceptron,
    state_bits,
    values,
)


def reallocating():
    return dsr.DSRCallback(target=40, initial_threshold=0.05, period=2)


def convolutional_model():
    return keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Reshape((8, 8, 1)),
            dsr.SparseConv2D(4, 3, sparsity=0.5, pattern="kernel"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            dsr.SparseDense(10, sparsity=0.9, pattern="kernel"),
        ]
    )


@keras.saving.register_keras_serializable(package="tests")
class Registered(keras.Model):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.hidden = dsr.SparseDense(20, sparsity=0.8, activation="relu")
        self.head = keras.Sequential([dsr.SparseDense(10, sparsity=0.5)])

    def call(self, x):
        return self.head(self.hidden(x))

    def get_config(self):
        return {"name": self.name}


def registered_model():
    model = Registered()
    model(batch())
    return model


EXPORTS = keras.backend.backend() != "torch"  # of which Keras makes no SavedModel
untraced = pytest.mark.slow_on("tensorflow")  # TensorFlow has one such case; more would trace the same for long
exporting = pytest.mark.backends("tensorflow", "jax")
MODELS = [perceptron, functional_model, shared_model, nested_model, convolutional_model]


# What the files hold


@pytest.mark.parametrize("build", MODELS)
def test_a_saved_model_is_the_same_network_of_stock_layers(tmp_path, build):
    model = build()
    for weight in dsr.sparse_weights(model):
        fill_dead(weight.layer, np.nan)
    before = bits(model(batch()))
    dsr.save(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not any(type(layer).__module__.startswith("keras_dsr") for layer in loaded._flatten_layers())
    assert bits(loaded(batch())) == before
    assert bits(model(batch())) == before
    assert loaded.count_params() == sum(
        int(np.prod(v.shape))
        for v in model.weights
        if v.name not in ("kernel_mask", "kernel_threshold", "kernel_record")
    )


def test_a_saved_file_is_deflated_and_names_nothing_of_keras_dsr(tmp_path):
    model = perceptron(sparsity=0.99, hidden=2000)
    dsr.save(model, tmp_path / "small.keras")
    model.save(tmp_path / "whole.keras")
    assert (tmp_path / "small.keras").stat().st_size < (tmp_path / "whole.keras").stat().st_size / 10
    with zipfile.ZipFile(tmp_path / "small.keras") as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_DEFLATED}
        assert "keras_dsr" not in archive.read("config.json").decode()
        assert "sparsity" not in archive.read("config.json").decode()


@pytest.mark.backends("tensorflow")  # what the files hold depends on no backend
def test_saved_models_work_where_keras_dsr_cannot_be_imported(tmp_path):
    images = digits()[0][:50]
    np.save(tmp_path / "images.npy", images)
    for number, build in enumerate(MODELS):
        model = build()
        dsr.save(model, tmp_path / f"{number}.keras")
        np.save(tmp_path / f"{number}.npy", values(model(images)))
    run_without_keras_dsr(
        f"""
import keras, numpy as np
images = np.load("images.npy")
for number in range({len(MODELS)}):
    outputs = keras.models.load_model(f"{{number}}.keras")(images)
    np.testing.assert_allclose(outputs, np.load(f"{{number}}.npy"), atol=1e-5)
try:
    import keras_dsr
except ImportError:
    pass
else:
    raise AssertionError("keras_dsr was imported")
""",
        tmp_path,
    )


@pytest.mark.backends("tensorflow")
@pytest.mark.thorough  # by default test_exporting does it, with other models
def test_exports_work_where_keras_dsr_cannot_be_imported(tmp_path):
    images = digits()[0][:50]
    np.save(tmp_path / "images.npy", images)
    for number, build in enumerate(MODELS):
        model = build()
        dsr.export(model, tmp_path / f"{number}")
        np.save(tmp_path / f"{number}.npy", values(model(images)))
    run_without_keras_dsr(
        f"""
import numpy as np, tensorflow as tf
images = np.load("images.npy")
for number in range({len(MODELS)}):
    served = tf.saved_model.load(str(number))
    np.testing.assert_allclose(served.serve(images), np.load(f"{{number}}.npy"), atol=1e-5)
""",
        tmp_path,
    )


def test_a_registered_subclassed_model_is_saved_with_its_weights_stripped(tmp_path):
    model = registered_model()
    fill_dead(model.hidden, np.nan)
    before = bits(model(batch()))
    dsr.save(model, tmp_path / "model.keras")
    if EXPORTS:
        dsr.export(model, tmp_path / "exported")
        tf = pytest.importorskip("tensorflow")
        served = tf.saved_model.load(str(tmp_path / "exported"))
        np.testing.assert_allclose(served.serve(batch()), np.frombuffer(before, "float32").reshape(8, 10), atol=1e-5)
    assert active_counts(model) == [256, 100]
    assert bits(model(batch())) == before


@pytest.mark.slow_on("jax")
def test_the_compile_configuration_survives_and_the_loaded_model_evaluates_without_a_warning(tmp_path):
    images, classes = digits()
    model = compiled(perceptron(), keras.optimizers.SGD(0.05, momentum=0.9))
    fit(model, reallocating())
    dsr.save(model, tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        results = loaded.evaluate(images, classes, verbose=0)
    assert results == pytest.approx(model.evaluate(images, classes, verbose=0))
    assert isinstance(loaded.optimizer, keras.optimizers.SGD)
    assert float(loaded.optimizer.momentum) == 0.9
    assert int(loaded.optimizer.iterations) == 0


@pytest.mark.one_case_on("tensorflow")
@pytest.mark.slow_on("jax")
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(0.01)),
        lambda: keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 100), use_ema=True),
    ],
)
def test_any_optimizer_is_saved(tmp_path, optimizer):
    model = compiled(perceptron(), optimizer())
    fit(model, batches=2)
    dsr.save(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    fit(loaded, batches=2)


# The model goes on as it was


def save(model, folder):
    dsr.save(model, folder / "model.keras")


def export(model, folder):
    dsr.export(model, folder / "exported")


ACTS = [save, pytest.param(export, marks=exporting)]


@pytest.mark.one_case_on("tensorflow")
@pytest.mark.slow_on("jax")
@pytest.mark.parametrize("act", [pytest.param(save, marks=untraced), pytest.param(export, marks=exporting)])
def test_training_goes_on_as_if_nothing_had_been_written(tmp_path, act):
    def trained(interlude):
        keras.utils.set_random_seed(0)
        model = compiled(perceptron())
        fit(model, reallocating())
        interlude(model)
        fit(model, reallocating())
        return model

    def checked(model):
        before, variables, optimizer = state_bits(model), [*map(id, model.variables)], model.optimizer
        act(model, tmp_path)
        assert state_bits(model) == before
        assert [*map(id, model.variables)] == variables
        assert model.optimizer is optimizer
        assert [type(layer) for layer in model.layers] == [dsr.SparseDense] * 2
        act(model, tmp_path)  # again, over the first

    assert state_bits(trained(checked)) == state_bits(trained(lambda model: None))


# Nothing half-written, nothing overwritten


@keras.saving.register_keras_serializable(package="tests")
class Unsaveable(keras.layers.Layer):
    def get_config(self):
        raise KeyError("no configuration")

    def call(self, x):
        return x


@keras.saving.register_keras_serializable(package="tests")
class Untraceable(keras.layers.Layer):
    fails = False

    def call(self, x):
        if self.fails:
            raise KeyError("no graph")
        return x


def test_a_save_that_fails_leaves_the_old_file_and_the_model(tmp_path):
    dsr.save(perceptron(), tmp_path / "model.keras")
    old = (tmp_path / "model.keras").read_bytes()
    model = compiled(keras.Sequential([keras.Input((64,)), dsr.SparseDense(10), Unsaveable()]))
    before = state_bits(model)
    with pytest.raises(KeyError, match="no configuration"):
        dsr.save(model, tmp_path / "model.keras")
    assert files_in(tmp_path) == ["model.keras"]
    assert (tmp_path / "model.keras").read_bytes() == old
    assert state_bits(model) == before
    assert type(model.layers[0]) is dsr.SparseDense
    fit(model, batches=1)


@exporting
def test_an_export_that_fails_leaves_the_old_folder_and_the_model(tmp_path):
    dsr.export(perceptron(), tmp_path / "exported")
    old = (tmp_path / "exported" / "saved_model.pb").read_bytes()
    model = keras.Sequential([keras.Input((64,)), dsr.SparseDense(10), Untraceable()])
    model.layers[1].fails = True
    with pytest.raises(Exception, match="no graph"):
        dsr.export(model, tmp_path / "exported")
    assert files_in(tmp_path) == ["exported"]
    assert (tmp_path / "exported" / "saved_model.pb").read_bytes() == old
    assert type(model.layers[0]) is dsr.SparseDense


def test_an_existing_file_is_replaced(tmp_path):
    (tmp_path / "model.keras").write_text("old")
    dsr.save(perceptron(), str(tmp_path / "model.keras"))
    assert keras.models.load_model(tmp_path / "model.keras").count_params() == 64 * 24 + 24 + 24 * 10 + 10
    assert files_in(tmp_path) == ["model.keras"]


def test_a_file_may_have_the_name_of_what_is_written_on_the_way(tmp_path):
    model = perceptron()
    dsr.save(model, tmp_path / "stored.keras")
    assert bits(keras.models.load_model(tmp_path / "stored.keras")(batch())) == bits(model(batch()))


@exporting
def test_a_relative_path_is_written_where_the_process_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dsr.save(perceptron(), "model.keras")
    dsr.export(perceptron(), "exported/")
    assert files_in(tmp_path) == ["exported", "model.keras"]


@pytest.mark.parametrize("path", ["model.h5", "model", "model.keras.zip", "model.KERAS", "model.weights.h5"])
def test_save_refuses_another_suffix(tmp_path, path):
    with pytest.raises(ValueError, match=rf"save\(path=\.\.\.\) must end in '\.keras'.*Received: path='.*{path}'"):
        dsr.save(perceptron(), tmp_path / path)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("act", ACTS)
def test_a_missing_folder_is_refused_by_name(tmp_path, act):
    with pytest.raises(FileNotFoundError, match=r"missing' to write '.*' in does not exist: create it"):
        act(perceptron(), tmp_path / "missing")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("act", ACTS)
def test_an_unbuilt_model_is_refused_and_nothing_written(tmp_path, act):
    with pytest.raises(ValueError, match="has not been built"):
        act(keras.Sequential([dsr.SparseDense(4)]), tmp_path)
    assert files_in(tmp_path) == []


@exporting
def test_export_refuses_what_is_not_a_saved_model(tmp_path):
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "thesis.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for path in (tmp_path / "exported", tmp_path / "file"):
        with pytest.raises(
            FileExistsError, match=r"would replace '.*', which is not a SavedModel\. Give another folder"
        ):
            dsr.export(perceptron(), path)
    assert (tmp_path / "exported" / "thesis.txt").read_text() == (tmp_path / "file").read_text() == "precious"
    assert files_in(tmp_path) == ["exported", "file"]


def test_save_onto_a_folder_is_refused(tmp_path):
    (tmp_path / "model.keras").mkdir()
    (tmp_path / "model.keras" / "thesis.txt").write_text("precious")
    with pytest.raises(OSError):
        dsr.save(perceptron(), tmp_path / "model.keras")
    assert (tmp_path / "model.keras" / "thesis.txt").read_text() == "precious"


@exporting
def test_export_fills_an_empty_folder(tmp_path):
    (tmp_path / "exported").mkdir()
    dsr.export(perceptron(), tmp_path / "exported")
    assert (tmp_path / "exported" / "saved_model.pb").exists()


# To go on from


@pytest.mark.parametrize("build", [perceptron, pytest.param(convolutional_model, marks=untraced)])
def test_a_resumable_file_goes_on_to_the_same_bits_and_is_small(tmp_path, build):
    model = compiled(build(), keras.optimizers.Adam(0.01))
    fit(model, reallocating()) if build is perceptron else fit(model)
    dsr.save(model, tmp_path / "small.keras", resumable=True)
    model.save(tmp_path / "whole.keras")
    assert (tmp_path / "small.keras").stat().st_size < (tmp_path / "whole.keras").stat().st_size / 2
    loaded = keras.models.load_model(tmp_path / "small.keras")
    assert state_bits(loaded) == state_bits(model)
    for either in (model, loaded):
        fit(either, reallocating()) if build is perceptron else fit(either)
    assert state_bits(loaded) == state_bits(model)


# Full disks and damage


@pytest.mark.parametrize("act", ACTS)
def test_a_full_disk_leaves_the_old_file_and_the_model(small_disk, act):
    old, large = perceptron(), perceptron(hidden=60_000)
    act(old, small_disk)
    before = {path: path.read_bytes() for path in small_disk.rglob("*") if path.is_file()}
    with pytest.raises(OSError, match="The disk is full: .* was not written, and what was there before is as it was"):
        act(large, small_disk)
    assert {path: path.read_bytes() for path in small_disk.rglob("*") if path.is_file()} == before
    assert type(large.layers[0]) is dsr.SparseDense


@pytest.mark.parametrize("resumable", [False, True])
def test_a_damaged_file_gives_an_error_or_the_same_network(tmp_path, resumable):
    path = tmp_path / "model.keras"
    dsr.save(perceptron(hidden=200), path, resumable=resumable)
    whole, expected = path.read_bytes(), bits(keras.models.load_model(path)(batch()))
    errors = 0
    for version in damaged(whole, flips=30, cuts=10):
        path.write_bytes(version)
        try:
            loaded = keras.models.load_model(path)
        except Exception:  # of zipfile, zlib, json or Keras, by what the bit was for
            errors += 1
        else:
            assert bits(loaded(batch())) == expected  # no one reads that bit
    assert errors >= 30


@pytest.mark.once
@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize` method")
def test_a_stripped_model_that_keras_quantizes_keeps_its_zeros_and_is_small(tmp_path):
    model = keras.Sequential(
        [keras.Input((256,)), dsr.SparseDense(512, sparsity=0.9), dsr.SparseDense(10, sparsity=0.5)]
    )
    stripped = dsr.strip(model)
    zeros = [values(layer.kernel) == 0 for layer in stripped.layers]
    stripped.quantize("int8")
    for layer, zero in zip(stripped.layers, zeros):
        assert not values(layer._kernel)[zero].any()
    dsr.save(stripped, tmp_path / "small.keras")
    stripped.save(tmp_path / "stock.keras")
    assert (tmp_path / "small.keras").stat().st_size < 0.3 * (tmp_path / "stock.keras").stat().st_size
    loaded, x = keras.models.load_model(tmp_path / "small.keras"), np.ones((3, 256), "float32")
    np.testing.assert_allclose(values(loaded(x)), values(stripped(x)), rtol=1e-6)
