"""What has just been grown takes steps as others do, under Adam and its kin."""

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.backend.keras_slots import optimizer_slots
from keras_dsr.methods import DSR, SET
from keras_dsr.weights.reallocation import Reallocation
from tests.helpers.networks import values
from tests.helpers.reallocations import dense, places

KINDS = {
    "adam": lambda: keras.optimizers.Adam(0.01),
    "amsgrad": lambda: keras.optimizers.AdamW(0.01, amsgrad=True),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, momentum=0.5),
    "adamax": lambda: keras.optimizers.Adamax(0.01),
    "adagrad": lambda: keras.optimizers.Adagrad(0.01),
}


def trained(optimizer, storage: str = "masked", epochs: int = 3) -> keras.Model:
    rng = np.random.default_rng(0)
    wrapped = isinstance(optimizer, dsr.SparseOptimizer)

    def layer(units):
        return keras.layers.Dense(units) if wrapped else dsr.SparseDense(units, sparsity=0.8, storage=storage)

    model = keras.Sequential([keras.Input((20,)), layer(30), layer(4)])
    model.compile(optimizer, "mse")
    x = rng.normal(size=(64, 20)).astype("float32")
    model.fit(x, x[:, :4] * 2, batch_size=16, epochs=epochs, verbose=0)
    return model


def assert_begun(model, method, has_mean: bool) -> None:
    """Grown weights begin with the mean of what scales the steps of those that stay, and with nothing else."""
    reallocation = Reallocation(model, method, warm_up=True)
    weights = reallocation.weights
    slots = [optimizer_slots(model.optimizer, weight.variable) for weight in weights]
    before = [places(weight) for weight in weights]
    reallocation()
    for weight, row, was_active in zip(weights, slots, before):
        active = places(weight)
        grown = active & ~was_active
        assert grown.any()
        stay = active & (np.nan_to_num(dense(weight, values(weight.variable), active)) != 0) & ~grown
        assert any(slot.scales_steps for slot in row) == has_mean
        for slot in row:
            of_weights = dense(weight, values(slot.variable), active)
            expected = of_weights[stay].mean() if slot.scales_steps else slot.initial_value
            np.testing.assert_allclose(of_weights[grown], expected, rtol=1e-5)
            held = values(slot.variable)
            nowhere = np.arange(len(held)) >= active.sum() if weight.mask is None else ~values(weight.mask)
            np.testing.assert_array_equal(held[nowhere], np.float32(slot.initial_value))


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize("name", list(KINDS))
def test_grown_weights_begin_with_the_mean_size_of_gradients(name):
    assert_begun(trained(KINDS[name]()), SET(0.3), has_mean=True)


@pytest.mark.slow_on("tensorflow")
def test_grown_weights_that_are_drawn_begin_so_too():
    assert_begun(trained(KINDS["adam"]()), SET(0.3, growth="initializer"), has_mean=True)


@pytest.mark.slow_on("jax")
def test_compact_weights_and_stock_layers_begin_so_too():
    assert_begun(trained(KINDS["adam"](), "compact"), SET(0.3), has_mean=True)
    optimizer = dsr.SparseOptimizer(KINDS["adam"](), sparsity=0.8)
    assert_begun(trained(optimizer), DSR(target=0.3), has_mean=True)


def test_momentum_alone_has_nothing_to_warm_up():
    assert_begun(trained(keras.optimizers.SGD(0.01, momentum=0.9)), SET(0.3), has_mean=False)


def farthest(warm_up: bool) -> float:
    """How far the farthest weight that has just been grown goes in ten steps, in learning rates."""
    model = trained(KINDS["adam"](), epochs=200)
    (weight, *_) = dsr.sparse_weights(model)
    before = places(weight)
    Reallocation(model, SET(0.3), weights=[weight], warm_up=warm_up)()
    grown = places(weight) & ~before
    x = np.random.default_rng(0).normal(size=(64, 20)).astype("float32")
    model.fit(x, x[:, :4] * 2, batch_size=16, epochs=2, verbose=0)
    now = values(weight.variable).reshape(-1)[grown]
    return float(np.abs(now).max() / 0.01)


@pytest.mark.slow_on("tensorflow", "jax")
def test_its_first_steps_are_not_several_times_as_large_as_those_of_others():
    assert farthest(warm_up=False) > 15  # eight steps of two or more learning rates
    assert farthest(warm_up=True) < 10


@pytest.mark.slow_on("tensorflow")
def test_the_callback_and_the_loop_pass_it_on():
    for made in (dsr.Reallocate(SET(0.3), 1, warm_up=True), dsr.DSRCallback(0.3, 1, warm_up=True)):
        model = trained(KINDS["adam"]())
        x = np.ones((16, 20), "float32")
        made.set_model(model)
        model.fit(x, x[:, :4], batch_size=16, verbose=0, callbacks=[made])
        (weight, *_) = dsr.sparse_weights(model)
        slot = next(one for one in optimizer_slots(model.optimizer, weight.variable) if one.scales_steps)
        grown = values(weight.mask) & (values(weight.variable) == 0)
        assert grown.any()
        assert (values(slot.variable)[grown] > 0).all()
