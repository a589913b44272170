import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.conversion.convert import stripped
from keras_dsr.exporting.litert import write_litert
from keras_dsr.exporting.litert.conversion import problem_of
from tests.helpers.export_networks import convolutional, random_inputs, recurrent
from tests.helpers.networks import batch, perceptron, values

Interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
pytestmark = pytest.mark.backends("tensorflow")  # whose converter it is


def write(model, path, **settings):
    with stripped(model):
        write_litert(model, path, **settings)


def sparse_shapes(path):
    """Shapes of the tensors that a file holds sparse, as LiteRT has them: outputs first."""
    tensors = Interpreter(str(path)).get_tensor_details()
    return sorted(tuple(tensor["shape"].tolist()) for tensor in tensors if tensor["sparsity_parameters"])


def test_a_process_without_keras_dsr_computes_the_same_from_sparse_tensors(tmp_path):
    model = convolutional()
    x = random_inputs(model)
    write(model, tmp_path / "model.tflite")
    assert sparse_shapes(tmp_path / "model.tflite") == [(10, 32), (16, 3, 3, 3), (32, 3, 3, 16)]
    assert (tmp_path / "model.tflite").stat().st_size < 0.6 * 4 * model.count_params()
    np.savez(tmp_path / "expected.npz", x=x, y=values(model(x)))
    code = """
import sys
import warnings
sys.modules["keras_dsr"] = sys.modules["keras"] = sys.modules["tensorflow"] = None
import numpy as np
from ai_edge_litert.interpreter import Interpreter
kept = np.load("expected.npz")
(y,) = Interpreter("model.tflite").get_signature_runner()(pixels=kept["x"]).values()
np.testing.assert_allclose(y, kept["y"], rtol=1e-4, atol=1e-5)
print("equal")
"""
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert process.stdout == "equal\n", process.stderr


def test_the_dense_file_is_written_where_it_is_smaller_and_all_names_are_kept(tmp_path):
    left, right = keras.Input((9,), name="left"), keras.Input((5,), dtype="int32", name="right")
    few = keras.layers.Embedding(3, 2)(right)
    outputs = {"wide": dsr.SparseDense(7, sparsity=0.5)(left), "narrow": keras.layers.Flatten()(few)}
    model = keras.Model({"right": right, "left": left}, outputs)
    write(model, tmp_path / "model.tflite")
    assert sparse_shapes(tmp_path / "model.tflite") == []
    x = {"left": np.ones((4, 9), "float32"), "right": np.full((4, 5), 2, "int32")}
    received = Interpreter(str(tmp_path / "model.tflite")).get_signature_runner()(**x)
    assert received.keys() == outputs.keys()
    for name, expected in model(x).items():
        np.testing.assert_allclose(received[name], values(expected), rtol=1e-5, atol=1e-6)


def test_recurrent_layers_need_a_fixed_batch_size(tmp_path):
    model = recurrent()
    path = tmp_path / "model.tflite"
    with pytest.raises(
        ValueError, match="operations TensorListReserve in this form. Give recurrent layers a fixed batch"
    ):
        write(model, path)
    assert not path.exists()
    x = random_inputs(model, size=1)
    write(model, path, input_signature=[keras.InputSpec("float32", x.shape, name="rows")])
    (received,) = Interpreter(str(path)).get_signature_runner()(rows=x).values()
    np.testing.assert_allclose(received, values(model(x)), rtol=1e-4, atol=1e-5)
    assert sparse_shapes(path) == [(5, 24)]  # those of the loop are in a part of the file that it does not list


def test_a_file_with_other_weights_is_told_from_the_model(tmp_path):
    model = perceptron()
    path = tmp_path / "model.tflite"
    write(model, path)
    (name,) = Interpreter(str(path)).get_signature_runner().get_input_details()
    inputs = {name: batch(2)}
    assert problem_of(Interpreter, path.read_bytes(), inputs, {"output_0": values(model(batch(2)))}) is None
    other_shape = {"output_0": values(model(batch(2)))[None]}
    assert "should have (1, 2, " in problem_of(Interpreter, path.read_bytes(), inputs, other_shape)
    kernel = model.layers[1].variable_of("kernel")
    weights = values(kernel)
    weights.reshape(-1)[dsr.sparse_weights(model)[1].positions()[:40]] = 0  # it loses some of its 48 weights
    kernel.assign(weights)
    changed = {"output_0": values(model(batch(2)))}
    assert "'output_0' differs by" in problem_of(Interpreter, path.read_bytes(), inputs, changed)
    assert problem_of(Interpreter, path.read_bytes()[:200], inputs, changed) is not None


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in '.tflite'. Received: .*model.lite"):
        write(perceptron(), tmp_path / "model.lite")


def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)  # Python's own way to have an import fail
    with pytest.raises(ImportError, match=r"package 'ai-edge-litert'.*pip install ai-edge-litert"):
        write(perceptron(), tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_half_precision_is_refused(tmp_path):
    with pytest.raises(ValueError, match="layer 'hidden', which computes in float16: LiteRT has float32"):
        write(perceptron(dtype="mixed_float16"), tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_a_quantized_model_is_named_as_such(tmp_path):
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(8, name="small"), keras.layers.Dense(3)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="InputLayer does not have a `quantize` method")  # by Keras 3.15
        model.quantize("int8")
    with pytest.raises(
        ValueError, match=r"layer 'small', which is quantized \(int8\): LiteRT has no products of .* was b"
    ):
        write(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("settings", [{}, {"calibration": np.ones((2, 64), "float32")}], ids=["float32", "int8"])
def test_what_the_interpreter_does_not_have_is_named(settings, tmp_path):
    inputs = keras.Input((64,))
    model = keras.Model(inputs, keras.ops.erfinv(dsr.SparseDense(8, sparsity=0.8)(inputs)), name="quantiles")
    with pytest.raises(ValueError, match="operations Erfinv in this form. Replace the layers"):
        write(model, tmp_path / "model.tflite", **settings)
    assert not list(tmp_path.iterdir())


def test_shapes_that_cannot_be_guessed_are_asked_for(tmp_path):
    inputs = keras.Input((None, 4))
    model = keras.Model(inputs, dsr.SparseDense(8, sparsity=0.5)(keras.ops.reshape(inputs, (-1, 5 * 4))))
    with pytest.raises(ValueError, match=r"does not take random inputs of the shapes .*\(2, 32, 4\).*input_signature="):
        write(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())
