"""Fully connected layers of a LiteRT file: in whatever form their weights are, the interpreter gives the same."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dsr as dsr
from keras_dsr.exporting.litert.graph import LiteRTGraph
from keras_dsr.exporting.litert.products import FORMS, product_file, products_of, set_form
from tests.helpers.export_networks import random_inputs
from tests.helpers.networks import values

pytestmark = pytest.mark.backends("tensorflow")  # whose converter it is


@given(
    outputs=st.integers(1, 40),
    inputs=st.integers(1, 20),
    rows=st.integers(1, 9),
    density=st.floats(0, 1),
    forms=st.lists(st.sampled_from(FORMS), min_size=1, max_size=4),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=40)
def test_every_form_after_any_other_gives_the_product(outputs, inputs, rows, density, forms, seed):
    rng = np.random.default_rng(seed)
    shape = (outputs, 4 * inputs)
    kernel = (rng.normal(size=shape) * (rng.random(shape) < density)).astype("float32")
    kernel[0, 0] = 1
    graph = LiteRTGraph(product_file(kernel, rows, "dense"))
    for form in forms:
        (product,) = products_of(graph)
        set_form(graph, product, form)
    graph = LiteRTGraph(graph.content())
    assert graph.content() == LiteRTGraph(graph.content()).content()
    (product,) = products_of(graph)
    assert product.form == forms[-1]
    interpreter = Interpreter(model_content=graph.content())
    interpreter.allocate_tensors()
    by_xnnpack = {one["op_name"] for one in interpreter._get_ops_details()} & {"DELEGATE", "TfLiteXNNPackDelegate"}
    assert bool(by_xnnpack) == (forms[-1] in ("dense", "unpacked"))  # which is why these are as fast as dense
    np.testing.assert_array_equal(product.kernel, kernel)
    x = rng.normal(size=(rows, 4 * inputs)).astype("float32")
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    y = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(y, x @ kernel.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_that_is_called_twice_has_one_form(form, tmp_path):
    inputs = keras.Input((16,))
    shared = dsr.SparseDense(16, sparsity=0.9, mask_seed=1, name="shared")
    model = keras.Model(inputs, keras.ops.relu(shared(shared(inputs))) + inputs)
    dsr.export(model, tmp_path / "model.tflite", kernels="dense")
    graph = LiteRTGraph((tmp_path / "model.tflite").read_bytes())
    (product,) = products_of(graph)
    assert len(product.inputs) == 2
    set_form(graph, product, form)
    x = random_inputs(model)
    interpreter = Interpreter(model_content=graph.content())
    (y,) = interpreter.get_signature_runner()(**{model.inputs[0].name: x}).values()
    np.testing.assert_allclose(y, values(model(x)), rtol=1e-4, atol=1e-5)


def test_blocks_that_are_unpacked_are_stored_in_the_fewest_bytes():
    rng = np.random.default_rng(0)
    kept = np.repeat(rng.random((64, 16)) < 0.2, 4, axis=1)
    kernel = (rng.normal(size=(64, 64)) * kept).astype("float32")
    of_blocks, of_one = product_file(kernel, 1, "unpacked"), product_file(kernel, 1, "single")
    assert len(of_blocks) < 0.9 * len(of_one)
    (product,) = products_of(LiteRTGraph(of_blocks))
    assert product.form == "unpacked"
    np.testing.assert_array_equal(product.kernel, kernel)
