"""Sparse convolutions on ARM and in browsers: files are rewritten to the same function, or it is said why not."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

import keras_dsr as dsr
from keras_dsr.exporting.litert.graph import LiteRTGraph
from keras_dsr.exporting.litert.xnnpack_rules import Obstacle, find_part, is_ready
from tests.helpers.networks import values
from tests.helpers.other_machines import in_browser, needs_machines, on_arm

pytestmark = pytest.mark.backends("tensorflow")  # whose converter it is
SPARSE = "Convolutions are sparse where XNNPACK has them: on ARM and in browsers."
SAME, AFTER, EACH = "same", "after", "each side"


def padded(x, size: int, padding: str):
    """What a convolution of stride 2 reads, and its own padding: as Keras's networks, or as others, have it."""
    if padding == SAME:
        return x, "same"
    around = (size // 2, size // 2) if padding == EACH else (size // 2 - 1, size // 2)
    return layers.ZeroPadding2D((around, around))(x), "valid"


def excited(x, channels: int):
    """Squeeze-and-excitation."""
    y = layers.GlobalAveragePooling2D(keepdims=True)(x)
    y = dsr.SparseConv2D(8, 1, sparsity=0.8, activation="relu")(y)
    y = dsr.SparseConv2D(channels, 1, sparsity=0.8, activation="sigmoid")(y)
    return layers.Multiply()([x, y])


def network(size=(16, 16), padding=SAME, window=3, excites=False, head="dense", sparsity=0.9) -> keras.Model:
    """A small one of the kind of MobileNets, whose biases are not zero."""
    inputs = keras.Input((*size, 3), name="image")
    x, own = padded(layers.Rescaling(2.0, -1.0)(inputs), 3, padding)
    x = layers.Conv2D(8, 3, strides=2, padding=own, bias_initializer="normal")(x)
    x = layers.Activation("hard_swish")(x)
    x = dsr.SparseConv2D(16, 1, sparsity=sparsity, use_bias=False)(x)
    x = layers.ReLU(6.0)(x)
    x, own = padded(x, window, padding)
    x = layers.DepthwiseConv2D(window, strides=2, padding=own, bias_initializer="normal")(x)
    y = dsr.SparseConv2D(16, 1, sparsity=sparsity, activation="relu")(x)
    y = layers.DepthwiseConv2D(3, padding="same")(y)
    x = layers.Add()([x, y])
    if excites:
        x = excited(x, 16)
    x = dsr.SparseConv2D(32, 1, sparsity=sparsity, activation="relu")(x)
    x = layers.GlobalAveragePooling2D(keepdims=head == "convolution")(x)
    if head == "convolution":
        outputs = layers.Flatten()(dsr.SparseConv2D(10, 1, sparsity=0.8)(x))
    else:
        outputs = dsr.SparseDense(10, sparsity=0.8)(x)
    return keras.Model(inputs, outputs)


def images(model, seed=0):
    return np.random.default_rng(seed).normal(size=(2, *model.input_shape[1:])).astype("float32")


def outputs_of(path, x) -> np.ndarray:
    (y,) = Interpreter(str(path)).get_signature_runner()(image=x).values()
    return y


def part_of(path):
    return find_part(LiteRTGraph(path.read_bytes()))


@settings(max_examples=3)
@given(
    size=st.tuples(st.integers(9, 20), st.integers(9, 20)),
    padding=st.sampled_from([SAME, AFTER, EACH]),
    window=st.sampled_from([3, 5]),
    excites=st.booleans(),
    head=st.sampled_from(["dense", "convolution"]),
    seed=st.integers(0, 2**31),
)
def test_the_rewritten_file_gives_the_outputs_of_the_model(tmp_path_factory, size, seed, **kind):
    keras.utils.set_random_seed(seed)
    model = network(size, **kind)
    path = tmp_path_factory.mktemp("files") / "model.tflite"
    try:
        report = dsr.export(model, path, xnnpack=True)
    except ValueError as error:  # odd rows and even columns, for example
        if "padding must be half of its window on one side" not in str(error) or path.exists():
            raise
        return
    assert report.convolutions.startswith(SPARSE)
    assert is_ready(LiteRTGraph(path.read_bytes()), part_of(path))
    x = images(model, seed)
    np.testing.assert_allclose(outputs_of(path, x), values(model(x)), rtol=1e-3, atol=1e-4)


@pytest.mark.one_case_on("tensorflow")
@pytest.mark.parametrize(
    ("padding", "is_mirrored"), [(SAME, True), pytest.param(AFTER, True, marks=pytest.mark.thorough), (EACH, False)]
)
def test_padding_on_one_side_is_mirrored_and_on_each_side_left(padding, is_mirrored, tmp_path):
    model = network(padding=padding)
    report = dsr.export(model, tmp_path / "model.tflite")
    if is_mirrored:
        assert report.convolutions == (
            "Convolutions are unpacked, and dense. With xnnpack=True they are sparse on ARM and in browsers."
        )
    assert part_of(tmp_path / "model.tflite").mirrored == is_mirrored
    dsr.export(model, tmp_path / "model.tflite", xnnpack=True)
    graph = LiteRTGraph((tmp_path / "model.tflite").read_bytes())
    assert ("REVERSE_V2" in {graph.kind(one) for one in graph.operators}) == is_mirrored
    assert is_ready(graph, find_part(graph))


def first_of_five(x):
    return layers.Conv2D(8, 5, strides=2, padding="same")(x)


def behind_the_first(layer):
    def built(x):
        x = layers.Conv2D(8, 3, strides=2, padding="same")(x)
        return dsr.SparseConv2D(8, 1, sparsity=0.9)(layer(dsr.SparseConv2D(8, 1, sparsity=0.9)(x)))

    return built


def half_full(x):
    return dsr.SparseConv2D(8, 1, sparsity=0.6)(layers.Conv2D(8, 3, strides=2, padding="same")(x))


OBSTACLES = [
    (first_of_five, "it begins with no 3x3 convolution of stride 2 on an image of 3 channels"),
    (half_full, r"of the 64 weights with a window of 1 are zero: more than 2/3 must be"),
    (behind_the_first(layers.Conv2D(8, 3, padding="same")), "conv_2d .*must have a window of 1 and stride 1"),
    (behind_the_first(layers.DepthwiseConv2D(3)), "padding must be half of its window on one side"),
    (behind_the_first(layers.MaxPooling2D()), "max_pool_2d .* there may be convolutions with a window of 1"),
]
MORE_OBSTACLES = [
    (behind_the_first(layers.Conv2D(8, 1, strides=2)), "conv_2d .*must have a window of 1 and stride 1"),
    (behind_the_first(layers.DepthwiseConv2D(7, padding="same")), "depthwise_conv_2d .* of 3x3 or 5x5"),
    (behind_the_first(layers.DepthwiseConv2D(3, dilation_rate=2)), "space_to_batch_nd .* there may be"),
    (behind_the_first(layers.Softmax()), "softmax .*there may be"),
    (behind_the_first(lambda x: layers.Concatenate()([x, x])), "concatenation .*there may be"),
]


@pytest.mark.parametrize(
    ("built", "message"), [*OBSTACLES, *(pytest.param(*case, marks=pytest.mark.thorough) for case in MORE_OBSTACLES)]
)
def test_what_stands_in_the_way_is_named(built, message, tmp_path):
    inputs = keras.Input((16, 16, 3), name="image")
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(built(inputs))), name="kept")
    path = tmp_path / "model.tflite"
    with pytest.raises(ValueError, match=f"cannot make sparse convolutions of the model 'kept': .*{message}"):
        dsr.export(model, path, xnnpack=True)
    assert not list(tmp_path.iterdir())


def test_a_network_that_gives_images_or_flattens_them_is_told_so(tmp_path):
    inputs = keras.Input((16, 16, 3), name="image")
    x = dsr.SparseConv2D(8, 1, sparsity=0.9)(layers.Conv2D(8, 3, strides=2, padding="same")(inputs))
    with pytest.raises(ValueError, match="an output of the network must come from a mean over images"):
        dsr.export(keras.Model(inputs, x), tmp_path / "model.tflite", xnnpack=True)
    with pytest.raises(ValueError, match="there may be convolutions with a window of 1"):
        dsr.export(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))), tmp_path / "model.tflite", xnnpack=True)


def test_a_constant_that_is_used_behind_the_mean_too_keeps_its_axes_there(tmp_path):
    inputs = keras.Input((16, 16, 3), name="image")
    scales = np.linspace(0.5, 2, 16).astype("float32")
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
    x = dsr.SparseConv2D(16, 1, sparsity=0.9, activation="relu", mask_seed=1)(x) * scales
    x = dsr.SparseConv2D(16, 1, sparsity=0.9, activation="relu", mask_seed=2)(x)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(x) * scales)
    dsr.export(model, tmp_path / "model.tflite", xnnpack=True)
    x = images(model)
    expected, received = values(model(x)), outputs_of(tmp_path / "model.tflite", x)
    assert received.shape == expected.shape
    np.testing.assert_allclose(received, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.thorough
def test_images_of_any_size_are_told_to_be_of_one(tmp_path):
    model = network((None, None))
    report = dsr.export(model, tmp_path / "model.tflite")
    assert "For sparse ones images must be of one size: input_signature=" in report.convolutions
    signature = [keras.InputSpec(shape=(1, 18, 18, 3), dtype="float32", name="image")]
    assert dsr.export(model, tmp_path / "model.tflite", input_signature=signature, xnnpack=True).convolutions


def test_a_report_without_sparse_convolutions_says_nothing_of_them(tmp_path):
    model = keras.Sequential([keras.Input((64,)), dsr.SparseDense(64, sparsity=0.9)])
    assert dsr.export(model, tmp_path / "model.tflite").convolutions == ""


def test_the_argument_is_for_litert(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"export\(xnnpack=\.\.\.\) must be False but for format='litert'. Received: xnnpack=True, format='onnx'",
    ):
        dsr.export(network(), tmp_path / "model.onnx", xnnpack=True)
    with pytest.raises(ValueError, match="xnnpack"):
        dsr.export(network(), tmp_path / "model.tflite", xnnpack="yes")


def test_an_obstacle_is_said_in_the_report_of_any_file(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 3)), dsr.SparseConv2D(16, 3, sparsity=0.9), layers.Flatten()])
    report = dsr.export(model, tmp_path / "model.tflite")
    assert report.convolutions == (
        "Convolutions are unpacked, and dense. For sparse ones it begins with no 3x3 convolution of stride 2 on an "
        "image of 3 channels."
    )
    assert isinstance(part_of(tmp_path / "model.tflite"), Obstacle)


def test_pointwise_convolutions_are_chosen_by_their_window():
    model = network(excites=True)
    kernels = {one.path for one in model.variables if dsr.pointwise_convolutions(one)}
    assert len(kernels) == 5
    stock = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3),
            layers.Conv2D(4, 1),
            layers.SeparableConv2D(8, 3),
            layers.DepthwiseConv2D(1),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    report = dsr.sparsify(stock, 0.5, exclude=lambda one: not dsr.pointwise_convolutions(one))
    assert [row.size for row in report.rows] == [16, 32]


def networks_for_machines():
    for padding in (SAME, EACH):
        for excites in (False, True):
            for head in ("dense", "convolution"):
                yield pytest.param(
                    lambda padding=padding, excites=excites, head=head: network((32, 32), padding, 5, excites, head),
                    id=f"{padding}-{'excites' if excites else 'plain'}-{head}",
                )
    for name in ("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0", "ResNet50"):
        yield pytest.param(lambda name=name: application(name), id=name)


def application(name: str) -> keras.Model:
    model = getattr(keras.applications, name)(weights=None, input_shape=(64, 64, 3), classes=10)
    dsr.sparsify(model, 0.9, seed=1)
    return model


@pytest.mark.thorough
@needs_machines
@pytest.mark.parametrize("xnnpack", [False, True])
@pytest.mark.parametrize("built", list(networks_for_machines()))
def test_files_load_and_give_the_same_on_arm_and_in_browsers(built, xnnpack, tmp_path):
    keras.utils.set_random_seed(0)
    model = built()
    signature = [keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype="float32", name="image")]
    try:
        dsr.export(model, tmp_path / "model.tflite", input_signature=signature, xnnpack=xnnpack)
    except ValueError as error:
        if not xnnpack or "it begins with no 3x3 convolution" not in str(error):
            raise
        return
    x = images(model)[:1]
    expected = values(model(x))
    tolerance = 1e-4 * np.abs(expected).max()
    for run in (on_arm, in_browser):
        output = run([tmp_path / "model.tflite"], x, tmp_path).output
        np.testing.assert_allclose(output.reshape(expected.shape), expected, rtol=0, atol=tolerance)
