"""Training steps that read stored kernels: the same training, with dead weights that nobody sees."""

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from tests.networks import batch, bits, compiled, digits, fill_dead, fit, perceptron, selected, state_bits, values


class Masked(keras.optimizers.SGD):
    """An SGD that is not on the list of elementwise optimizers, so that every forward pass masks the kernel."""


def optimizer_of(kind):
    return kind(0.1, momentum=0.9, nesterov=True)


def reallocating():
    return dsr.DSRCallback(target=20, initial_threshold=0.05, period=3)


def trained(optimizer, **settings):
    keras.utils.set_random_seed(0)
    model = compiled(perceptron(), optimizer=optimizer, **settings)
    fit(model, reallocating(), batches=8, epochs=2)
    return model


def stored_dead(model):
    return np.concatenate([values(w.variable)[~values(w.mask)] for w in dsr.sparse_weights(model)])


def test_trains_as_a_network_does_that_masks_in_the_forward_pass():
    fast, masked = trained(optimizer_of(keras.optimizers.SGD)), trained(optimizer_of(Masked))
    for ours, theirs in zip(fast.variables, masked.variables, strict=True):
        np.testing.assert_allclose(values(ours), values(theirs), rtol=1e-4, atol=1e-6)
    assert [bits(w.mask) for w in dsr.sparse_weights(fast)] == [bits(w.mask) for w in dsr.sparse_weights(masked)]


@pytest.mark.parametrize(
    "optimizer",
    selected(
        ["sgd", "rmsprop", "adam", "adamw", "adagrad", "adadelta", "adamax", "nadam", "lion"],
        ["adadelta", "adamax", "nadam", "lion"],  # the others occur elsewhere
    ),
)
def test_stored_dead_weights_stay_zero_under_elementwise_optimizers(optimizer):
    assert not stored_dead(trained(optimizer)).any()


@pytest.mark.backends("tensorflow")  # on JAX it is always used, on torch never
def test_stored_dead_weights_stay_zero_with_xla():
    assert not stored_dead(trained("adam", jit_compile=True)).any()


def test_garbage_at_dead_places_is_cleared_when_training_begins():
    model, clean = compiled(perceptron()), compiled(perceptron())
    fill_dead(model.layers[0], np.nan)
    clean.set_weights(model.get_weights())
    fill_dead(clean.layers[0], 0.0)
    fit(model, reallocating())
    fit(clean, reallocating())
    assert state_bits(model) == state_bits(clean)
    assert not stored_dead(model).any()


def test_without_the_callback_training_does_not_see_garbage_at_dead_places():
    images, classes = digits()
    model = trained("sgd")  # its fast training function must not be used any more
    for layer in model.layers:
        fill_dead(layer, 100.0)
    expected = model.evaluate(images[:32], classes[:32], batch_size=32, verbose=0)[0]
    assert model.train_on_batch(images[:32], classes[:32])[0] == pytest.approx(expected, rel=1e-4)
    for layer in model.layers:
        fill_dead(layer, np.nan)
    assert np.isfinite(fit(model, batches=1).history["loss"]).all()


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


def test_compiling_again_makes_a_new_training_function():
    model = trained("sgd")
    compiled(model, optimizer=keras.optimizers.SGD(0.0))
    before = [bits(w.variable) for w in dsr.sparse_weights(model)]
    fit(model, dsr.DSRCallback(target=20, period=1000))
    assert [bits(w.variable) for w in dsr.sparse_weights(model)] == before
