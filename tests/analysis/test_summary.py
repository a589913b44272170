import re

import keras
import pytest

import keras_dsr as dsr
from tests.helpers.networks import perceptron


def model():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            dsr.SparseConv2D(10, 3, sparsity=0.5, use_bias=False, name="conv"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Flatten(),
            dsr.SparseDense(1000, sparsity=0.99, name="wide", dtype="bfloat16"),
        ]
    )


def test_the_numbers_of_a_model_by_hand():
    summary = dsr.summary(model())
    conv, wide = summary.rows

    assert (conv.shape, conv.size, conv.active, conv.sparsity) == ((3, 3, 1, 10), 90, 45, 0.5)
    assert conv.bytes == 45 * 4 + 12  # 90 bits are 12 bytes
    assert (wide.shape, wide.size, wide.active) == ((360, 1000), 360_000, 3_600)
    assert wide.sparsity == pytest.approx(0.99)
    assert wide.bytes == 3_600 * 2 + 45_000

    assert (summary.active, summary.size) == (3_645, 360_090)
    assert summary.sparsity == pytest.approx(1 - 3_645 / 360_090)
    assert summary.dense_parameters == 20 + 1000  # gamma and beta, the bias
    assert summary.dense_bytes == 20 * 4 + 1000 * 2
    assert summary.trainable_parameters == 4_665


def test_the_table_prints_every_number():
    text = str(dsr.summary(model()))
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if re.search(r"\d{2}", line)]
    assert rows[0][1:] == ["3x3x1x10", "90", "45", "50.00%", "192"]
    assert rows[1][1:] == ["360x1000", "360,000", "3,600", "99.00%", "52,200"]
    assert rows[2] == ["sparse, in all", "360,090", "3,645", "98.99%", "52,392"]
    assert rows[3] == ["dense (trainable)", "1,020", "1,020", "2,080"]
    assert rows[4] == ["model", "361,110", "4,665", "54,472"]
    assert rows[0][0].endswith("conv/kernel")
    assert rows[1][0].endswith("wide/kernel")


def test_the_table_has_no_terminal_codes():
    assert "\x1b" not in str(dsr.summary(perceptron()))


def test_a_model_without_sparse_layers_is_all_dense():
    summary = dsr.summary(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
    assert summary.rows == ()
    assert (summary.active, summary.size, summary.sparsity, summary.trainable_parameters) == (0, 0, 0.0, 10)


def test_a_shared_layer_counts_once():
    inputs = keras.Input((8,))
    shared = dsr.SparseDense(8, sparsity=0.5)
    summary = dsr.summary(keras.Model(inputs, shared(shared(inputs))))
    assert (summary.active, summary.dense_parameters) == (32, 8)


def test_an_unbuilt_model_is_refused():
    with pytest.raises(ValueError, match="has not been built"):
        dsr.summary(keras.Sequential([dsr.SparseDense(4)]))
