"""In which form a LiteRT file holds the weights of fully connected layers: chosen by measurement."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import keras_dsr as dsr
from keras_dsr.exporting.litert.graph import LiteRTGraph
from keras_dsr.exporting.litert.products import products_of
from tests.helpers.export_networks import random_inputs
from tests.helpers.networks import values

pytestmark = pytest.mark.backends("tensorflow")  # whose converter it is


def network() -> keras.Model:
    """Far wider and sparser than where forms are equally fast, one small and half full, and one without zeros."""
    return keras.Sequential(
        [
            keras.Input((1024,), name="features"),
            dsr.SparseDense(1024, sparsity=0.99, pattern=(4, 1), mask_seed=1, name="blocks"),
            keras.layers.BatchNormalization(),
            dsr.SparseDense(64, sparsity=0.4, mask_seed=2, name="half"),
            keras.layers.Dense(10, name="full"),
        ]
    )


def forms_of(path) -> list[str]:
    return [product.form for product in products_of(LiteRTGraph(path.read_bytes()))]


def test_each_layer_has_the_form_that_is_fastest_and_the_report_says_why(tmp_path):
    model = network()
    report = dsr.export(model, tmp_path / "model.tflite", batch_sizes=(1, 8))
    blocks, half, full = report.forms
    assert (blocks.name.split("/")[-2], blocks.form) == ("blocks", "blocks")
    assert [rows for rows, _ in blocks.speedups] == [1, 8]
    assert all(measured["blocks"] >= 1.1 for _, measured in blocks.speedups)
    assert (half.name.split("/")[-2], half.form) == ("half", "unpacked")
    assert "no sparse form was faster" in half.why
    assert (full.form, full.why, full.speedups) == ("dense", "it has no zeros", ())
    assert "1 of 3 are multiplied as they are stored" in str(report)
    assert forms_of(tmp_path / "model.tflite") == ["blocks", "unpacked", "dense"]
    x = random_inputs(model)
    (y,) = Interpreter(str(tmp_path / "model.tflite")).get_signature_runner()(features=x).values()
    np.testing.assert_allclose(y, values(model(x)), rtol=1e-3, atol=1e-4)


def test_dense_kernels_are_all_unpacked(tmp_path):
    report = dsr.export(network(), tmp_path / "model.tflite", kernels="dense")
    assert report.forms == ()
    assert forms_of(tmp_path / "model.tflite") == ["unpacked", "unpacked", "dense"]


def test_rows_are_those_of_all_axes_but_the_last(tmp_path):
    model = keras.Sequential([keras.Input((7, 64)), dsr.SparseDense(64, sparsity=0.5, mask_seed=1)])
    report = dsr.export(model, tmp_path / "model.tflite", batch_sizes=(3, 1))
    assert [rows for rows, _ in report.forms[0].speedups] == [7, 21]


def test_a_file_of_one_batch_size_is_timed_at_it_alone(tmp_path):
    model = keras.Sequential([keras.Input((64,)), dsr.SparseDense(64, sparsity=0.5, mask_seed=1)])
    signature = [keras.InputSpec(shape=(5, 64), dtype="float32", name="x")]
    report = dsr.export(model, tmp_path / "model.tflite", input_signature=signature)
    assert [rows for rows, _ in report.forms[0].speedups] == [5]
    before = (tmp_path / "model.tflite").read_bytes()
    with pytest.raises(ValueError, match=r"batch_sizes=.* has the batch size 5. Received: batch_sizes=\(8,\)"):
        dsr.export(model, tmp_path / "model.tflite", input_signature=signature, batch_sizes=(8,))
    assert (tmp_path / "model.tflite").read_bytes() == before
