"""The matrix: models that users have, made sparse, trained, reallocated, saved, loaded and stripped.

All of it takes five to six minutes of one processor; most of the large networks are run with `--thorough` only. Their
training steps are run eagerly: tracing them takes longer. Keras Hub is not required: without it its models are skipped.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from tests.helpers.networks import active_counts, bits

BATCH = 2


class Case(NamedTuple):
    """How to build a model, the shape of an example, the number of its classes, and whether it trains eagerly."""

    build: Callable[[], keras.Model]
    shape: tuple[int, ...]
    run_eagerly: bool = False
    dtype: str = "float32"


def application(name: str, size: int, **arguments) -> Case:
    shape = (size, size, 3)
    builder = getattr(keras.applications, name)
    return Case(lambda: builder(weights=None, input_shape=shape, classes=10, **arguments), shape, run_eagerly=True)


class ConvolutionBlock(keras.layers.Layer):
    """Two convolutions around a shortcut."""

    def __init__(self, filters):
        super().__init__()
        self.convolutions = [keras.layers.Conv2D(filters, 3, padding="same", use_bias=False) for _ in range(2)]
        self.norms = [keras.layers.BatchNormalization() for _ in range(2)]
        self.shortcut = keras.layers.Conv2D(filters, 1)

    def call(self, x, training=None):
        y = x
        for convolution, norm in zip(self.convolutions, self.norms):
            y = keras.ops.relu(norm(convolution(y), training=training))
        return self.shortcut(x) + y


class Stage(keras.layers.Layer):
    def __init__(self, filters):
        super().__init__()
        self.blocks = [ConvolutionBlock(filters) for _ in range(2)]

    def call(self, x, training=None):
        for block in self.blocks:
            x = block(x, training=training)
        return x


class ResidualNetwork(keras.Model):
    def __init__(self):
        super().__init__()
        self.stages = [Stage(8), Stage(16)]
        self.head = keras.layers.Dense(10, activation="softmax")

    def call(self, x, training=None):
        for stage in self.stages:
            x = stage(x, training=training)
        return self.head(keras.ops.mean(x, axis=(1, 2)))


def residual_network():
    model = ResidualNetwork()
    model(np.zeros((1, 16, 16, 3), "float32"))
    return model


def shared_tower():
    inputs = keras.Input((32,))
    shared = keras.layers.Dense(32, "relu", name="shared")
    return keras.Model(inputs, keras.layers.Dense(10, "softmax")(shared(shared(shared(inputs)))))


def lstm_classifier():
    inputs = keras.Input((12,), dtype="int32")
    x = keras.layers.Embedding(50, 16)(inputs)
    x = keras.layers.Bidirectional(keras.layers.LSTM(16, return_sequences=True))(x)
    return keras.Model(inputs, keras.layers.Dense(10, "softmax")(keras.layers.LSTM(16)(x)))


def transformer():
    inputs = keras.Input((12,), dtype="int32")
    x = keras.layers.Embedding(50, 32)(inputs)
    y = keras.layers.LayerNormalization()(x)
    x = keras.layers.Add()([x, keras.layers.MultiHeadAttention(4, 8)(y, y)])
    y = keras.layers.Dense(64, "gelu")(keras.layers.LayerNormalization()(x))
    x = keras.layers.Add()([x, keras.layers.Dense(32)(y)])
    return keras.Model(inputs, keras.layers.Dense(10, "softmax")(keras.layers.GlobalAveragePooling1D()(x)))


def hub_vit():
    hub = pytest.importorskip("keras_hub")
    backbone = hub.models.ViTBackbone(
        image_shape=(16, 16, 3), patch_size=4, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    inputs = keras.Input((16, 16, 3))
    return keras.Model(inputs, keras.layers.Dense(10, "softmax")(backbone(inputs)[:, 0]))


def hub_bert():
    hub = pytest.importorskip("keras_hub")
    backbone = hub.models.BertBackbone(
        vocabulary_size=50, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32, max_sequence_length=12
    )
    tokens = keras.Input((12,), dtype="int32")
    mask = keras.ops.ones_like(tokens)
    features = backbone({"token_ids": tokens, "segment_ids": keras.ops.zeros_like(tokens), "padding_mask": mask})
    return keras.Model(tokens, keras.layers.Dense(10, "softmax")(features["pooled_output"]))


CASES = {
    "MobileNetV3Small": application("MobileNetV3Small", 32),
    "EfficientNetB0": application("EfficientNetB0", 32),
    "ConvNeXtTiny": application("ConvNeXtTiny", 32),
    "DenseNet121": application("DenseNet121", 32),
    "ResNet50": application("ResNet50", 32),
    "VGG16": application("VGG16", 32),
    "InceptionV3": application("InceptionV3", 75),
    "subclassed": Case(residual_network, (16, 16, 3)),
    "shared": Case(shared_tower, (32,)),
    "lstm": Case(lstm_classifier, (12,), dtype="int32"),
    "transformer": Case(transformer, (12,), dtype="int32"),
    "hub_vit": Case(hub_vit, (16, 16, 3)),
    "hub_bert": Case(hub_bert, (12,), dtype="int32"),
}
MANY_OPERATIONS = ("MobileNetV3Small",)  # which take long to trace or to compile, one by one, everywhere but on torch
SLOW_TO_TRACE = ("subclassed", "lstm")  # on TensorFlow
LARGE = ("EfficientNetB0", "ConvNeXtTiny", "DenseNet121", "ResNet50", "VGG16", "InceptionV3")
NOT_KERAS_OWN = ("subclassed", "hub_vit", "hub_bert")  # for which `load_model` cannot make sparse layers


def data_for(case):
    random = np.random.default_rng(0)
    shape = (3 * BATCH, *case.shape)
    examples = random.integers(0, 50, shape) if case.dtype == "int32" else random.normal(size=shape)
    return examples.astype(case.dtype), random.integers(0, 10, 3 * BATCH)


def predict(model, examples):
    return bits(model.predict(examples, batch_size=BATCH, verbose=0))


def masks(model):
    return [bits(weight.mask) for weight in dsr.sparse_weights(model)]


def marks_of(name):
    if name in MANY_OPERATIONS:
        return pytest.mark.slow_on("tensorflow", "jax")
    if name in SLOW_TO_TRACE:
        return pytest.mark.slow_on("tensorflow")
    return pytest.mark.thorough if name in LARGE else ()


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks_of(name)) for name in CASES])
def test_a_model_is_made_sparse_trained_reallocated_saved_loaded_and_stripped(name, tmp_path):
    case = CASES[name]
    examples, classes = data_for(case)
    model = case.build()
    dense_classes = [type(layer) for layer in model._flatten_layers()]
    report = dsr.sparsify(model, 0.9, seed=1)
    counts, first_masks = active_counts(model), masks(model)
    assert counts == [row.active for row in report.rows]
    assert report.sparsity == pytest.approx(0.9, abs=0.01)
    assert sum(row.size for row in report.rows) > 0.5 * sum(row.size for row in (*report.rows, *report.skipped))

    model.compile(
        keras.optimizers.Adam(1e-3),
        "sparse_categorical_crossentropy",
        jit_compile=keras.backend.backend() == "jax" and not case.run_eagerly,
        run_eagerly=case.run_eagerly,
    )
    callback = dsr.DSRCallback(target=0.1, period=2, initial_threshold=5e-3)
    history = model.fit(examples, classes, batch_size=BATCH, callbacks=[callback], verbose=0)
    assert history.history["dsr_reallocations"] == [1]
    assert history.history["dsr_pruned"][0] > 0
    assert masks(model) != first_masks
    assert sum(active_counts(model)) == sum(counts) == report.active
    assert all(active_counts(model))

    outputs = predict(model, examples[:BATCH])
    model.save(tmp_path / "model.keras")
    if report.own_classes:
        loaded = case.build()
        dsr.sparsify(loaded, 0.9, seed=1)
        loaded.load_weights(tmp_path / "model.keras")
    else:
        loaded = keras.models.load_model(tmp_path / "model.keras")
    assert bool(report.own_classes) == (name in NOT_KERAS_OWN)
    assert masks(loaded) == masks(model)
    assert predict(loaded, examples[:BATCH]) == outputs

    dsr.strip(model)
    assert [type(layer) for layer in model._flatten_layers()] == dense_classes
    assert predict(model, examples[:BATCH]) == outputs


@pytest.mark.slow_on("tensorflow")
@pytest.mark.backends("tensorflow")  # what is found in a model depends on no backend
def test_the_report_of_a_network_with_a_layer_of_its_own_kind_names_it():
    report = dsr.sparsify(CASES["ConvNeXtTiny"].build(), 0.9)
    skipped = {row.layer: row.reason for row in report.skipped if not row.name.endswith("/bias")}
    assert skipped == {
        "LayerScale": "no sparse class for LayerScale",
        "LayerNormalization": "normalization: dense by default",
    }
    assert {row.layer for row in report.rows} == {"Conv2D", "Dense"}
    assert "no sparse class for LayerScale" in " ".join(str(report).split())


@pytest.mark.slow_on("tensorflow")
@pytest.mark.backends("tensorflow")
@pytest.mark.parametrize("include", [(), keras.layers.DepthwiseConv2D])
def test_depthwise_kernels_are_left_dense_by_name_until_they_are_included(include):
    report = dsr.sparsify(CASES["MobileNetV3Small"].build(), 0.9, include=include)
    depthwise = [row for row in (*report.rows, *report.skipped) if row.layer == "DepthwiseConv2D"]
    assert len(depthwise) == 11
    assert all("depthwise/kernel" in row.name for row in depthwise)
    if include:
        assert set(depthwise) < set(report.rows)
    else:
        assert {row.reason for row in depthwise} == {"depthwise kernel: dense by default"}
