"""Patterns with a number of weights in each group: N of M neighbouring inputs, and as many in each output."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dsr as dsr
from keras_dsr.methods import DSD, DSR, SET, SNFS, Decision, DeepR, GradualPruning, RigL, Static
from keras_dsr.weights.reallocation import Reallocation
from tests.helpers.networks import compiled, state_bits, values
from tests.helpers.networks_of_groups import PATTERNS, network, trained


def folded(mask: np.ndarray, index: int) -> np.ndarray:
    """A mask of the network's layer of that number, with inputs last and outputs before them, by hand."""
    if index == 0:
        return np.swapaxes(mask, 2, 3)  # window, inputs, outputs
    if index == 1:
        return mask  # window, outputs, inputs
    return mask.reshape(8, -1).T


def check(model, pattern: str, at_least: bool = False) -> None:
    for index, weight in enumerate(dsr.sparse_weights(model)):
        mask = folded(values(weight.mask), index)
        weight.check()
        if pattern == "fan_in":
            counts = np.moveaxis(mask, -2, 0).reshape(mask.shape[-2], -1).sum(1)
            assert len(set(counts.tolist())) == 1 and counts[0] >= 1
            continue
        n, m = map(int, pattern.split(":"))
        counts = mask.reshape(-1, m).sum(1)
        assert (counts >= n).all() and (at_least or (counts == n).all())


@pytest.mark.parametrize("by", ["layers", "optimizer"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_masks_are_drawn_by_group(pattern, by):
    model = network(pattern, by)
    check(model, pattern)
    for weight in dsr.sparse_weights(model):
        assert abs(weight.count() / weight.size - (1 - PATTERNS[pattern])) < 0.1
        assert weight.pattern == pattern


METHODS = [
    SET(0.4),
    SET(0.4, rule="signed", growth="initializer"),
    DeepR(temperature=1.0, learning_rate=0.1),
    Static(),
]


@pytest.mark.backends("tensorflow", "torch")  # JAX would compile for each example
@pytest.mark.slow_on("tensorflow")
@settings(max_examples=6)
@given(method=st.sampled_from(METHODS), pattern=st.sampled_from(list(PATTERNS)), seed=st.integers(0, 2**31 - 1))
def test_every_group_keeps_its_number(method, pattern, seed):
    model = network(pattern)
    model.optimizer.build(model.trainable_variables)
    weights = dsr.sparse_weights(model)
    before = [weight.count() for weight in weights]
    reallocate, rng, moved = Reallocation(model, method, seed), np.random.default_rng(seed), 0
    for step in range(4):
        model.optimizer.iterations.assign(step)
        for weight in weights:
            weight.variable.assign(rng.normal(size=weight.shape) * 0.1 * values(weight.mask))
        old = [values(weight.mask).copy() for weight in weights]
        assert reallocate().active.tolist() == before
        check(model, pattern)
        moved += sum(int((values(weight.mask) != mask).sum()) for weight, mask in zip(weights, old))
    assert (moved > 0) != isinstance(method, Static)


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_growth_is_where_the_gradient_of_a_group_is_largest(pattern):
    model = network(pattern, "optimizer", optimizer=keras.optimizers.SGD(0.1))
    before = [weight.count() for weight in dsr.sparse_weights(model)]
    history = trained(model, dsr.Reallocate(RigL(end_step=100), period=3)).history
    check(model, pattern)
    assert [weight.count() for weight in dsr.sparse_weights(model)] == before
    assert history["dsr_pruned"][0] > 0


def test_within_a_group_the_smallest_goes_and_the_largest_gradient_comes():
    layer = keras.layers.Dense(1, use_bias=False)
    model = keras.Sequential([keras.Input((8,)), layer])
    model.compile(dsr.SparseOptimizer(keras.optimizers.SGD(0.0), 0.5, pattern="2:4", seed=0), "mse")
    model.optimizer.build(model.trainable_variables)
    (weight,) = dsr.sparse_weights(model)
    weight.set_mask(np.array([1, 1, 0, 0, 1, 1, 0, 0], bool)[:, None])
    layer.kernel.assign(np.array([5, 0.1, 0, 0, 4, 3, 0, 0], "float32")[:, None])
    weight.variable.assign(layer.kernel)
    reallocate = Reallocation(model, RigL(fraction=0.25, end_step=10**6))
    weight.gradient.assign(np.array([0, 0, 1, 2, 0, 0, 9, 9], "float32")[:, None])
    reallocate()
    assert values(weight.mask)[:, 0].astype(int).tolist() == [1, 0, 0, 1, 1, 1, 0, 0]


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_dense_network_is_pruned_to_the_pattern(pattern):
    final = PATTERNS[pattern]
    gradual = network(pattern, sparsity=0.0)
    seen = []

    class Checks(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model  # noqa: B018 (on JAX this brings its variables up to date)
            check(self.model, pattern, at_least=True)
            seen.append(sum(weight.count() for weight in dsr.sparse_weights(self.model)))

    trained(gradual, dsr.Reallocate(GradualPruning(final_sparsity=final, end_step=8), period=2), Checks())
    check(gradual, pattern)
    assert seen == sorted(seen, reverse=True) and len(set(seen)) > 3
    for cut in ("magnitude", "random"):
        at_once = network(pattern, sparsity=0.0)
        Reallocation(at_once, DSD(final, cut))()
        check(at_once, pattern)


def test_the_largest_of_each_group_stay():
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, name="a")])
    kernel = values(model.layers[0].kernel)
    dsr.sparsify(model, 0.5, pattern="2:4", mask="magnitude")
    groups = np.abs(kernel).T.reshape(3, 2, 4)
    expected = groups >= np.sort(groups, axis=-1)[..., 2:3]
    np.testing.assert_array_equal(values(model.layers[0].kernel_mask).T.reshape(3, 2, 4), expected)


@pytest.mark.slow_on("tensorflow", "jax")
@pytest.mark.parametrize("by", ["layers", "optimizer"])
@pytest.mark.parametrize("pattern", ["2:4", "fan_in"])
def test_a_saved_model_trains_on_to_the_same_bits(pattern, by, tmp_path):
    def train(model):
        trained(model, dsr.Reallocate(SET(0.3), period=3))

    keras.utils.set_random_seed(1)
    whole = network(pattern, by)
    train(whole)
    whole.save(tmp_path / "model.keras")
    train(whole)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    train(loaded)
    assert state_bits(loaded) == state_bits(whole)


class PrunesOneGroup(Static):
    """Moves a weight from one group to another, which keeps the total and breaks the pattern."""

    conserves = True

    def update(self, inputs, state):
        (active,) = inputs.segments.split(inputs.active)
        (rows,) = inputs.segments.split(inputs.segments.indices())
        kept = active & (rows > 0)
        grown = ~active & (rows == 6)
        return Decision(inputs.segments.join([kept]), inputs.segments.join([grown])), state


def test_a_method_that_breaks_a_pattern_is_stopped():
    layer = dsr.SparseDense(1, sparsity=0.5, pattern="2:4", use_bias=False)
    model = compiled(keras.Sequential([keras.Input((8,)), layer]), "sgd")
    (weight,) = dsr.sparse_weights(model)
    weight.set_mask(np.array([1, 1, 0, 0, 1, 1, 0, 0], bool)[:, None])
    before = state_bits(model)
    with pytest.raises(
        RuntimeError, match="other than groups with 2 of 4 weights, its pattern. The model was not changed"
    ):
        Reallocation(model, PrunesOneGroup())()
    assert state_bits(model)[:2] == before[:2]


def test_what_does_not_fit_is_refused_in_words(tmp_path):
    def fails(match, make):
        with pytest.raises(ValueError, match=match):
            make()

    for method in (DSR(), SNFS(), GradualPruning(scope="global", final_sparsity=0.5)):
        fails(
            f"{type(method).__name__} moves weights from one tensor to another",
            lambda m=method: Reallocation(network("2:4"), m),
        )
    fails("DSR moves weights from one tensor to another", lambda: Reallocation(network("fan_in"), DSR()))
    fails(
        "SparseDense: the pattern '2:4' is of sparsity 0.5, or 0.*sparsity=0.9",
        lambda: dsr.SparseDense(3, pattern="2:4"),
    )
    fails("is of sparsity 0.5", lambda: dsr.SparseOptimizer("sgd", sparsity=0.9, pattern="2:4"))
    stock = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(4), keras.layers.Dense(6), keras.layers.Dense(2, name="odd")]
    )
    fails("is of sparsity 0.5", lambda: dsr.sparsify(stock, 0.9, pattern="2:4"))
    fails(
        "'kernel' of Dense 'odd' has 6 inputs, which is no multiple of 4",
        lambda: dsr.sparsify(stock, 0.5, pattern="2:4"),
    )
    fails(
        "must be 'uniform' for a pattern of groups",
        lambda: dsr.sparsify(stock, 0.5, "erk", pattern="2:4", exclude="odd"),
    )
    dsr.sparsify(stock, 0.5, pattern="2:4", exclude="odd")
    fails(
        "the pattern '2:4' is of sparsity 0.5, or 0",
        lambda: Reallocation(network("2:4", sparsity=0.0), GradualPruning(final_sparsity=0.9)),
    )
    for wrong in ("4:2", "4:4", "0:4", "2:", "2:4:8", "two:four"):
        fails("must be 'element'", lambda wrong=wrong: dsr.SparseDense(3, sparsity=0.5, pattern=wrong))
    fails("single weights, or slices", lambda: dsr.SparseDense(3, sparsity=0.5, pattern="2:4", storage="compact"))
    model, single = network("2:4"), network("2:4")
    weight = dsr.sparse_weights(model)[3]
    mask = values(weight.mask).copy()
    mask[:4], mask[4:] = True, False
    fails("must consist of groups with 2 of 4 weights", lambda: weight.set_mask(mask))
    for each in dsr.sparse_weights(single):
        each.mask.assign(np.random.default_rng(0).random(each.shape) < 0.5)
    single.save_weights(tmp_path / "single.weights.h5")
    fails("must consist of groups", lambda: model.load_weights(tmp_path / "single.weights.h5"))
