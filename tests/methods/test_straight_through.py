"""Straight-through training: pruned weights are trained by the gradient of the zeros in their place."""

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.methods import SET, RigL, StraightThrough, TopKAST
from tests.helpers.networks import bits, compiled, digits, fit, perceptron, state_bits, values

PATTERNS = {"element": 0.8, (4, 1): 0.8, "2:4": 0.5, "fan_in": 0.8}
few = pytest.mark.slow_on("tensorflow", "jax")


def counts(model) -> list[int]:
    return [weight.count() for weight in dsr.sparse_weights(model)]


def linear(decay: float, optimizer=None) -> tuple[keras.Model, StraightThrough]:
    """One sparse layer, of mean squared error, and the method of the given decay."""
    model = keras.Sequential([keras.Input((6,)), dsr.SparseDense(4, sparsity=0.5, mask_seed=1, use_bias=False)])
    model.compile(optimizer or keras.optimizers.SGD(0.1), "mse")
    return model, StraightThrough(decay=decay)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_a_step_trains_all_weights_by_the_gradient_of_what_the_network_sees(decay):
    model, method = linear(decay)
    reallocator = dsr.Reallocator(model, method, period=100, seed=3)
    (weight,) = dsr.sparse_weights(model)
    stored, mask = values(weight.variable), values(weight.mask)
    assert stored[~mask].all()  # drawn by the layer's initializer
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 6)).astype("float32"), rng.normal(size=(8, 4)).astype("float32")
    seen = np.where(mask, stored, 0)
    np.testing.assert_allclose(values(model(x)), x @ seen, atol=1e-6)
    model.train_on_batch(x, y)
    reallocator.step()
    gradient = x.T @ (2 * (x @ seen - y) / y.size)
    expected = stored - 0.1 * (gradient + decay * np.where(mask, 0, stored))
    np.testing.assert_allclose(values(weight.variable), expected, atol=1e-6)
    np.testing.assert_allclose(values(model(x)), x @ np.where(mask, expected, 0), atol=1e-5)


def test_the_decay_of_a_layer_that_is_called_twice_and_has_a_penalty_counts_once():
    layer = dsr.SparseDense(6, sparsity=0.5, mask_seed=1, use_bias=False, kernel_regularizer="l2")
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layer(layer(inputs)))
    model.compile(keras.optimizers.SGD(1.0), "mse")
    dsr.Reallocator(model, StraightThrough(decay=0.25))
    (weight,) = dsr.sparse_weights(model)
    stored, mask = values(weight.variable), values(weight.mask)
    model.train_on_batch(np.zeros((2, 6)), np.zeros((2, 6)))  # no gradient but of penalty and decay
    np.testing.assert_allclose(values(weight.variable)[~mask], 0.75 * stored[~mask], rtol=1e-5)
    np.testing.assert_allclose(values(weight.variable)[mask], 0.98 * stored[mask], rtol=1e-5)  # Keras's 0.01, twice


@pytest.mark.parametrize("pattern", ["element", *(pytest.param(one, marks=few) for one in list(PATTERNS)[1:])])
def test_the_network_sees_the_largest_and_budget_slots_and_values_stay(pattern):
    settings = {"sparsity": PATTERNS[pattern], "pattern": pattern}
    layers = [dsr.SparseDense(16, mask_seed=1, **settings), dsr.SparseDense(10, mask_seed=2, **settings)]
    model = compiled(keras.Sequential([keras.Input((64,)), *layers]), "adam")
    before = counts(model)
    reallocator = dsr.Reallocator(model, StraightThrough(decay=1e-3), period=100)
    first = [bits(weight.mask) for weight in dsr.sparse_weights(model)]
    fit(model, batches=4)
    held = [bits(variable) for variable in [*model.trainable_variables, *model.optimizer.variables]]
    (outcome,) = reallocator()
    assert [bits(variable) for variable in [*model.trainable_variables, *model.optimizer.variables]] == held
    assert counts(model) == before
    assert outcome.state["pruned"] > 0
    assert [bits(weight.mask) for weight in dsr.sparse_weights(model)] != first
    for weight in dsr.sparse_weights(model):
        magnitudes = values(weight.units.magnitudes(values(weight.variable), np))
        active = weight.units.active(values(weight.mask), np)
        if pattern in ("2:4", "fan_in"):
            groups, chosen = (weight.units.fold(each, np) for each in (magnitudes, active))
            for group, of_it in zip(groups, chosen):
                assert group[of_it].min() >= group[~of_it].max()
        else:
            assert magnitudes[active].min() >= magnitudes[~active].max()


@few
def test_global_selection_keeps_the_total_alone_and_one_in_each_tensor():
    model = compiled(perceptron(), "adam")
    before = counts(model)
    fit(model, dsr.Reallocate(StraightThrough(scope="global"), period=3), batches=12)
    assert sum(counts(model)) == sum(before)
    assert counts(model) != before
    weights = dsr.sparse_weights(model)
    dsr.Reallocator(model, StraightThrough(scope="global"))
    weights[1].variable.assign(np.full(weights[1].shape, 1e-6, "float32"))
    dsr.Reallocator(model, StraightThrough(scope="global"))()
    assert counts(model) == [sum(before) - 1, 1]


def test_what_pruned_weights_begin_with():
    drawn, zeros = (compiled(perceptron()) for _ in range(2))
    outputs = values(drawn(digits()[0][:4]))
    dsr.Reallocator(drawn, StraightThrough(), seed=1)
    dsr.Reallocator(zeros, StraightThrough(start="zeros"))
    np.testing.assert_array_equal(values(drawn(digits()[0][:4])), outputs)  # it changes nothing that is seen
    for weight, other in zip(dsr.sparse_weights(drawn), dsr.sparse_weights(zeros)):
        mask = values(weight.mask)
        assert values(weight.variable)[~mask].all() and not values(other.variable)[~mask].any()


def _network() -> keras.Model:
    keras.utils.set_random_seed(1)
    return compiled(perceptron(), "adam")


@pytest.mark.parametrize("whole", [True, pytest.param(False, marks=few)])
def test_a_saved_model_goes_on_to_the_same_bits_and_shows_what_the_network_sees(whole, tmp_path):
    method, images = StraightThrough(decay=1e-3), digits()[0][:32]
    one, other = (_network() for _ in range(2))
    for model in (one, other):
        fit(model, dsr.Reallocate(method, period=3), batches=5)
    if whole:
        other.save(tmp_path / "model.keras")
        other = keras.models.load_model(tmp_path / "model.keras")
    else:
        dsr.save(other, tmp_path / "model.keras", resumable=True)
        other = keras.models.load_model(tmp_path / "model.keras")
    dsr.save(one, tmp_path / "plain.keras")
    plain = keras.models.load_model(tmp_path / "plain.keras")
    np.testing.assert_array_equal(plain.predict(images, verbose=0), one.predict(images, verbose=0))
    assert [np.count_nonzero(layer.kernel) for layer in plain.layers] == counts(one)
    for model in (one, other):
        fit(model, dsr.Reallocate(method, period=3), batches=5)
    assert state_bits(one) == state_bits(other)
    dsr.strip(one)
    assert [type(layer) for layer in one.layers] == [keras.layers.Dense] * 2
    assert all(np.count_nonzero(layer.kernel) == count for layer, count in zip(one.layers, counts(other)))


@pytest.mark.slow_on("tensorflow", "jax")
def test_under_another_method_nothing_pruned_is_trained_any_more():
    model = compiled(perceptron(), "adam")
    before = counts(model)
    fit(model, dsr.Reallocate(StraightThrough(decay=0.1), period=3), batches=4)
    for method in (SET(0.3), RigL(0.3)):
        fit(model, dsr.Reallocate(method, period=3), batches=6)
        for weight in dsr.sparse_weights(model):
            assert not values(weight.variable)[~values(weight.mask)].any()
        assert counts(model) == before
    fit(model, dsr.Reallocate(StraightThrough(), period=3), batches=2)
    assert counts(model) == before
    assert all(values(weight.variable).all() for weight in dsr.sparse_weights(model))


@pytest.mark.parametrize("pattern", ["element", pytest.param((4, 1), marks=few)])
def test_top_kast_trains_the_larger_set_and_leaves_the_rest_as_it_is(pattern):
    layers = [dsr.SparseDense(16, sparsity=0.8, pattern=pattern, mask_seed=1, name="hidden"), keras.layers.Dense(10)]
    model = compiled(keras.Sequential([keras.Input((64,)), *layers]), keras.optimizers.SGD(0.1))
    reallocator = dsr.Reallocator(model, TopKAST(backward_sparsity=0.5), period=100)
    fit(model, batches=3)
    (outcome,) = reallocator()
    (weight,) = dsr.sparse_weights(model)
    before, mask = values(weight.variable), values(weight.mask)
    magnitudes = values(weight.units.magnitudes(before, np))
    trained = magnitudes >= np.sort(magnitudes.reshape(-1))[magnitudes.size // 2]
    trained = weight.units.mask(trained, weight.shape, np)
    assert trained[mask].all() and outcome.state["pruned"] > 0
    fit(model, batches=3)
    assert (values(weight.variable)[~trained] == before[~trained]).all()
    has_input = np.broadcast_to(digits()[0][:96].any(0)[:, None], mask.shape)  # some pixels are always 0
    assert (values(weight.variable) != before)[mask & has_input].mean() > 0.9
    assert (values(weight.variable) != before)[trained & ~mask & has_input].mean() > 0.9


@few
def test_it_learns_more_than_a_mask_that_stays():
    images, classes = digits()
    scores = []
    for callbacks in ([], [dsr.Reallocate(StraightThrough(), period=5)]):
        keras.utils.set_random_seed(1)
        model = compiled(perceptron(sparsity=0.95), keras.optimizers.Adam(3e-3))
        fit(model, *callbacks, batches=40, epochs=10)
        scores.append(model.evaluate(images[1280:], classes[1280:], verbose=0)[1])
    assert scores[1] > scores[0] + 0.05


@few
def test_a_decay_counts_whole_in_bfloat16_and_is_refused_where_gradients_are_scaled():
    for policy in ("mixed_bfloat16", "mixed_float16"):
        layer = dsr.SparseDense(4, sparsity=0.5, mask_seed=1, use_bias=False, dtype=policy)
        model = keras.Sequential([keras.Input((6,)), layer])
        inner = keras.optimizers.SGD(1.0)
        model.compile(keras.optimizers.LossScaleOptimizer(inner) if policy == "mixed_float16" else inner, "mse")
        if policy == "mixed_float16":
            with pytest.raises(ValueError, match="decay=....* must be 0 under a LossScaleOptimizer.*mixed_bfloat16"):
                dsr.Reallocator(model, StraightThrough(decay=0.25))
            dsr.Reallocator(model, StraightThrough())
            continue
        dsr.Reallocator(model, StraightThrough(decay=0.25))
        (weight,) = dsr.sparse_weights(model)
        stored, mask = values(weight.variable), values(weight.mask)
        model.train_on_batch(np.zeros((2, 6)), np.zeros((2, 4)))
        np.testing.assert_allclose(values(weight.variable)[~mask], 0.75 * stored[~mask], rtol=1e-2)


@pytest.mark.slow_on("tensorflow", "jax")
def test_where_it_cannot_train_what_is_pruned_it_is_refused_in_words():
    compact = compiled(keras.Sequential([keras.Input((64,)), dsr.SparseDense(10, sparsity=0.9, storage="compact")]))
    with pytest.raises(ValueError, match="trains weights that the network does not see.*compact storage.*masked"):
        dsr.Reallocator(compact, StraightThrough())
    stock = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)])
    compiled(stock, dsr.SparseOptimizer("adam", sparsity=0.9))
    stock.optimizer.build(stock.trainable_variables)
    with pytest.raises(ValueError, match="held sparse by a SparseOptimizer.*keras_dsr.sparsify"):
        dsr.Reallocator(stock, StraightThrough())
    for given, message in [
        ({"decay": -1}, "decay=...* must be a number of at least 0.*decay=-1"),
        ({"scope": "layer"}, "must be 'tensor' or 'global'.*scope='layer'"),
        ({"start": None}, "must be 'initializer' or 'zeros'.*start=None"),
    ]:
        with pytest.raises(ValueError, match=message):
            StraightThrough(**given)
    for given, message in [
        ({"backward_sparsity": 1.0}, "must be a float in .0, 1.*backward_sparsity=1.0"),
        ({"decay": -1}, "decay=...* must be a number of at least 0.*decay=-1"),
        ({"start": None}, "must be 'initializer' or 'zeros'.*start=None"),
    ]:
        with pytest.raises(ValueError, match=message):
            TopKAST(**given)
    with pytest.raises(ValueError, match="must leave at least the 307 units of .* of 1,536.*leaves 154"):
        dsr.Reallocator(compiled(perceptron()), TopKAST(backward_sparsity=0.9))
    grouped = keras.Sequential([keras.Input((64,)), dsr.SparseDense(10, sparsity=0.5, pattern="2:4")])
    with pytest.raises(ValueError, match="selects in a tensor as a whole.*2 of 4.*StraightThrough"):
        dsr.Reallocator(compiled(grouped), TopKAST())
