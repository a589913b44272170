"""Sparse cells in the layers of Keras that take cells: each trains, and computes what the masked kernels say."""

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from tests.helpers.networks import active_counts, fill_dead, values

X = np.random.default_rng(0).normal(size=(16, 5, 4)).astype("float32")
Y = X.sum((1, 2), keepdims=False)[:, None]
CELLS = {"simple": dsr.SparseSimpleRNNCell, "gru": dsr.SparseGRUCell, "lstm": dsr.SparseLSTMCell}


def cell(kind="lstm", seed=0):
    return CELLS[kind](6, sparsity=0.5, mask_seed=seed)


CONTAINERS = {
    "RNN of SimpleRNNCell": lambda: keras.layers.RNN(cell("simple")),
    "RNN of GRUCell": lambda: keras.layers.RNN(cell("gru")),
    "RNN of LSTMCell": lambda: keras.layers.RNN(cell("lstm")),
    "StackedRNNCells": lambda: keras.layers.RNN(keras.layers.StackedRNNCells([cell("gru"), cell("lstm", 5)])),
    "a list of cells": lambda: keras.layers.RNN([cell("simple"), cell("gru", 5)]),
    "Bidirectional": lambda: keras.layers.Bidirectional(keras.layers.RNN(cell("lstm"))),
}


def network(container, jit_compile):
    model = keras.Sequential([keras.Input((5, 4)), CONTAINERS[container](), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=jit_compile)
    return model


@pytest.mark.slow_on("tensorflow", "jax")
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_cell_trains_wherever_keras_takes_cells(container, jit_compile):
    if jit_compile and keras.backend.backend() == "torch":
        pytest.skip("torch compiles for minutes")
    model = network(container, jit_compile)
    total = sum(active_counts(model))
    before = [values(weight.mask) for weight in dsr.sparse_weights(model)]
    kernels = [values(weight.variable) for weight in dsr.sparse_weights(model)]
    loss = model.fit(X, Y, epochs=2, verbose=0, callbacks=[dsr.DSRCallback(target=0.2, period=1)]).history["loss"]
    assert np.isfinite(loss).all() and sum(active_counts(model)) == total
    for weight, mask, kernel in zip(dsr.sparse_weights(model), before, kernels):
        both = mask & values(weight.mask)
        assert (values(weight.variable)[both] != kernel[both]).any(), weight
    assert any((values(w.mask) != mask).any() for w, mask in zip(dsr.sparse_weights(model), before))


@pytest.mark.parametrize("container", ["RNN of LSTMCell", "Bidirectional"])
def test_a_cell_does_not_see_what_dead_places_hold_and_is_loaded_with_its_masks(container, tmp_path):
    model = network(container, False)
    outputs = model.predict(X, verbose=0)
    for weight in dsr.sparse_weights(model):
        fill_dead(weight.layer, 100.0)
    np.testing.assert_array_equal(model.predict(X, verbose=0), outputs)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(X, verbose=0), outputs, rtol=1e-5, atol=1e-6)
    for one, other in zip(dsr.sparse_weights(loaded), dsr.sparse_weights(model), strict=True):
        np.testing.assert_array_equal(values(one.mask), values(other.mask))
