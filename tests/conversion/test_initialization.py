"""Masks before training: what weights are worth is recomputed in NumPy."""

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from tests.helpers.networks import compiled, digits, fit, state_bits, values

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(16, 6)).astype("float32"), RNG.normal(size=(16, 4)).astype("float32")


class _OwnClass(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(4)

    def call(self, inputs):
        return self.dense(inputs)


def linear(*sizes: int) -> keras.Model:
    """Layers without bias, compiled with the mean squared error."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((6,)), *(keras.layers.Dense(size, use_bias=False) for size in sizes)])
    model.compile("sgd", "mse")
    return model


def classifier() -> keras.Model:
    """With what a step changes beside weights: moving averages and the state of dropout."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(24, use_bias=False), keras.layers.BatchNormalization(), keras.layers.ReLU()]
    parts = [keras.Input((64,)), *layers, keras.layers.Dropout(0.2), keras.layers.Dense(10)]
    return compiled(keras.Sequential(parts), keras.optimizers.Adam(3e-3))


def largest(worth: np.ndarray, number: int) -> np.ndarray:
    return worth >= np.sort(worth.reshape(-1))[-number]


def test_snip_is_weight_times_gradient():
    model = linear(4)
    kernel = values(model.layers[0].kernel)
    gradient = X.T @ (2 * (X @ kernel - Y) / Y.size)
    (mask,) = dsr.masks_at_initialization(model, (X, Y), "snip", sparsity=0.5).values()
    np.testing.assert_array_equal(mask, largest(np.abs(kernel * gradient), 12))


def test_grasp_is_weight_times_hessian_times_gradient():
    model = linear(4)
    kernel = values(model.layers[0].kernel)
    gradient = X.T @ (2 * (X @ kernel - Y) / Y.size)
    product = X.T @ (2 * (X @ gradient) / Y.size)  # the loss is quadratic
    (mask,) = dsr.masks_at_initialization(model, (X, Y), "grasp", sparsity=0.5).values()
    np.testing.assert_array_equal(mask, largest(kernel * product, 12))


def test_synflow_is_the_flow_through_a_weight():
    model = linear(5, 4)
    first, second = (np.abs(values(layer.kernel)) for layer in model.layers)
    flows = first * second.sum(1), second * first.sum(0)[:, None]
    masks = dsr.masks_at_initialization(model, method="synflow", sparsity=0.5, rounds=1)
    kept = largest(np.concatenate([flow.reshape(-1) for flow in flows]), 25)
    np.testing.assert_array_equal(np.concatenate([mask.reshape(-1) for mask in masks.values()]), kept)


@pytest.mark.slow_on("tensorflow", "jax")
def test_synflow_in_rounds_keeps_a_path_where_all_at_once_would_cut_a_layer():
    model = linear(100, 4, 4)
    (*_, last) = dsr.masks_at_initialization(model, method="synflow", sparsity=0.98, rounds=50).values()
    masks = list(dsr.masks_at_initialization(model, method="synflow", sparsity=0.98, rounds=50).values())
    assert sum(mask.sum() for mask in masks) == round(0.02 * (600 + 400 + 16))
    path = masks[0].astype(int) @ masks[1].astype(int) @ last.astype(int)
    assert path.any()


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize("method", ["snip", "grasp", "synflow", "magnitude", "random"])
def test_the_number_is_exact_the_model_stays_and_trains_by_them(method):
    images, classes = digits()
    model = classifier()
    before = state_bits(model)
    given = {} if method in ("magnitude", "random", "synflow") else {"data": (images[:128], classes[:128])}
    masks = dsr.masks_at_initialization(model, method=method, sparsity=0.9, rounds=5, seed=1, **given)
    assert state_bits(model) == before
    assert list(masks) == [layer.kernel.path for layer in model.layers if hasattr(layer, "kernel")]
    assert sum(mask.sum() for mask in masks.values()) == round(0.1 * (64 * 24 + 240))
    assert all(mask.any() for mask in masks.values())
    report = dsr.sparsify(model, mask=masks)
    assert [row.active for row in report.rows] == [mask.sum() for mask in masks.values()]
    for weight, mask in zip(dsr.sparse_weights(model), masks.values()):
        np.testing.assert_array_equal(values(weight.mask), mask)
    fit(model, dsr.DSRCallback(period=10), batches=20, epochs=2)
    assert sum(weight.count() for weight in dsr.sparse_weights(model)) == round(0.1 * (64 * 24 + 240))


@pytest.mark.once
def test_blocks_are_kept_whole_and_the_rest_of_the_model_dense():
    model = classifier()
    images, classes = digits()
    masks = dsr.masks_at_initialization(
        model, (images[:64], classes[:64]), sparsity=0.8, pattern=(4, 1), exclude=model.layers[-1]
    )
    (mask,) = masks.values()
    blocks = mask.reshape(16, 4, 24)
    np.testing.assert_array_equal(blocks.all(1), blocks.any(1))
    assert mask.sum() == 4 * round(0.2 * 16 * 24)
    report = dsr.sparsify(model, mask=masks, pattern=(4, 1))
    assert "no mask was given" in [row.reason for row in report.skipped]
    assert len(report.rows) == 1


@pytest.mark.once
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "erk"}, "must be one of 'snip'.*method='erk'"),
        ({"data": None}, "must be .x, y., a batch.*'snip' goes by their loss.*NoneType"),
        ({"data": (X, Y, Y)}, "must be .x, y..*a tuple of 3 parts"),
        ({"data": (X, Y[:3])}, "as many targets as inputs"),
        ({"sparsity": 1.0}, "must be a number in .0, 1"),
        ({"sparsity": 0.99, "rounds": 0}, "rounds=0"),
        ({"pattern": "1:2"}, "must have units that are ranked together.*1 of 2"),
        ({"pattern": (2, 1), "method": "grasp"}, "ranks single weights.*blocks"),
    ],
)
def test_bad_arguments(given, message):
    with pytest.raises(ValueError, match=message):
        dsr.masks_at_initialization(**{"model": linear(4), "data": (X, Y), "sparsity": 0.5, **given})


@pytest.mark.slow_on("tensorflow", "jax")
@pytest.mark.once
def test_what_cannot_be_ranked_or_is_no_mask_is_refused():
    model = linear(4, 4)
    with pytest.raises(ValueError, match="must leave one unit in each of the 2 weights.*leaves 1 of 40"):
        dsr.masks_at_initialization(model, method="magnitude", sparsity=0.99)
    plain = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
    with pytest.raises(ValueError, match="must be compiled with the loss"):
        dsr.masks_at_initialization(plain, (X, Y))
    with pytest.raises(ValueError, match="is not finite.*normalize the inputs"):
        dsr.masks_at_initialization(model, (X * np.inf, Y))
    subclassed = _OwnClass()
    subclassed(X)
    with pytest.raises(ValueError, match="synflow.*functional or sequential.*a class of its own.*'snip'"):
        dsr.masks_at_initialization(subclassed, method="synflow", sparsity=0.5)
    masks = dsr.masks_at_initialization(model, method="random", sparsity=0.5)
    (first, *_), before = masks, state_bits(model)
    for wrong, message in [
        ({}, "from the paths of weights.*Received: mask={}"),
        ({"nosuch/kernel": np.ones((6, 4), bool)}, "mask={'nosuch/kernel': ...}"),
        ({first: np.ones((3, 3), bool)}, r"shape \(6, 4\).*shape \(3, 3\)"),
        ({first: np.zeros((6, 4), bool)}, "must have at least one true entry"),
    ]:
        with pytest.raises(ValueError, match=message):
            dsr.sparsify(model, mask=wrong)
    with pytest.raises(ValueError, match="stays dense: it is excluded"):
        dsr.sparsify(model, mask=masks, exclude=first)
    assert state_bits(model) == before and not dsr.sparse_weights(model)
