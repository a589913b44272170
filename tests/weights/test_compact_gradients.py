"""Growth where gradients are large, of weights in compact storage."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dsr as dsr
from keras_dsr.methods import SNFS, RigL
from tests.helpers.networks import compiled, state_bits, values

RIGL = RigL(fraction=0.4, end_step=10**6)
SHAPE = (6, 6, 3)


def network(storage: str, sparsity: float = 0.8, **settings) -> keras.Model:
    """A convolution and a dense layer, sparse in a storage; `"optimizer"`: of stock layers."""
    sparse = storage != "optimizer"
    settings = {"sparsity": sparsity, "storage": storage, **settings} if sparse else {}
    seeds = [{"mask_seed": seed} if sparse else {} for seed in (1, 2)]
    convolution, dense = (dsr.SparseConv2D, dsr.SparseDense) if sparse else (keras.layers.Conv2D, keras.layers.Dense)
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            convolution(8, 3, padding="same", activation="relu", **seeds[0], **settings),
            keras.layers.GlobalAveragePooling2D(),
            dense(10, **seeds[1], **settings),
        ]
    )


def batches(count: int, size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(count * size, *SHAPE)).astype("float32"), rng.integers(0, 10, count * size)


def trained(model, *callbacks, count=4, epochs=1):
    given = {"batch_size": 8, "epochs": epochs, "shuffle": False, "verbose": 0}
    return model.fit(*batches(count), callbacks=list(callbacks), **given)


def active(model) -> list[int]:
    return [weight.count() for weight in dsr.sparse_weights(model)]


@pytest.mark.parametrize("sparsity", [pytest.param(0.3, marks=pytest.mark.slow_on("tensorflow", "jax")), 0.9])
def test_the_same_weights_are_pruned_and_grown_as_with_sparse_optimizer(sparsity):
    compact, stock = network("compact", sparsity), network("optimizer")
    compiled(compact, keras.optimizers.SGD(0.1))
    compiled(stock, dsr.SparseOptimizer(keras.optimizers.SGD(0.1), sparsity, seed=1))
    stock.optimizer.build(stock.trainable_variables)
    for one, other in zip(dsr.sparse_weights(compact), dsr.sparse_weights(stock)):
        mask = np.zeros(one.size, bool)
        mask[one.positions()] = True
        other.set_mask(mask.reshape(one.shape))
        other.variable.assign(values(one.layer.kernel))
    before = [weight.positions() for weight in dsr.sparse_weights(compact)]
    for model in (compact, stock):
        trained(model, dsr.Reallocate(RIGL, period=3))
    for old, one, other in zip(before, dsr.sparse_weights(compact), dsr.sparse_weights(stock)):
        np.testing.assert_array_equal(one.positions(), other.positions())
        np.testing.assert_allclose(one.values(), other.values(), rtol=1e-3, atol=1e-5)
        assert not np.array_equal(one.positions(), old)


@pytest.mark.slow_on("tensorflow", "jax")
def test_slices_grow_whole_where_their_mean_gradient_is_largest():
    model = compiled(network("compact", 0.6, pattern="kernel"), keras.optimizers.SGD(0.0))
    weight, dense = dsr.sparse_weights(model)
    gradient = _gradient_of_dense(model, *batches(1))
    magnitudes = np.abs(gradient).mean((0, 1)).reshape(-1)
    held = np.abs(values(weight.layer.kernel)).mean((0, 1)).reshape(-1)
    kept = np.sort(np.argsort(np.where(held > 0, held, np.inf))[: (held > 0).sum()][round(0.4 * 10) :])
    free = np.setdiff1d(np.arange(24), kept)
    grown = free[np.argsort(-magnitudes[free])[: round(0.4 * 10)]]
    trained(model, dsr.Reallocate(RIGL, period=1), count=1)
    mask = np.zeros(weight.size, bool)
    mask[weight.positions()] = True
    slices = mask.reshape(9, 24)
    np.testing.assert_array_equal(slices.all(0), slices.any(0))
    np.testing.assert_array_equal(np.flatnonzero(slices[0]), np.sort(np.concatenate([kept, grown])))
    assert dense.count() == 32


def _gradient_of_dense(model, x, y) -> np.ndarray:
    """The gradient of the loss with respect to the whole kernel of the first layer, of a dense twin's SGD step."""
    twin = compiled(network("optimizer"), keras.optimizers.SGD(1.0))
    first, last = model.layers[0], model.layers[-1]
    for layer, of in ((twin.layers[0], first), (twin.layers[-1], last)):
        layer.set_weights([values(of.kernel), values(of.bias)])
    before = twin.layers[0].get_weights()[0]
    twin.train_on_batch(x, y)
    return before - twin.layers[0].get_weights()[0]


@pytest.mark.slow_on("tensorflow", "jax")
def test_training_keeps_each_tensors_number_and_sees_no_gradient_but_when_it_is_due():
    model = compiled(network("compact"))
    counts, wanted = active(model), []
    spy = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: wanted.append(model.layers[0].seen_gradients.wanted)
    )
    history = trained(model, dsr.Reallocate(RIGL, period=3), spy, count=7).history
    assert active(model) == counts
    assert history["dsr_reallocations"] == [2] and history["dsr_pruned"][0] > 10
    assert wanted == [False, False, True, False, False, True, False]
    assert not model.layers[0].seen_gradients.calls


def test_steps_of_several_batches():
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    assert_moves_in_each_epoch(compiled(network("compact"), optimizer))


@pytest.mark.slow_on("tensorflow")
@pytest.mark.backends("tensorflow", "jax")  # torch has none
def test_executions_of_several_steps():
    model = network("compact")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, steps_per_execution=3)
    assert_moves_in_each_epoch(model)


def assert_moves_in_each_epoch(model):
    counts = active(model)
    history = trained(model, dsr.Reallocate(RIGL, period=2), count=6, epochs=2).history
    assert active(model) == counts
    assert min(history["dsr_pruned"]) > 5


@pytest.mark.slow_on("tensorflow")
def test_when_training_ends_nothing_is_kept_for_a_reallocation_that_does_not_come():
    model = compiled(network("compact"))
    trained(model, dsr.Reallocate(RIGL, period=3), count=5)  # the next batch would be followed by one
    seen = model.layers[0].seen_gradients
    assert not seen.wanted and not seen.calls
    model.train_on_batch(*batches(1))
    assert not seen.calls


@pytest.mark.slow_on("tensorflow")
def test_of_a_layer_that_is_called_twice_the_gradients_are_summed():
    shared = dsr.SparseDense(6, sparsity=0.5, mask_seed=1, storage="compact", use_bias=False)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, shared(ops.tanh(shared(inputs))))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 6)).astype("float32"), rng.normal(size=(8, 6)).astype("float32")
    kernel = values(shared.kernel)
    hidden = np.tanh(x @ kernel)
    upstream = 2 * (hidden @ kernel - y) / y.size
    gradient = hidden.T @ upstream + x.T @ (upstream @ kernel.T * (1 - hidden**2))
    dropped = np.argsort(np.where(kernel != 0, np.abs(kernel), np.inf).reshape(-1))[: round(0.4 * 18)]
    kept = np.setdiff1d(np.flatnonzero(kernel), dropped)
    free = np.setdiff1d(np.arange(36), kept)
    grown = free[np.argsort(-np.abs(gradient.reshape(-1)[free]))[: len(dropped)]]
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[dsr.Reallocate(RIGL, period=1)])
    (weight,) = dsr.sparse_weights(model)
    np.testing.assert_array_equal(weight.positions(), np.sort(np.concatenate([kept, grown])))


@pytest.mark.slow_on("tensorflow", "jax")
def test_a_saved_model_goes_on_to_the_same_bits(tmp_path):
    def train(model):
        trained(model, dsr.Reallocate(RIGL, period=3), count=6)

    keras.utils.set_random_seed(1)
    whole = compiled(network("compact"))
    train(whole)
    dsr.save(whole, tmp_path / "model.keras", resumable=True)
    train(whole)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    train(loaded)
    assert state_bits(loaded) == state_bits(whole)


@pytest.mark.slow_on("tensorflow")
def test_a_loop_of_ones_own_asks_for_gradients_in_time():
    model = compiled(network("compact"))
    x, y = batches(1)
    model.train_on_batch(x, y)
    reallocator = dsr.Reallocator(model, RIGL, period=2)
    outcomes = []
    for _ in range(4):
        model.train_on_batch(x, y)
        model.evaluate(x, y, verbose=0)
        outcomes += reallocator.step()
    assert [int(outcome.state["pruned"]) > 0 for outcome in outcomes] == [True, True]
    before = state_bits(model)
    with pytest.raises(RuntimeError, match=r"has kept one.*Expected: `Reallocator.step\(\)`.*Nothing was changed"):
        reallocator()
    assert state_bits(model) == before


class TwoPasses(keras.Sequential):
    """Trains on each batch twice."""

    def train_step(self, *given):
        first = super().train_step(*given)
        if keras.backend.backend() == "jax":
            return super().train_step(first[1], *given[1:])
        return super().train_step(*given)


@pytest.mark.slow_on("tensorflow")
def test_which_gradient_is_the_losss_must_be_clear():
    model = compiled(TwoPasses(network("compact").layers))
    before = active(model)
    with pytest.raises(
        RuntimeError, match="gradients passed 2 times in 1 batches.*keras_dsr.SparseOptimizer, or use DSR or SET"
    ):
        trained(model, dsr.Reallocate(RIGL, period=3))
    assert active(model) == before


@pytest.mark.backends("torch")
def test_a_penalty_on_gradients_is_none_of_the_losss():
    import torch

    model = compiled(network("compact"), keras.optimizers.SGD(0.1))
    x, y = batches(1)
    model.train_on_batch(x, y)
    reallocator = dsr.Reallocator(model, RIGL, period=1)
    inputs = torch.tensor(x, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(inputs).sum(), inputs, create_graph=True)
    (gradient**2).sum().backward()
    model.optimizer.apply([variable.value.grad for variable in model.trainable_variables], model.trainable_variables)
    with pytest.raises(RuntimeError, match="or were differentiated again. Which gradient is that of the loss"):
        reallocator.step()


@pytest.mark.slow_on("tensorflow", "jax")
def test_beside_weights_of_a_sparse_optimizer():
    model = keras.Sequential(
        [keras.Input((20,)), dsr.SparseDense(16, sparsity=0.8, storage="compact"), keras.layers.Dense(10, name="last")]
    )
    compiled(model, dsr.SparseOptimizer("adam", sparsity=0.8, select="last"))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 20)).astype("float32"), rng.integers(0, 10, 64)
    history = model.fit(x, y, batch_size=8, verbose=0, callbacks=[dsr.Reallocate(RIGL, period=4)]).history
    assert active(model) == [64, 32]
    assert history["dsr_pruned"][0] > 5


@pytest.mark.slow_on("tensorflow", "jax")
def test_a_moving_average_of_gradients_is_refused_and_the_last_one_is_not():
    model = compiled(network("compact"))
    with pytest.raises(ValueError, match="SNFS needs gradients .* moving average of them is as large as the dense"):
        trained(model, dsr.Reallocate(SNFS()))
    total = sum(active(model))
    history = trained(model, dsr.Reallocate(SNFS(momentum=0.0, end_step=10**6), period=2)).history
    assert sum(active(model)) == total
    assert history["dsr_pruned"][0] > 10
