"""Scores rise while a weight moves away from zero, and decide what stays."""

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.methods import MovementPruning
from keras_dsr.weights.reallocation import Reallocation
from tests.helpers.networks import values
from tests.helpers.views import updated, view


def test_scores_add_up_and_the_largest_stay():
    weights, masks = np.float32([1, -2, 3, -4]), [np.ones(4, bool)]
    method = MovementPruning(final_sparsity=0.5, end_step=1)
    seen = view([weights], masks, gradients=[np.float32([-1, 1, 0.1, -0.1])], step=1)
    state = method.init(seen)

    _, (mask,), state = updated(method, seen, state)

    np.testing.assert_allclose(values(state["scores"][0]), [1, 2, -0.3, -0.4])
    np.testing.assert_array_equal(values(mask), [1, 1, 0, 0])
    assert int(state["pruned"]) == 2
    # The third moves away from zero now, though it is pruned, and comes back for the first.
    again = view([weights], [values(mask)], gradients=[np.float32([0.5, 0, -1, 0])], step=2)
    _, (mask,), state = updated(method, again, state)
    np.testing.assert_allclose(values(state["scores"][0]), [0.5, 2, 2.7, -0.4])
    np.testing.assert_array_equal(values(mask), [0, 1, 1, 0])


def test_a_large_weight_that_shrinks_goes_before_a_small_one_that_grows():
    x = np.random.default_rng(0).normal(size=(256, 2)).astype("float32")
    y = x[:, :1] * 1.0 + x[:, 1:] * 0.5
    layer = dsr.SparseDense(1, sparsity=0.0, use_bias=False)
    model = keras.Sequential([keras.Input((2,)), layer])
    layer._kernel.assign([[3.0], [0.01]])  # the first falls to 1, the second rises to 0.5
    model.compile(keras.optimizers.SGD(0.02), "mse")
    callback = dsr.Reallocate(MovementPruning(final_sparsity=0.5, begin_step=30, end_step=31), period=1)
    model.fit(x, y, batch_size=32, epochs=4, verbose=0, callbacks=[callback])
    assert values(layer.kernel_mask).ravel().tolist() == [False, True]
    assert values(layer.kernel).ravel()[0] == 0


def test_pruned_weights_wait_untrained_and_scores_are_saved(tmp_path):
    model = keras.Sequential([keras.Input((12,)), dsr.SparseDense(8, sparsity=0.0), dsr.SparseDense(2, sparsity=0.0)])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    x = np.random.default_rng(0).normal(size=(64, 12)).astype("float32")
    method = MovementPruning(final_sparsity=0.75, end_step=4)
    model.fit(x, x[:, :2], batch_size=8, epochs=1, verbose=0, callbacks=[dsr.Reallocate(method, period=1)])
    counts = [one.count() for one in dsr.sparse_weights(model)]
    assert counts == [24, 4]
    (weight, _) = dsr.sparse_weights(model)
    waiting = ~values(weight.mask)
    before = values(weight.variable)[waiting]
    assert before.any()
    model.train_on_batch(x, x[:, :2])
    np.testing.assert_array_equal(values(weight.variable)[waiting], before)
    scores = values(weight.states["scores"])
    assert scores.any()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    Reallocation(loaded, method)
    np.testing.assert_array_equal(values(dsr.sparse_weights(loaded)[0].states["scores"]), scores)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"final_sparsity": 1.0}, r"MovementPruning\(initial_sparsity=..., final_sparsity=...\)"),
        ({"begin_step": 5, "end_step": 5}, r"MovementPruning\(begin_step=..., end_step=...\)"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MovementPruning(**arguments)


def test_where_it_cannot_be_it_is_refused():
    model = keras.Sequential([keras.Input((8,)), dsr.SparseDense(4, sparsity=0.5, pattern="2:4")])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="selects in a tensor as a whole"):
        Reallocation(model, MovementPruning())
