"""LiteRT files in int8: zeros stay zeros, outputs stay near, and what was changed is said."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import layers

import keras_dsr as dsr
from keras_dsr.exporting.litert.graph import LiteRTGraph
from keras_dsr.exporting.litert.int8 import difference
from tests.helpers.networks import values
from tests.helpers.other_machines import in_browser, needs_machines, on_arm

pytestmark = pytest.mark.backends("tensorflow")  # whose converter it is
SIGNATURE = [keras.InputSpec(shape=(1, 12, 12, 3), dtype="float32", name="image")]


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((12, 12, 3), name="image"),
            dsr.SparseConv2D(32, 3, sparsity=0.9, activation="relu", mask_seed=1),
            dsr.SparseConv2D(32, 1, sparsity=0.9, mask_seed=2, use_bias=False),
            layers.Flatten(),
            dsr.SparseDense(64, sparsity=0.9, activation="relu", mask_seed=3, name="hidden"),
            dsr.SparseDense(64, sparsity=0.9, use_bias=False, mask_seed=4, name="without_bias"),
            layers.Dense(10, name="full"),
        ]
    )


def images(count=40, size=12):
    return np.random.default_rng(0).normal(size=(count, size, size, 3)).astype("float32")


def outputs_of(path, **inputs) -> np.ndarray:
    (outputs,) = Interpreter(str(path)).get_signature_runner()(**inputs).values()
    return outputs


def kernels_of(path) -> list[np.ndarray]:
    """The kernels in int8 of a file, which must have the zero point 0, outputs first."""
    graph = LiteRTGraph(path.read_bytes())
    found = []
    for operator in graph.operators:
        if graph.kind(operator) in ("CONV_2D", "FULLY_CONNECTED"):
            kernel = int(operator.inputs[1])
            assert not np.any(graph.tensors[kernel].quantization.zeroPoint)
            found.append(graph.constant(kernel))
    return found


@pytest.mark.one_case_on("tensorflow")
@pytest.mark.parametrize("kernels", ["auto", "dense"])
def test_pruned_weights_are_zero_and_outputs_near_those_in_float32(kernels, tmp_path):
    model, x = network(), images()
    path = tmp_path / "model.tflite"
    report = dsr.export(model, path, dtype="int8", calibration=x, kernels=kernels)
    weights = [values(layer.kernel) for layer in model.layers if hasattr(layer, "kernel")]
    for kernel, weight in zip(kernels_of(path), weights, strict=True):
        assert kernel.dtype == "int8"
        pruned = (np.moveaxis(weight, -1, 0) == 0).reshape(len(kernel), -1)
        assert not kernel.reshape(len(kernel), -1)[pruned].any()
    expected = values(model(x))
    received = outputs_of(path, image=x)
    error = np.abs(received - expected).max() / np.abs(expected).max()
    assert error < 0.06
    same = (received.argmax(1) == expected.argmax(1)).mean()
    assert report.quantization == (
        f"int8 beside float32, 40 examples of the calibration: outputs differ by {error:.2%} of the largest at most; "
        f"the largest output is the same in {same:.1%}."
    )
    assert report.quantization in " ".join(str(report).split())
    if kernels == "auto":
        assert [row.name.split("/")[-2] for row in report.forms] == ["hidden", "without_bias", "full"]
        assert {row.form for row in report.forms[:2]} <= {"unpacked", "blocks"}


def test_a_sparse_file_is_smaller_than_the_same_in_float32_and_than_one_of_a_dense_network(tmp_path):
    sizes = {}
    for name, model in {"sparse": network(), "dense": keras.models.clone_model(dsr.strip(network()))}.items():
        sizes[name] = dsr.export(model, tmp_path / "int8.tflite", dtype="int8", calibration=images()).bytes
    sizes["float32"] = dsr.export(network(), tmp_path / "float32.tflite").bytes
    assert sizes["sparse"] < 0.6 * sizes["dense"]
    assert sizes["sparse"] < 0.7 * sizes["float32"]


@pytest.mark.one_case_on("tensorflow")
@pytest.mark.parametrize(
    "calibration",
    [
        lambda x: tf.data.Dataset.from_tensor_slices((x, np.zeros(len(x)))).batch(7),
        lambda x: tf.data.Dataset.from_tensor_slices(x).batch(7),
        lambda x: (x[at : at + 10] for at in range(0, len(x), 10)),
        lambda x: {"image": x},
        lambda x: [x],
    ],
    ids=["labelled", "dataset", "generator", "by name", "list"],
)
def test_calibration_is_what_predict_takes_or_batches_of_it(calibration, tmp_path):
    x = images(20)
    written = []
    for given in (x, calibration(x)):
        dsr.export(network(), tmp_path / "model.tflite", dtype="int8", calibration=given, kernels="dense")
        written.append((tmp_path / "model.tflite").read_bytes())
    assert outputs_of_content(written[0], x).tobytes() == outputs_of_content(written[1], x).tobytes()


def outputs_of_content(content, x):
    (outputs,) = Interpreter(model_content=content).get_signature_runner()(image=x).values()
    return outputs


@pytest.mark.thorough
def test_a_file_of_one_batch_size_is_calibrated_by_batches_of_it(tmp_path):
    settings = {"input_signature": [keras.InputSpec(shape=(4, 12, 12, 3), dtype="float32", name="image")]}
    report = dsr.export(network(), tmp_path / "model.tflite", dtype="int8", calibration=images(11), **settings)
    assert "8 examples" in report.quantization  # two whole batches
    with pytest.raises(ValueError, match=r"at least 4 example\(s\).*Received: calibration=... with 3"):
        dsr.export(network(), tmp_path / "model.tflite", dtype="int8", calibration=images(3), **settings)


def test_several_inputs_are_told_apart_by_name_or_order(tmp_path):
    left, right = keras.Input((9,), name="left"), keras.Input((5,), name="right")
    joined = layers.Concatenate()([dsr.SparseDense(32, sparsity=0.5)(left), dsr.SparseDense(8, sparsity=0.5)(right)])
    model = keras.Model([left, right], layers.Dense(3)(joined))
    rng = np.random.default_rng(0)
    x = {"left": rng.normal(size=(30, 9)).astype("float32"), "right": rng.normal(size=(30, 5)).astype("float32")}
    for given in (x, [x["left"], x["right"]]):
        dsr.export(model, tmp_path / "model.tflite", dtype="int8", calibration=given)
        expected = values(model([x["left"], x["right"]]))
        np.testing.assert_allclose(
            outputs_of(tmp_path / "model.tflite", **x), expected, rtol=0, atol=0.05 * np.abs(expected).max()
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dtype": "int8"}, "go together: int8 needs the ranges .*calibration=None"),
        ({"calibration": np.ones((3, 12, 12, 3))}, "go together: .*dtype=None, calibration=ndarray"),
        ({"dtype": "int8", "calibration": np.ones((0, 12, 12, 3))}, r"at least 1 example.*\.\.\. with 0"),
        ({"dtype": "int8", "calibration": iter([])}, r"at least 1 example.*\.\.\. with 0"),
        ({"dtype": "int8", "calibration": np.ones((3, 12, 12))}, r"of the shapes .*Received: .*\[\(3, 12, 12\)\]"),
        ({"dtype": "int8", "calibration": [np.ones((3, 12, 12, 3))] * 2}, "inputs of the model"),
        ({"dtype": "int8", "calibration": 5}, "must be inputs as `model.predict` takes them.*calibration=5"),
        ({"dtype": "int8", "calibration": images(3), "xnnpack": True}, "must be False with dtype='int8'"),
        ({"dtype": "float16"}, "with format='litert', 'int8'. Received: dtype='float16'"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_no_file(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        dsr.export(network(), tmp_path / "model.tflite", **settings)
    assert not list(tmp_path.iterdir())


def test_other_formats_have_no_int8(tmp_path):
    with pytest.raises(ValueError, match="'float32' or 'float16'. Received: dtype='int8'"):
        dsr.export(network(), tmp_path / "saved_model", dtype="int8", calibration=images(3))
    assert not list(tmp_path.iterdir())


def test_differences_are_counted_by_hand():
    expected = {"a": np.array([[1.0, 2.0], [4.0, 3.0]])}
    found = difference({"a": np.array([[1.0, 2.5], [3.0, 3.5]])}, expected)
    assert found == (2, 0.25, 0.5)
    assert difference({"a": np.array([[1.0]])}, {"a": np.array([[2.0]])}) == (1, 0.5, None)


@pytest.mark.thorough
@needs_machines
def test_files_give_the_same_on_arm_and_in_browsers(tmp_path):
    path = tmp_path / "model.tflite"
    dsr.export(network(), path, dtype="int8", calibration=images(), input_signature=SIGNATURE)
    x = images(1)
    expected = outputs_of(path, image=x)
    for run in (on_arm, in_browser):
        output = run([path], x, tmp_path).output
        np.testing.assert_allclose(output, expected.reshape(-1), rtol=0, atol=0.02 * np.abs(expected).max())
