"""Growth where gradients are large, of weights of sparse layers with masks: as by `SparseOptimizer`."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dsr as dsr
from keras_dsr.methods import MEST, SET, SNFS, RigL
from tests.helpers.networks import bits, compiled, state_bits, values

RIGL, SPARSE_MOMENTUM = RigL(fraction=0.4, end_step=10**6), SNFS(fraction=0.4, end_step=10**6)
STEPS = 16
KINDS = {
    "dense": ((10,), lambda: [keras.layers.Dense(12, activation="relu")]),
    "convolution": ((6, 6, 3), lambda: [keras.layers.Conv2D(8, 3), keras.layers.GlobalAveragePooling2D()]),
    "lstm": ((5, 4), lambda: [keras.layers.LSTM(6)]),
    "embedding": ((5,), lambda: [keras.layers.Embedding(20, 6), keras.layers.GlobalAveragePooling1D()]),
}


def stock(kind: str, regularizer=None) -> keras.Model:
    keras.utils.set_random_seed(2)
    shape, layers = KINDS[kind]
    dtype = "int32" if kind == "embedding" else "float32"
    classes = keras.layers.Dense(10, kernel_regularizer=regularizer)
    return keras.Sequential([keras.Input(shape, dtype=dtype), *layers(), classes])


def batches(kind: str, count: int, size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng, shape = np.random.default_rng(0), (count * size, *KINDS[kind][0])
    x = rng.integers(0, 20, shape) if kind == "embedding" else rng.normal(size=shape).astype("float32")
    return x, rng.integers(0, 10, count * size)


def by_optimizer(kind: str, regularizer=None, **settings) -> keras.Model:
    optimizer = dsr.SparseOptimizer(
        keras.optimizers.SGD(0.1, momentum=0.9), 0.6, seed=1, select=".*(kernel|embeddings)"
    )
    model = compiled(stock(kind, regularizer), optimizer, **settings)
    optimizer.build(model.trainable_variables)
    return model


def by_layers(other: keras.Model, kind: str, regularizer=None, **settings) -> keras.Model:
    """A network of sparse layers with the weights and masks of one of a `SparseOptimizer`."""
    model = stock(kind, regularizer)
    dsr.sparsify(model, 0.6, include=[layer for layer in model.layers if layer.weights])
    for one, held in zip(dsr.sparse_weights(model), dsr.sparse_weights(other), strict=True):
        one.variable.assign(values(held.variable))
        one.set_mask(values(held.mask))
    return compiled(model, keras.optimizers.SGD(0.1, momentum=0.9), **settings)


def trained(model, kind: str, *callbacks, count: int = STEPS, epochs: int = 1):
    given = {"batch_size": 8, "epochs": epochs, "shuffle": False, "verbose": 0}
    return model.fit(*batches(kind, count), callbacks=list(callbacks), **given)


def assert_same(one: keras.Model, other: keras.Model):
    for left, right in zip(dsr.sparse_weights(one), dsr.sparse_weights(other), strict=True):
        assert bits(left.mask) == bits(right.mask), left.name
        assert left.values().tobytes() == right.values().tobytes(), left.name


few = pytest.mark.slow_on("tensorflow", "jax")
CASES = [("dense", RIGL), ("dense", SPARSE_MOMENTUM)]
CASES += [pytest.param(kind, RIGL, marks=few) for kind in ("convolution", "lstm", "embedding")]


@pytest.mark.one_case_on("tensorflow")
@pytest.mark.parametrize(("kind", "method"), CASES)
def test_it_moves_what_it_moves_by_sparse_optimizer_to_the_bit(kind, method):
    other = by_optimizer(kind)
    model = by_layers(other, kind)
    before = [bits(weight.mask) for weight in dsr.sparse_weights(model)]
    for one in (model, other):
        trained(one, kind, dsr.Reallocate(method, period=3))
    assert_same(model, other)
    assert [bits(weight.mask) for weight in dsr.sparse_weights(model)] != before


@few
def test_a_penalty_on_weights_is_part_of_the_gradient():
    penalty = keras.regularizers.L2(0.05)
    other = by_optimizer("dense", penalty)
    model = by_layers(other, "dense", penalty)
    for one in (model, other):
        trained(one, "dense", dsr.Reallocate(RIGL, period=3))
    for left, right in zip(dsr.sparse_weights(model), dsr.sparse_weights(other), strict=True):
        assert bits(left.mask) == bits(right.mask)
        np.testing.assert_allclose(values(left.gradient), values(right.gradient), atol=1e-6)


def test_of_a_layer_that_is_called_twice_the_gradients_are_summed():
    layer = dsr.SparseDense(6, sparsity=0.5, mask_seed=1, use_bias=False)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layer(ops.tanh(layer(inputs))))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 8, 6)).astype("float32")
    weight = dsr.sparse_weights(model)[0]
    kernel = values(layer.kernel)
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[dsr.Reallocate(RIGL, period=100)])
    middle = np.tanh(x @ kernel)
    upstream = 2 * (middle @ kernel - y) / y.size
    expected = middle.T @ upstream + x.T @ ((upstream @ kernel.T) * (1 - middle**2))
    np.testing.assert_allclose(values(weight.gradient), expected, atol=1e-6)


@pytest.mark.one_case_on("tensorflow")
@pytest.mark.slow_on("jax")
@pytest.mark.parametrize("method", [RIGL, pytest.param(SPARSE_MOMENTUM, marks=few)])
def test_a_saved_model_goes_on_to_the_same_bits(method, tmp_path):
    whole, stopped = (by_layers(by_optimizer("dense"), "dense") for _ in range(2))
    trained(whole, "dense", dsr.Reallocate(method, period=3), count=8, epochs=2)
    trained(stopped, "dense", dsr.Reallocate(method, period=3), count=8)
    stopped.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    trained(loaded, "dense", dsr.Reallocate(method, period=3), count=8)
    assert state_bits(loaded) == state_bits(whole)
    assert [bits(weight.gradient) for weight in dsr.sparse_weights(loaded)] == [
        bits(weight.gradient) for weight in dsr.sparse_weights(whole)
    ]
    dsr.strip(loaded)
    assert not any("gradient" in name for name in vars(loaded.layers[0]))
    assert type(loaded.layers[0]) is keras.layers.Dense


@pytest.mark.one_case_on("tensorflow")
@pytest.mark.backends("tensorflow", "jax")
@pytest.mark.parametrize("settings", [{"steps_per_execution": 4}, pytest.param({"jit_compile": True}, marks=few)])
def test_compiled_as_it_may_be_it_does_the_same(settings):
    other = by_optimizer("dense", **settings)
    model = by_layers(other, "dense", **settings)
    for one in (model, other):
        trained(one, "dense", dsr.Reallocate(RIGL, period=4))
    for left, right in zip(dsr.sparse_weights(model), dsr.sparse_weights(other), strict=True):
        assert bits(left.mask) == bits(right.mask)


@pytest.mark.slow_on("tensorflow", "jax")
def test_after_another_method_gradients_begin_anew_and_the_budget_stays():
    model = by_layers(by_optimizer("dense"), "dense")
    counts = [weight.count() for weight in dsr.sparse_weights(model)]
    for method in (SET(0.3), RIGL, SPARSE_MOMENTUM, RIGL):
        trained(model, "dense", dsr.Reallocate(method, period=3), count=6)
        assert sum(weight.count() for weight in dsr.sparse_weights(model)) == sum(counts)
    assert dsr.sparse_weights(model)[0].gradient is not None


def test_beside_a_layer_in_compact_storage():
    shape = KINDS["dense"][0]
    layers = [
        dsr.SparseDense(12, sparsity=0.6, mask_seed=1, activation="relu"),
        dsr.SparseDense(10, sparsity=0.6, mask_seed=2, storage="compact"),
    ]
    model = compiled(keras.Sequential([keras.Input(shape), *layers]), keras.optimizers.SGD(0.1))
    counts = [weight.count() for weight in dsr.sparse_weights(model)]
    before = [weight.positions() for weight in dsr.sparse_weights(model)]
    trained(model, "dense", dsr.Reallocate(RIGL, period=3), count=8)
    assert [weight.count() for weight in dsr.sparse_weights(model)] == counts
    for weight, old in zip(dsr.sparse_weights(model), before):
        assert not np.array_equal(weight.positions(), old)


def test_a_cell_that_keras_loops_over_is_refused_and_nothing_changes():
    cell = dsr.SparseLSTMCell(6, sparsity=0.5, mask_seed=1)
    model = keras.Sequential([keras.Input((5, 4)), keras.layers.RNN(cell), keras.layers.Dense(10)])
    compiled(model, keras.optimizers.SGD(0.1))
    before = [bits(weight.mask) for weight in dsr.sparse_weights(model)]
    with pytest.raises(ValueError, match="reads it at every step of a sequence.*SparseLSTM.*SparseLSTMCell in RNN"):
        trained(model, "lstm", dsr.Reallocate(RIGL, period=3), count=4)
    assert [bits(weight.mask) for weight in dsr.sparse_weights(model)] == before


def test_gradients_that_a_scale_multiplies_are_refused_and_nothing_changes():
    model = stock("dense")
    dsr.sparsify(model, 0.6, seed=1)
    compiled(model, keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)))
    before = state_bits(model)
    for method in (RIGL, SPARSE_MOMENTUM, MEST()):
        with pytest.raises(ValueError, match="under a LossScaleOptimizer.*multiplied by a scale.*SparseOptimizer"):
            dsr.Reallocator(model, method)
    assert state_bits(model) == before


@pytest.mark.parametrize("method", [RIGL, pytest.param(SPARSE_MOMENTUM, marks=few)])
def test_a_gradient_that_is_no_number_attracts_no_growth_and_is_forgotten(method):
    model = by_layers(by_optimizer("dense"), "dense")
    model.optimizer.learning_rate = 0.0
    x, y = batches("dense", 1)
    counts = [weight.count() for weight in dsr.sparse_weights(model)]
    reallocator = dsr.Reallocator(model, method, period=100)
    masks = [bits(weight.mask) for weight in dsr.sparse_weights(model)]
    model.train_on_batch(np.full_like(x, np.nan), y)
    reallocator.step()
    for weight in dsr.sparse_weights(model):  # with rate 0 times NaN they are none either
        weight.variable.assign(np.where(values(weight.mask), np.float32(0.1), np.float32(0)))
    model.layers[0].bias.assign(np.zeros(12))
    model.layers[1].bias.assign(np.zeros(10))
    reallocator()
    assert [weight.count() for weight in dsr.sparse_weights(model)] == counts
    model.train_on_batch(x, y)
    reallocator()
    assert [bits(weight.mask) for weight in dsr.sparse_weights(model)] != masks
    assert all(np.isfinite(values(weight.gradient)).all() for weight in dsr.sparse_weights(model))


def test_a_reallocation_without_a_gradient_is_refused():
    model = by_layers(by_optimizer("dense"), "dense")
    with pytest.raises(RuntimeError, match="none has passed back to a sparse layer.*after a step of training"):
        dsr.Reallocator(model, RIGL)()


@pytest.mark.backends("torch")
def test_which_gradient_is_the_losss_must_be_clear():
    model = by_layers(by_optimizer("dense"), "dense")
    x, _ = batches("dense", 8)

    class AsksForMore(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model(x[:8]).sum().backward()

    with pytest.raises(RuntimeError, match="gradients passed 6 times in 3 batches"):
        trained(model, "dense", AsksForMore(), dsr.Reallocate(RIGL, period=3), count=8)
