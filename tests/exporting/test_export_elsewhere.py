"""`export` on the backends of which a packed SavedModel cannot be made: what it writes, and what it refuses."""

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from tests.helpers.files import files_in
from tests.helpers.networks import batch, perceptron, values

pytestmark = pytest.mark.backends("jax", "torch")
backend = keras.backend.backend()


@pytest.mark.backends("jax")
def test_a_saved_model_from_jax_is_dense_and_serves_the_outputs_of_the_model(tmp_path):
    tf = pytest.importorskip("tensorflow")
    model = perceptron()
    report = dsr.export(model, tmp_path / "exported")
    assert report.note == (
        "Not packed: its weights are dense, zeros included. What unpacks them are operations of TensorFlow, and here "
        "Keras has the jax backend. Write it with keras_dsr.save(model, 'model.keras'), and export what "
        "keras.models.load_model reads of that in a process with KERAS_BACKEND=tensorflow."
    )
    assert " ".join(str(report).split()).endswith(f"exported: tf_saved_model, {report.bytes:,} bytes {report.note}")
    assert report.packed == () and (tmp_path / "exported" / "assets.extra" / "SHA256SUMS").exists()
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(loaded.serve(batch()), values(model(batch())), rtol=1e-5, atol=1e-5)
    assert type(model.layers[0]) is dsr.SparseDense and files_in(tmp_path) == ["exported"]


@pytest.mark.backends("torch")
def test_on_torch_one_error_says_how_to_export_and_nothing_is_written_or_changed(tmp_path):
    model = perceptron()
    with pytest.raises(
        ValueError,
        match=r"(?s)cannot export the model 'sequential.*' as a SavedModel on the torch backend\. Write it with "
        r"keras_dsr\.save\(model, 'model\.keras'\), and export .* with KERAS_BACKEND=tensorflow\. It says: ",
    ):
        dsr.export(model, tmp_path / "exported")
    assert files_in(tmp_path) == []
    assert [type(layer) for layer in model.layers] == [dsr.SparseDense] * 2


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"packed": True}, r"packed=True\) is for"),
        ({"dtype": "float16"}, r"dtype='float16'\) is for a packed SavedModel, which TensorFlow's backend writes"),
        ({"kernels": "auto", "batch_sizes": (1,)}, r"kernels='auto'\) is for a packed SavedModel"),
    ],
)
def test_what_only_tensorflow_packs_is_refused_with_what_to_do(tmp_path, settings, what):
    with pytest.raises(
        ValueError, match=rf"{what}.*on the {backend} backend\. Leave it out, or: write it with keras_dsr"
    ):
        dsr.export(perceptron(), tmp_path / "exported", **settings)
    assert files_in(tmp_path) == []


def test_litert_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"needs the TensorFlow backend.* KERAS_BACKEND=tensorflow, load the model"):
        dsr.export(perceptron(), tmp_path / "model.tflite")
    assert files_in(tmp_path) == []
