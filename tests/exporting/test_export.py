import gc
import hashlib
import mmap
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.conversion.convert import stripped
from tests.helpers.files import damaged, files_in
from tests.helpers.networks import batch, bits, compiled, fit

tf = pytest.importorskip("tensorflow")
from tensorflow.core.protobuf import saved_model_pb2  # noqa: E402

from keras_dsr.exporting.csr_choice import MARGIN  # noqa: E402
from keras_dsr.exporting.saved_model import pack_weights, write_packed  # noqa: E402

pytestmark = pytest.mark.backends("tensorflow")  # the only one that packs; see test_exporting_elsewhere.py

WORDS = ["red", "green", "blue", "warm", "cold", "red blue", "green green cold", "unknown warm"]


def perceptron(sparsity=0.9, **settings):
    """64-400-10: large enough to be packed."""
    return keras.Sequential(
        [
            keras.Input((64,), name="pixels"),
            dsr.SparseDense(400, sparsity=sparsity, mask_seed=1, activation="relu", **settings),
            dsr.SparseDense(10, sparsity=sparsity, mask_seed=2, **settings),
        ]
    )


def with_bitmasks():
    return perceptron(sparsity=0.6)


def convolutional():
    """Two outputs, dictionary inputs and outputs, and batch statistics."""
    image, scale = keras.Input((8, 8, 1), name="image"), keras.Input((1,), name="scale")
    x = dsr.SparseConv2D(64, 3, sparsity=0.9, padding="same", mask_seed=1)(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = dsr.SparseConv2D(48, 1, strides=2, sparsity=0.95, mask_seed=2, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x) * scale
    outputs = {"classes": dsr.SparseDense(10, sparsity=0.5, name="head")(x), "features": x}
    model = keras.Model({"image": image, "scale": scale}, outputs)
    model.get_layer("norm").moving_mean.assign(np.linspace(-1, 1, 64))
    return model


def recurrent():
    rows = keras.Input((8, 8), name="rows")
    return keras.Model(rows, dsr.SparseLSTM(48, sparsity=0.9, mask_seed=1)(rows))


def textual():
    """Strings in, looked up in a table that the file holds."""
    look_up = keras.layers.TextVectorization(output_sequence_length=4)
    look_up.adapt(WORDS)
    text = keras.Input((), dtype="string", name="text")
    x = keras.layers.Embedding(look_up.vocabulary_size(), 64)(look_up(text))
    return keras.Model(text, dsr.SparseDense(100, sparsity=0.9, mask_seed=1)(keras.layers.Flatten()(x)))


def held_by_optimizer():
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(300, activation="relu"), keras.layers.Dense(10)])
    compiled(model, dsr.SparseOptimizer(keras.optimizers.SGD(0.1), sparsity=0.9))
    fit(model, batches=2)
    return model


def half_precision():
    return perceptron(dtype="mixed_float16")


MODELS = [perceptron, with_bitmasks, convolutional, recurrent, textual, held_by_optimizer, half_precision]


def inputs_of(build):
    images = batch()
    if build is convolutional:
        return {"image": images.reshape(-1, 8, 8, 1), "scale": np.linspace(0, 1, 8, dtype="float32")[:, None]}
    return {recurrent: images.reshape(-1, 8, 8), textual: np.array(WORDS)}.get(build, images)


SERVE_ALL = """
import gc, json, pathlib, sys
sys.modules["keras_dsr"] = None
import numpy as np, tensorflow as tf

def array(value):
    return value if isinstance(value, np.ndarray) else np.asarray(value)

def flat(outputs):
    return [array(part) for part in tf.nest.flatten(outputs)]

def tensors(inputs):
    return {name: tf.constant(value) for name, value in inputs.items()}

def in_session(path, inputs):  # in the order of TensorFlow Serving: restore, then initialize
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], path).signature_def["serving_default"]
        feed = {signature.inputs[name].name: value for name, value in inputs.items()}
        return session.run({name: output.name for name, output in signature.outputs.items()}, feed)

def alone_with_its_function(path):  # as most people load: the function is kept, and the loaded object is not
    serve = tf.saved_model.load(path).signatures["serving_default"]
    gc.collect()
    return serve

held = []
for name in sys.argv[1:]:
    inputs = dict(np.load(f"{name}.npz"))
    for kind in ("dense", "packed"):
        held.append(tf.saved_model.load(f"{name}/{kind}"))
    dense, packed = (model.signatures["serving_default"] for model in held[-2:])
    assert dense.structured_input_signature == packed.structured_input_signature, name
    assert dense.structured_outputs == packed.structured_outputs, name
    expected = dense(**tensors(inputs))
    again = tf.saved_model.load(f"{name}/packed")  # a second copy, which is gone before the first is used
    second = again.signatures["serving_default"](**tensors(inputs))
    del again
    alone = alone_with_its_function(f"{name}/packed")
    session = in_session(f"{name}/packed", inputs)
    for outputs in (packed(**tensors(inputs)), second, alone(**tensors(inputs)), session):
        assert sorted(outputs) == sorted(expected), name
        for key in expected:
            assert array(outputs[key]).tobytes() == array(expected[key]).tobytes(), (name, key)
inputs = dict(np.load("convolutional.npz"))
csr = alone_with_its_function("convolutional/csr")
for outputs in (csr(**tensors(inputs)), in_session("convolutional/csr", inputs)):
    for key, value in outputs.items():
        np.testing.assert_allclose(array(value), np.load(f"convolutional.{key}.npy"), rtol=1e-5, atol=1e-5)
for name, packed in zip(sys.argv[1:], held[1::2]):  # all of them in one process
    outputs = packed.signatures["serving_default"](**tensors(dict(np.load(f"{name}.npz"))))
    for key, value in outputs.items():
        np.testing.assert_allclose(array(value), np.load(f"{name}.{key}.npy"), rtol=1e-5, atol=1e-5)
print("served", len(held) // 2)
"""


def test_packed_models_serve_the_same_bits_where_keras_dsr_cannot_be_imported(tmp_path):
    for build in MODELS:
        model, inputs, name = build(), inputs_of(build), build.__name__
        (tmp_path / name).mkdir()
        report = dsr.export(model, tmp_path / name / "packed")
        assert {row.code for row in report.packed} == {"bitmask" if build is with_bitmasks else "gaps"}
        assert report.packed, f"nothing of {name} was packed, so this tests nothing"
        dsr.export(model, tmp_path / name / "dense", packed=False)
        if build is convolutional:
            write_with_csr(model, tmp_path / name / "csr")
        outputs = model(inputs)
        outputs = outputs if isinstance(outputs, dict) else {"output_0": outputs}
        named = inputs if isinstance(inputs, dict) else {model.inputs[0].name: inputs}
        np.savez(tmp_path / f"{name}.npz", **{key: _for_file(value) for key, value in named.items()})
        for key, value in outputs.items():
            np.save(tmp_path / f"{name}.{key}.npy", keras.ops.convert_to_numpy(value))
    command = [sys.executable, "-c", SERVE_ALL, *(build.__name__ for build in MODELS)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert f"served {len(MODELS)}" in result.stdout


def _for_file(value):
    return value.astype("S") if value.dtype.kind == "U" else value


def served(path, inputs):
    model = tf.saved_model.load(str(path))
    return model.serve(inputs).numpy()


def size_of(path):
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def test_a_stateful_layer_goes_on_from_its_state(tmp_path):
    steps = keras.Input(batch_shape=(8, 1, 64))
    model = keras.Model(steps, dsr.SparseLSTM(48, sparsity=0.9, mask_seed=1, stateful=True)(steps))
    assert dsr.export(model, tmp_path / "packed").packed
    loaded = tf.saved_model.load(str(tmp_path / "packed"))
    for _ in range(3):
        outputs = model(batch()[:, None])
        assert bits(loaded.serve(batch()[:, None])) == bits(outputs)
    assert np.abs(outputs - served(tmp_path / "packed", batch()[:, None])).max() > 0.01


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's figures")
def test_the_memory_of_a_loaded_model_is_free_when_its_function_goes(tmp_path):
    model = keras.Sequential([keras.Input((2000,)), dsr.SparseDense(3000, sparsity=0.95, use_bias=False)])
    dsr.export(model, tmp_path / "packed")
    sizes = []
    for _ in range(8):  # of 24 MB each
        serve = tf.saved_model.load(str(tmp_path / "packed")).signatures["serving_default"]
        serve(tf.ones((1, 2000)))
        del serve
        gc.collect()
        sizes.append(int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE)
    assert sizes[-1] - sizes[3] < 48e6  # and not 96; what comes first is memory that is used again


def write_with_csr(model, path):
    """A packed model whose convolutions with a window of 1 multiply by CSR, whatever would be faster."""
    with stripped(model):
        layers = [layer for layer in model.layers if getattr(layer, "kernel_size", None) == (1, 1)]
        write_packed(model, path, pack_weights(model), layers)


# How large


def test_a_packed_file_has_of_a_sparse_weight_its_values_and_a_byte_each(tmp_path):
    model = keras.Sequential([keras.Input((784,)), dsr.SparseDense(1000, sparsity=0.95, use_bias=False)])
    report = dsr.export(model, tmp_path / "packed")
    (row,) = report.packed
    assert (row.shape, row.size, row.active, row.code) == ((784, 1000), 784_000, 39_200, "gaps")
    assert row.dense_bytes == 4 * 784_000 and 5 * 39_200 <= row.packed_bytes <= 5 * 39_200 + 784_000 // 255
    assert report.bytes == size_of(tmp_path / "packed") < row.packed_bytes + 60_000
    dsr.export(model, tmp_path / "dense", packed=False)
    assert size_of(tmp_path / "dense") > 4 * 784_000
    assert (
        "784,000" in str(report)
        and "gaps" in str(report)
        and f"{report.bytes:,} bytes" in " ".join(str(report).split())
    )


def test_a_dense_weight_and_a_small_one_stay_as_they_are(tmp_path):
    layers = [keras.layers.Dense(300), dsr.SparseDense(20, sparsity=0.9), dsr.SparseDense(900, sparsity=0.9)]
    report = dsr.export(keras.Sequential([keras.Input((64,)), *layers]), tmp_path / "packed")
    assert [row.shape for row in report.packed] == [(300, 20), (20, 900)]
    assert dsr.export(keras.Sequential([keras.Input((64,)), dsr.SparseDense(4)]), tmp_path / "small").packed == ()


# Other runtimes


@pytest.mark.parametrize("packed", [None, True])
def test_onnx_runtime_gives_the_outputs_of_the_model(tmp_path, packed):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = perceptron(sparsity=0.95)
    report = dsr.export(model, tmp_path / "model.onnx", format="onnx", packed=packed)
    assert report.bytes == (tmp_path / "model.onnx").stat().st_size < 4 * 64 * 400 / 2
    outputs = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, {"pixels": batch()})
    np.testing.assert_allclose(outputs[0], model(batch()), rtol=1e-5, atol=1e-5)
    assert type(model.layers[0]) is dsr.SparseDense and files_in(tmp_path) == ["model.onnx"]


def test_litert_gives_the_outputs_of_the_model(tmp_path):
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    model = perceptron(sparsity=0.95)
    report = dsr.export(model, tmp_path / "model.tflite", format="litert")
    assert report.bytes == (tmp_path / "model.tflite").stat().st_size < 4 * 64 * 400 / 2
    runner = litert.Interpreter(str(tmp_path / "model.tflite")).get_signature_runner("serving_default")
    np.testing.assert_allclose(runner(pixels=batch())["output_0"], model(batch()), rtol=1e-5, atol=1e-5)
    assert type(model.layers[0]) is dsr.SparseDense and files_in(tmp_path) == ["model.tflite"]


# Values of 16 bits


def test_float16_values_are_those_of_the_weights_rounded(tmp_path):
    model = perceptron()
    half = dsr.export(model, tmp_path / "half", dtype="float16")
    assert sum(row.packed_bytes for row in half.packed) < 0.62 * 5 * sum(row.active for row in half.packed)
    assert model.layers[0].kernel.dtype == "float32"
    for layer in model.layers:
        kernel = layer.variable_of("kernel")
        kernel.assign(keras.ops.cast(keras.ops.cast(kernel, "float16"), "float32"))
    dsr.export(model, tmp_path / "rounded")
    assert served(tmp_path / "half", batch()).tobytes() == served(tmp_path / "rounded", batch()).tobytes()


def test_a_weight_too_large_for_float16_is_refused(tmp_path):
    model = perceptron()
    model.layers[0].variable_of("kernel").assign(1e5 * keras.ops.ones((64, 400)))
    with pytest.raises(
        ValueError, match=r"export\(dtype='float16'\) cannot hold '.*kernel': its largest value is 100000"
    ):
        dsr.export(model, tmp_path / "half", dtype="float16")
    assert files_in(tmp_path) == []


# Products by CSR


def test_layers_that_multiply_by_csr_give_equal_outputs(tmp_path):
    model, inputs = convolutional(), inputs_of(convolutional)
    expected = model(inputs)
    write_with_csr(model, tmp_path / "csr")
    assert "SparseMatrixMatMul" in operations_of(tmp_path / "csr")
    loaded = tf.saved_model.load(str(tmp_path / "csr"))
    assert bits(model(inputs)["classes"]) == bits(expected["classes"])
    for key, value in loaded.serve(inputs).items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sparsity", [0.9, 0.99])
def test_what_is_chosen_was_measured_to_be_faster(tmp_path, sparsity):
    layers = [dsr.SparseDense(1500, sparsity=sparsity, activation="relu"), dsr.SparseConv1D(700, 1, sparsity=sparsity)]
    model = keras.Sequential([keras.Input((3, 1000)), *layers, keras.layers.Flatten(), keras.layers.Dense(10)])
    report = dsr.export(model, tmp_path / "auto", kernels="auto", batch_sizes=(2, 8))
    assert [row.layer for row in report.products] == [layer.name for layer in model.layers[:2]]
    for row in report.products:
        assert [rows for rows, _ in row.speedups] == [6, 24]  # examples times 3 positions
        assert row.by_csr == all(speedup >= MARGIN for _, speedup in row.speedups)
        assert row.density == pytest.approx(1 - sparsity, abs=1e-3)
    chosen = sum(row.by_csr for row in report.products)
    assert operations_of(tmp_path / "auto").count("SparseMatrixMatMul") == chosen
    assert f"CSR in {chosen} of 2 layers" in str(report)
    inputs = np.random.default_rng(0).normal(size=(5, 3, 1000)).astype("float32")
    np.testing.assert_allclose(served(tmp_path / "auto", inputs), model(inputs), rtol=1e-4, atol=1e-4)


def operations_of(path) -> list[str]:
    """The operations of all functions of a SavedModel but those that fill it."""
    model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    functions = model.meta_graphs[0].graph_def.library.function
    return [node.op for function in functions for node in function.node_def]


def test_open_sizes_cannot_be_timed(tmp_path):
    model = keras.Sequential([keras.Input((None, None, 64)), dsr.SparseConv2D(400, 1, sparsity=0.9)])
    with pytest.raises(ValueError, match=r"kernels='auto' times the products of '.*pass input_signature="):
        dsr.export(model, tmp_path / "auto", kernels="auto", batch_sizes=(1,))
    signature = [keras.InputSpec("float32", (None, 4, 5, 64))]
    report = dsr.export(model, tmp_path / "auto", kernels="auto", batch_sizes=(3,), input_signature=signature)
    assert report.products[0].speedups[0][0] == 60


def test_the_ending_says_the_format(tmp_path):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("ai_edge_litert")
    formats = {"model.onnx": "onnx", "model.tflite": "litert", "model": "tf_saved_model", "1.2": "tf_saved_model"}
    for name, format in formats.items():
        report = dsr.export(perceptron(), tmp_path / name)
        assert (report.format, report.note) == (format, "") and (tmp_path / name).is_dir() == ("saved" in format)


# Bad input


@pytest.mark.parametrize(
    ("path", "settings", "message"),
    [
        ("model", {"format": "h5"}, "must be one of 'tf_saved_model', 'onnx', 'litert'. Received: format='h5'"),
        ("model", {"format": "onnx"}, "format='onnx'\\) must end in '.onnx'. Received: path='.*model'"),
        ("model.onnx", {"format": "litert"}, "must end in '.tflite'"),
        ("model.ONNX", {}, "format='onnx'\\) must end in '.onnx'. Received: path='.*model.ONNX'"),
        ("model.keras", {}, "not '.keras': use keras_dsr.save.* a folder for a SavedModel. Received: .*model.keras'"),
        (
            "model.tflite",
            {"format": "litert", "packed": True},
            "packed=True\\) is for format='onnx', and .*'litert'",
        ),
        ("model", {"dtype": "int8"}, "dtype=.* 'float32' or 'float16'. Received: dtype='int8'"),
        ("model", {"dtype": "float16", "packed": False}, "dtype='float16'\\) is for a packed SavedModel"),
        ("model.onnx", {"format": "onnx", "kernels": "auto", "batch_sizes": (1,)}, "kernels='auto'.*packed SavedModel"),
        ("model", {"kernels": "csr"}, "kernels=.* must be 'dense' or 'auto'. Received: kernels='csr'"),
        ("model", {"kernels": "auto"}, "go together: .* Received: kernels='auto', batch_sizes=\\(\\)"),
        ("model", {"batch_sizes": (1,)}, "go together"),
        ("model", {"kernels": "auto", "batch_sizes": 8}, "batch_sizes=.* must be ints of .* Received: batch_sizes=8"),
        ("model", {"kernels": "auto", "batch_sizes": (0,)}, "batch_sizes=.* must be ints of at least 1"),
        ("model", {"kernels": "auto", "batch_sizes": (1.5,)}, "batch_sizes=.* must be ints of at least 1"),
    ],
)
def test_arguments_that_cannot_be_met_are_refused(tmp_path, path, settings, message):
    with pytest.raises(ValueError, match=message):
        dsr.export(perceptron(), tmp_path / path, **settings)
    assert files_in(tmp_path) == []


def test_a_file_format_does_not_replace_a_folder(tmp_path):
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(FileExistsError, match=r"must be a file.*which is a folder"):
        dsr.export(perceptron(), tmp_path / "model.onnx", format="onnx")


# Damaged files


@pytest.mark.parametrize("name", ["variables/variables.data-00000-of-00001", "variables/variables.index"])
def test_a_damaged_packed_model_does_not_load(tmp_path, name):
    dsr.export(perceptron(), tmp_path / "model")
    expected = served(tmp_path / "model", batch())
    file = tmp_path / "model" / name
    errors = 0
    for version in damaged(file.read_bytes(), flips=8, cuts=4):
        file.write_bytes(version)
        try:
            assert served(tmp_path / "model", batch()).tobytes() == expected.tobytes()  # no one reads that bit
        except (tf.errors.OpError, RuntimeError, IndexError):  # TensorFlow's, of several kinds
            errors += 1
    assert errors >= 8


def test_checksums_find_a_bit_that_tensorflow_does_not_check(tmp_path):
    def differing():
        lines = (tmp_path / "model" / "assets.extra" / "SHA256SUMS").read_text().splitlines()
        named = [line.split("  ") for line in lines]
        assert sorted(name for _, name in named) == [
            "fingerprint.pb",
            "saved_model.pb",
            "variables/variables.data-00000-of-00001",
            "variables/variables.index",
        ]
        return [
            name
            for digest, name in named
            if hashlib.sha256((tmp_path / "model" / name).read_bytes()).hexdigest() != digest
        ]

    dsr.export(perceptron(), tmp_path / "model")
    assert differing() == []
    graph = tmp_path / "model" / "saved_model.pb"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    assert differing() == ["saved_model.pb"]
