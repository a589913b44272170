import importlib.util
import subprocess
import sys

import hypothesis
import keras
import numpy as np
import pytest
from hypothesis import strategies as st

import keras_dsr as dsr
from keras_dsr.conversion.convert import stripped
from keras_dsr.exporting.onnx import CONVERTERS, PACKINGS, write_onnx
from keras_dsr.exporting.onnx_initializers import steps_and_numbers, with_gaps, with_sparse_initializers
from tests.helpers.export_networks import convolutional, random_inputs, recurrent
from tests.helpers.networks import batch, fill_dead, perceptron, values

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
from onnx import helper, numpy_helper  # noqa: E402

CONVERTER = CONVERTERS.get(keras.backend.backend())
converts = pytest.mark.skipif(
    CONVERTER is not None and importlib.util.find_spec(CONVERTER) is None, reason=f"needs {CONVERTER}"
)
of_the_file = pytest.mark.backends("torch")  # no backend does any of it


def run(path, *inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip([tensor.name for tensor in session.get_inputs()], inputs)))


def write(model, path, **settings):
    with stripped(model):
        write_onnx(model, path, **settings)


@converts
@pytest.mark.parametrize("build", [perceptron, convolutional, recurrent])
def test_both_packings_are_smaller_and_compute_every_bit_of_the_dense_file(build, tmp_path):
    model = build()
    x = random_inputs(model)
    dense = tmp_path / "dense.onnx"
    with stripped(model):
        model.export(str(dense), format="onnx", verbose=False, input_signature=model.inputs)
    (expected,) = run(dense, x)
    np.testing.assert_allclose(expected, values(model(x)), rtol=1e-4, atol=1e-5)
    for pack in PACKINGS.values():
        packed = tmp_path / f"{pack.__name__}.onnx"
        onnx.save(pack(onnx.load(dense)), packed)
        onnx.checker.check_model(str(packed))
        assert packed.stat().st_size < 0.7 * dense.stat().st_size
        np.testing.assert_array_equal(run(packed, x)[0], expected)


@converts
def test_each_weight_is_sparse_only_where_that_pays(tmp_path):
    model = keras.Sequential([keras.Input((64,)), dsr.SparseDense(24, sparsity=0.8), dsr.SparseDense(30, sparsity=0.5)])
    fill_dead(model.layers[0], 7.0)  # what a file may not hold
    write(model, tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    (sparse,) = [one for one in graph.sparse_initializer if len(one.dims) == 2]  # biases of zeros are, too
    assert list(sparse.dims) == [64, 24]
    weight = dsr.sparse_weights(model)[0]
    np.testing.assert_array_equal(numpy_helper.to_array(sparse.indices), weight.positions())
    np.testing.assert_array_equal(numpy_helper.to_array(sparse.values), weight.values())
    assert [24, 30] in [list(tensor.dims) for tensor in graph.initializer]


@converts
def test_dictionaries_of_inputs_and_outputs_with_any_batch_size(tmp_path):
    left, right = keras.Input((8,), name="left"), keras.Input((6,), name="right")
    both = keras.layers.Concatenate()(
        [dsr.SparseDense(16, sparsity=0.9)(left), dsr.SparseDense(16, sparsity=0.8)(right)]
    )
    outputs = {"wide": dsr.SparseDense(20, sparsity=0.9)(both), "narrow": keras.layers.Dense(2)(both)}
    model = keras.Model({"right": right, "left": left}, outputs)  # it was never called
    write(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for size in (1, 5):
        x = {"left": np.full((size, 8), 0.5, "float32"), "right": np.arange(6 * size, dtype="float32").reshape(size, 6)}
        expected = keras.tree.flatten(model(x))
        received = session.run(None, x)
        assert [array.shape for array in received] == [(size, 2), (size, 20)]
        for array, output in zip(received, expected):
            np.testing.assert_allclose(array, values(output), rtol=1e-5, atol=1e-5)


@converts
def test_transformers_with_exact_gelu_are_translated(tmp_path):
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(20, 16)(tokens)
    x = keras.layers.LayerNormalization()(x + keras.layers.MultiHeadAttention(2, 8)(x, x))
    model = keras.Model(tokens, dsr.SparseDense(5, sparsity=0.5)(keras.layers.Dense(32, activation="gelu")(x)))
    dsr.sparsify(model, sparsity=0.9, exclude=[model.layers[-1]])
    x = np.arange(12, dtype="int32").reshape(2, 6)
    # On torch, Keras exports a LayerNormalization for fixed sizes only.
    fixed = [keras.InputSpec("int32", x.shape, name="tokens")] if keras.backend.backend() == "torch" else None
    write(model, tmp_path / "model.onnx", input_signature=fixed)
    np.testing.assert_allclose(run(tmp_path / "model.onnx", x)[0], values(model(x)), rtol=1e-4, atol=1e-5)


@converts
def test_a_signature_is_taken_and_a_subclassed_model_needs_none(tmp_path):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.classes = dsr.SparseDense(10, sparsity=0.9)

        def call(self, x):
            return self.classes(x)

    model = Subclassed()
    expected = values(model(batch(2)))
    signatures = {"inferred": None, "given": [keras.InputSpec("float32", (2, 64), name="digits")]}
    for name, signature in signatures.items():
        write(model, tmp_path / f"{name}.onnx", input_signature=signature)
        np.testing.assert_allclose(run(tmp_path / f"{name}.onnx", batch(2))[0], expected, rtol=1e-5, atol=1e-6)
    (digits,) = onnx.load(tmp_path / "given.onnx").graph.input
    assert digits.name == "digits" and [size.dim_value for size in digits.type.tensor_type.shape.dim] == [2, 64]


@converts
def test_half_precision_is_kept(tmp_path):
    model = keras.Sequential([keras.Input((64,)), dsr.SparseDense(40, sparsity=0.9, dtype="mixed_float16")])
    write(model, tmp_path / "model.onnx")
    (received,) = run(tmp_path / "model.onnx", batch(4))
    assert received.dtype == np.float16
    np.testing.assert_allclose(received, values(model(batch(4))), atol=2e-3)


@converts
def test_a_process_without_keras_dsr_computes_the_same(tmp_path):
    model = convolutional()
    x = random_inputs(model)
    for packing in PACKINGS:
        write(model, tmp_path / f"{packing}.onnx", packing=packing)
    np.savez(tmp_path / "expected.npz", x=x, y=values(model(x)), here=run(tmp_path / "sparse.onnx", x)[0])
    code = """
import sys
sys.modules["keras_dsr"] = sys.modules["keras"] = None
import numpy as np
import onnxruntime
kept = np.load("expected.npz")
for name in ("sparse.onnx", "gaps.onnx"):
    session = onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"pixels": kept["x"]})
    np.testing.assert_array_equal(y, kept["here"])
    np.testing.assert_allclose(y, kept["y"], rtol=1e-4, atol=1e-5)
    print("equal")
"""
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert process.stdout == "equal\nequal\n", process.stderr


@of_the_file
def test_steps_worked_by_hand():
    tensor = np.zeros(1300)
    tensor[[0, 1, 256, 512, 1277]] = 1, 2, 3, 4, 5
    steps, numbers = steps_and_numbers(tensor)
    assert steps.dtype == np.uint8 and steps.tolist() == [0, 1, 255, 255, 1, 255, 255, 255]
    assert numbers.tolist() == [1, 2, 3, 0, 4, 0, 0, 5]


@of_the_file
def test_a_first_step_may_be_long_and_a_tensor_empty():
    tensor = np.zeros((4, 200), dtype="float32")
    assert [array.size for array in steps_and_numbers(tensor)] == [0, 0]
    tensor[3, 0] = -1
    steps, numbers = steps_and_numbers(tensor)
    assert steps.tolist() == [255, 255, 90] and numbers.tolist() == [0, 0, -1]


@of_the_file
@hypothesis.given(
    st.lists(st.integers(1, 20), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.004, 0.1, 0.3, 0.9]),
    st.sampled_from(["float16", "float32", "float64"]),
    st.integers(0, 99),
)
def test_onnxruntime_unpacks_every_number(shape, density, dtype, seed):
    generator = np.random.default_rng(seed)
    tensor = (generator.normal(size=shape) * (generator.random(shape) < density)).astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(tensor.dtype)
    for pack in (with_sparse_initializers, with_gaps):
        graph = helper.make_graph(
            [helper.make_node("Neg", ["weights"], ["negative"])],
            "negation",
            [],
            [helper.make_tensor_value_info("negative", kind, shape)],
            [numpy_helper.from_array(tensor, "weights")],
        )
        dense = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
        size = dense.ByteSize()
        packed = pack(dense)
        onnx.checker.check_model(packed)
        assert packed.ByteSize() <= size
        np.testing.assert_array_equal(run_bytes(packed.SerializeToString()), -tensor)


def run_bytes(content):
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {})[0]


@converts
def test_unpacking_happens_when_the_file_is_loaded(tmp_path):
    write(convolutional(), tmp_path / "model.onnx", packing="gaps")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    written, loaded = (
        {node.op_type for node in onnx.load(tmp_path / name).graph.node} for name in ("model.onnx", "loaded.onnx")
    )
    assert "ScatterElements" in written
    assert not loaded & {"ScatterElements", "CumSum", "ConstantOfShape"}


@of_the_file
@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("model.pb", {}, "must end in '.onnx'. Received: .*model.pb"),
        ("model.onnx", {"packing": "zip"}, "packing=...\\) must be one of 'sparse', 'gaps'. Received: 'zip'"),
    ],
)
def test_arguments_are_checked(name, settings, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        write(perceptron(), tmp_path / name, **settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.backends("tensorflow")
@pytest.mark.parametrize("package", ["onnx", "tf2onnx"])
def test_a_missing_package_is_named_with_its_extra(package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)  # Python's own way to have an import fail
    with pytest.raises(ImportError, match=f"needs the package '{package}'.*pip install onnx tf2onnx"):
        write(perceptron(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@converts
def test_bfloat16_is_refused(tmp_path):
    with pytest.raises(ValueError, match="layer 'hidden', which computes in bfloat16"):
        write(perceptron(dtype="mixed_bfloat16"), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.backends("tensorflow", "torch")  # that of JAX knows it
@converts
def test_what_the_converter_does_not_know_is_named(tmp_path):
    inputs = keras.Input((64,))
    model = keras.Model(inputs, keras.ops.erfinv(dsr.SparseDense(8, sparsity=0.8)(inputs)), name="quantiles")
    text = f"model 'quantiles' cannot be exported as ONNX on the {keras.backend.backend()} backend.*(?i:erf_?inv)"
    with pytest.raises(ValueError, match=f"(?s){text}"):
        write(model, tmp_path / "model.onnx")


@converts
def test_two_of_four_inputs_stay_so_along_the_axis_that_is_summed(tmp_path):
    """What TensorRT asks of a kernel: of a matrix along its rows (those of Gemm's B that are summed), of a convolution
    along its channels."""
    model = keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            dsr.SparseConv2D(8, 3, sparsity=0.5, pattern="2:4", mask_seed=1),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            dsr.SparseDense(12, sparsity=0.5, pattern="2:4", mask_seed=2),
            dsr.SparseDense(5, sparsity=0.5, pattern="2:4", mask_seed=3),
        ]
    )
    dsr.export(model, tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type not in ("Conv", "MatMul", "Gemm"):
            continue
        kernel = weights[node.input[1]]
        is_transposed = any(one.name == "transB" and one.i for one in node.attribute)
        along = 1 if node.op_type == "Conv" or is_transposed else 0
        summed_last = np.moveaxis(kernel, along, -1)
        active = (summed_last.reshape(-1, 4) != 0).sum(1)
        assert (active == 2).all(), (node.op_type, kernel.shape)
        found.append(kernel.size)
    assert sorted(found) == sorted([8 * 4 * 9, 16 * 8 * 12, 12 * 5])
