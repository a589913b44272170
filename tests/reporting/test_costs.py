"""FLOPs and bytes, by hand."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

import keras_dsr as dsr
from keras_dsr.exporting.packing import pack
from keras_dsr.reporting.costs import uses_of
from keras_dsr.reporting.kernels import kernels_of, other_parameters
from keras_dsr.reporting.page import Row, Totals
from keras_dsr.reporting.tracing import trace


def uses(model: keras.Model) -> dict[str, int | str]:
    """How often a weight of each kernel is used for one example, or why that is not known, by the end of its name."""
    traced = trace(model)
    found = {}
    for kernel in kernels_of(model):
        one = uses_of(kernel, traced)
        found["/".join(kernel.name.split("/")[-2:])] = one.reason if one.count is None else one.count
    return found


def functional(shape, *chain) -> keras.Model:
    return keras.Sequential([keras.Input(shape), *chain])


@pytest.mark.parametrize(
    ("shape", "layer", "expected"),
    [
        ((6,), layers.Dense(5, name="a"), {"a/kernel": 1}),
        ((7, 6), layers.Dense(5, name="a"), {"a/kernel": 7}),  # once a row
        ((7, 6), layers.EinsumDense("abc,cd->abd", (None, 5), name="a"), {"a/kernel": 7}),
        ((7, 3, 4), layers.EinsumDense("abcd,cde->abe", (None, 5), name="a"), {"a/kernel": 7}),
        ((2, 7, 6), layers.EinsumDense("...x,xy->...y", 5, name="a"), {"a/kernel": 14}),
        ((9, 2), layers.Conv1D(4, 3, name="a"), {"a/kernel": 7}),
        ((9, 9, 4), layers.Conv2D(6, 3, strides=2, padding="same", groups=2, name="a"), {"a/kernel": 25}),
        ((9, 8, 4), layers.Conv2D(6, (3, 2), dilation_rate=2, name="a"), {"a/kernel": 5 * 6}),
        ((5, 5, 5, 1), layers.Conv3D(2, 2, name="a"), {"a/kernel": 64}),
        ((5, 6, 3), layers.Conv2DTranspose(4, 3, strides=2, name="a"), {"a/kernel": 30}),  # once a pixel of the input
        ((8, 8, 3), layers.DepthwiseConv2D(3, depth_multiplier=2, name="a"), {"a/kernel": 36}),
        ((8, 8, 3), layers.SeparableConv2D(5, 3, name="a"), {"a/depthwise_kernel": 36, "a/pointwise_kernel": 36}),
        ((7,), layers.Embedding(10, 4, name="a"), {"a/embeddings": 0}),
    ],
)
def test_how_often_each_layer_uses_a_weight(shape, layer, expected):
    assert uses(functional(shape, layer)) == expected


def test_recurrent_layers_use_a_weight_once_a_step():
    model = functional((7, 3), layers.Bidirectional(layers.LSTM(4, return_sequences=True)), dsr.SparseGRU(2))
    traced = trace(model)
    assert [uses_of(kernel, traced).count for kernel in kernels_of(model)] == [7] * 6  # two kernels a cell, three cells


def test_projections_of_attention():
    inputs = keras.Input((7, 6))
    model = keras.Model(inputs, dsr.SparseMultiHeadAttention(2, 3, sparsity=0.5)(inputs, inputs))
    assert uses(model) == dict.fromkeys(("query/kernel", "key/kernel", "value/kernel", "attention_output/kernel"), 7)


def test_a_shared_layer_counts_each_call_and_a_merged_batch_each_row():
    inputs = keras.Input((4, 6))
    shared = dsr.SparseDense(6, sparsity=0.5, name="shared")
    x = keras.ops.reshape(shared(shared(inputs)), (-1, 6))  # rows of all examples in one axis
    model = keras.Model(inputs, layers.Dense(2, name="merged")(x))
    assert uses(model) == {"shared/kernel": 8, "merged/kernel": 4}


def test_nested_and_subclassed_models():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = functional((8, 8, 1), layers.Conv2D(4, 3, name="conv"), layers.Flatten())
            self.head = layers.Dense(2, name="head")

        def call(self, inputs):
            return self.head(self.inner(inputs))

    model = Subclassed()
    model(np.zeros((5, 8, 8, 1), "float32"))  # whatever batch it was built with
    assert uses(model) == {"conv/kernel": 36, "head/kernel": 1}


def test_what_is_not_known_has_a_reason():
    class Own(layers.Dense):
        pass

    open_size = functional((None, None, 1), layers.Conv2D(4, 3, name="conv"), layers.GlobalAveragePooling2D())
    reason = uses(open_size)["conv/kernel"]
    if keras.backend.backend() == "tensorflow":
        assert reason == "what the layer gets or returns has an open size, such as a length"
    else:  # where Keras would fill in a number
        assert reason == "the model's input has an open size"
    model = functional((7, 6), layers.TimeDistributed(layers.Dense(3, name="in")), layers.Flatten(), Own(2, name="own"))
    assert list(uses(model).values()) == ["the layer lies in a TimeDistributed", "no rule for Own"]


def test_tracing_leaves_the_model_as_it_was():
    model = functional((8,), dsr.SparseDense(4, sparsity=0.5), layers.BatchNormalization(), layers.Dropout(0.5))
    before = model.get_weights()
    assert trace(model).problem is None
    assert all("call" not in vars(layer) for layer in model.layers)
    assert all(np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))


def test_the_numbers_of_a_network_by_hand():
    model = functional(
        (8, 8, 1),
        layers.Conv2D(4, 3, name="conv"),  # 36 weights, 6 x 6 pixels
        layers.BatchNormalization(),
        layers.Flatten(),
        dsr.SparseDense(
            100, sparsity=0.99, name="wide", dtype="bfloat16", kernel_initializer="ones"
        ),  # 144 x 100, 144 active
    )
    kernels = kernels_of(model)
    traced = trace(model)
    conv, wide = (Row(kernel, uses_of(kernel, traced)) for kernel in kernels)
    assert (conv.kernel.is_sparse, conv.kernel.active, conv.kernel.packed_bytes) == (False, 36, 144)
    assert (conv.dense_flops, conv.sparse_flops) == (2 * 36 * 36, 2 * 36 * 36)
    assert (wide.kernel.size, wide.kernel.active, wide.kernel.dense_bytes) == (14_400, 144, 28_800)
    assert (wide.dense_flops, wide.sparse_flops) == (28_800, 288)
    assert wide.kernel.packed_bytes == pack(wide.kernel.values()).nbytes < 28_800 / 50
    totals = Totals.of([conv, wide])
    assert (totals.places, totals.active, totals.dense_flops, totals.sparse_flops) == (14_436, 180, 31_392, 2_880)
    assert other_parameters(model, kernels) == (4 + 8 + 100, 4 * 12 + 2 * 100)


@given(st.integers(1, 20), st.integers(1, 20), st.floats(0, 0.99))
def test_the_kernel_of_a_stripped_model_is_that_of_the_sparse_one(inputs, units, sparsity):
    model = keras.Sequential([keras.Input((inputs,)), dsr.SparseDense(units, sparsity=sparsity)])
    (sparse,) = kernels_of(model)
    (plain,) = kernels_of(dsr.strip(model))
    assert plain.active == sparse.active
    assert plain.is_sparse == (plain.active < plain.size)
    assert np.array_equal(plain.values(), sparse.values())
    assert np.count_nonzero(sparse.values()) == sparse.active


def test_masks_of_a_sparse_optimizer():
    model = functional((8,), layers.Dense(4, name="a"), layers.Dense(2, name="b"))
    model.compile(dsr.SparseOptimizer("sgd", sparsity=0.5, select=".*a/kernel"), "mse")
    first, second = kernels_of(model)
    assert (first.active, first.is_sparse, second.active, second.is_sparse) == (16, True, 8, False)
