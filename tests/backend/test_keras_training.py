"""Training steps: what pruned positions store, nobody sees, whoever wrote it there."""

import functools

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from tests.helpers.networks import batch, bits, compiled, digits, fill_dead, fit, perceptron, selected, values


def reallocating():
    return dsr.DSRCallback(target=20, initial_threshold=0.05, period=3)


def trained(optimizer, **settings):
    keras.utils.set_random_seed(0)
    model = compiled(perceptron(), optimizer=optimizer, **settings)
    fit(model, reallocating(), batches=8, epochs=2)
    return model


def stored_dead(model):
    return np.concatenate([values(w.variable)[~values(w.mask)] for w in dsr.sparse_weights(model)])


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize(
    "optimizer",
    selected(
        ["sgd", "rmsprop", "adam", "adamw", "adagrad", "adadelta", "adamax", "nadam", "lion"],
        ["adadelta", "adamax", "nadam", "lion"],  # the others occur elsewhere
    ),
)
def test_stored_dead_weights_stay_zero_under_elementwise_optimizers(optimizer):
    assert not stored_dead(trained(optimizer)).any()


def test_training_does_not_see_garbage_at_dead_places():
    images, classes = digits()
    model = trained("sgd")
    for layer in model.layers:
        fill_dead(layer, 100.0)
    expected = model.evaluate(images[:32], classes[:32], batch_size=32, verbose=0)[0]
    assert model.train_on_batch(images[:32], classes[:32])[0] == pytest.approx(expected, rel=1e-4)
    for layer in model.layers:
        fill_dead(layer, np.nan)
    assert np.isfinite(fit(model, batches=1).history["loss"]).all()


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.backends("tensorflow", "torch")  # on JAX a constraint is given what is stored
@pytest.mark.parametrize("how", ["built", "converted"])
@pytest.mark.parametrize(
    "constraint", [keras.constraints.MaxNorm(0.5), keras.constraints.UnitNorm()], ids=["max", "unit"]
)
def test_a_constraint_does_not_see_garbage_at_dead_places(constraint, how):
    def after_a_step(garbage):
        keras.utils.set_random_seed(0)
        kind = keras.layers.Dense if how == "converted" else functools.partial(dsr.SparseDense, sparsity=0.5)
        model = keras.Sequential([keras.Input((64,)), kind(10, kernel_constraint=constraint)])
        if how == "converted":
            dsr.sparsify(model, 0.5, seed=0)
        fill_dead(model.layers[0], garbage)
        fit(compiled(model, keras.optimizers.SGD(0.1)), batches=2)
        return values(model.layers[0].kernel)

    expected = after_a_step(0.0)
    norms = np.linalg.norm(expected, axis=0)
    assert norms.max() == pytest.approx(0.5 if isinstance(constraint, keras.constraints.MaxNorm) else 1.0, rel=1e-5)
    for garbage in (100.0, np.nan):
        np.testing.assert_array_equal(after_a_step(garbage), expected)


def test_a_constraint_is_the_users_again_in_a_stripped_model():
    constraint = keras.constraints.MaxNorm(1.0)
    model = keras.Sequential([keras.Input((64,)), dsr.SparseDense(10, sparsity=0.5, kernel_constraint=constraint)])
    assert dsr.strip(model).layers[0].kernel.constraint is constraint


def test_an_optimizer_that_moves_dead_weights_trains_on_masked_kernels():
    model = compiled(perceptron(), optimizer=keras.optimizers.Muon(0.01, exclude_embeddings=False))
    fit(model, dsr.DSRCallback(target=20, period=100), batches=8)
    assert np.abs(stored_dead(model)).max() > 0  # Muon's update is dense ...
    for layer in model.layers:
        assert not values(layer.kernel)[~values(layer.kernel_mask)].any()  # ... and the network does not see it
    before = model.predict(batch(), verbose=0)
    for layer in model.layers:
        fill_dead(layer, 0.0)
    assert bits(before) == bits(model.predict(batch(), verbose=0))


@pytest.mark.backends("tensorflow", "jax")  # torch calls the layers at each step
def test_a_second_fit_does_not_trace_again():
    model = compiled(perceptron())
    traces = []
    call = model.layers[0].call

    def counted(*arguments, **settings):
        traces.append(None)
        return call(*arguments, **settings)

    model.layers[0].call = counted
    fit(model, reallocating())
    first = len(traces)
    fit(model, reallocating())
    assert first > 0
    assert len(traces) == first


class Filling(keras.callbacks.Callback):
    """Writes to pruned positions in mid-training."""

    def on_train_batch_begin(self, batch, logs=None):
        for weight in dsr.sparse_weights(self.model):
            fill_dead(weight.layer, 100.0)


@pytest.mark.parametrize("constraint", [None, lambda weight: weight + 0.05], ids=["", "a constraint that moves zeros"])
def test_the_training_step_sees_what_evaluate_sees(constraint):
    images, classes = digits()
    layer = dsr.SparseDense(10, sparsity=0.5, kernel_constraint=constraint)
    model = compiled(keras.Sequential([keras.Input((64,)), layer]), keras.optimizers.SGD(0.1))
    callbacks = [reallocating(), dsr.Reallocate(dsr.methods.SET(0.3), period=2), Filling()]
    fit(model, *callbacks, batches=4)
    seen = model.evaluate(images[:32], classes[:32], batch_size=32, verbose=0)[0]
    assert fit(model, *callbacks, batches=1).history["loss"][0] == pytest.approx(seen, rel=1e-5)


@pytest.mark.slow_on("jax")
def test_a_training_that_was_interrupted_leaves_one_network():
    class Interrupting(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                assert self.model is not None  # on JAX the variables are brought up to date
                raise KeyboardInterrupt

    images, classes = digits()
    model = compiled(perceptron())
    with pytest.raises(KeyboardInterrupt):
        fit(model, reallocating(), Interrupting())
    for layer in model.layers:
        fill_dead(layer, 100.0)
    expected = model.evaluate(images[:32], classes[:32], batch_size=32, verbose=0)[0]
    assert model.train_on_batch(images[:32], classes[:32])[0] == pytest.approx(expected, rel=1e-4)
