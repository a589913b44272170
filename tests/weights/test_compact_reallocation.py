"""Reallocation of weights in compact storage, in real models."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dsr as dsr
from keras_dsr.backend.keras_slots import optimizer_slots
from keras_dsr.methods import DSD, DSR, SET, SNFS, Decision, DeepR, GradualPruning, Static
from keras_dsr.weights.reallocation import Reallocation
from tests.helpers.compact_networks import perceptron
from tests.helpers.networks import compiled, fit, state_bits, values

traces_much = pytest.mark.slow_on("tensorflow")


def network(shapes, sparsity, capacity, storages=("compact",), optimizer=None, dtype=None) -> keras.Model:
    """Layers beside one another, each a matrix of one of the shapes."""
    layers = []
    for index, (rows, columns) in enumerate(shapes):
        storage = storages[index % len(storages)]
        given = {"capacity": capacity} if storage == "compact" else {}
        layer = dsr.SparseDense(columns, sparsity=sparsity, mask_seed=index, storage=storage, dtype=dtype, **given)
        layers.append(keras.Sequential([keras.Input((rows,)), layer]))
    inputs = [keras.Input((rows,)) for rows, _ in shapes]
    model = keras.Model(inputs, [layer(given) for layer, given in zip(layers, inputs)])
    if optimizer is not None:
        model.compile(optimizer, "mse")
        model.optimizer.build(model.trainable_variables)
    return model


def set_weights(weight, rng) -> None:
    """New values for the weights that exist, some of them 0."""
    given = values(weight.variable)
    shape = given.shape
    drawn = rng.normal(size=shape) * (rng.random(shape) > 0.1)
    if weight.mask is None:
        drawn[weight.count() :] = 0
    else:
        drawn *= values(weight.mask)
    weight.variable.assign(drawn.astype(given.dtype))


def check(weight) -> None:
    positions, held = weight.positions(), values(weight.variable)
    count = weight.count()
    assert positions.shape == weight.values().shape == (count,)
    assert (np.diff(positions) > 0).all()
    assert positions[0] >= 0 and positions[-1] < weight.size
    if weight.mask is None:
        assert count <= weight.capacity
        assert not held[count:].any()
        assert not values(weight.indices)[count:].any()


METHODS = {
    "DSR": DSR(target=0.3, initial_threshold=0.3),
    "DSR that prunes all": DSR(target=0.3, initial_threshold=1e6),
    "DSR with initializer": DSR(target=0.3, initial_threshold=0.3, growth="initializer"),
    "SET": SET(0.4),
    "SET with signs": SET(0.4, rule="signed", growth="initializer"),
    "DeepR": DeepR(temperature=1.0, learning_rate=0.1),
    "Static": Static(),
}


@pytest.mark.backends("tensorflow", "torch")  # JAX would compile for each of the shapes
@settings(max_examples=4)
@given(
    name=st.sampled_from(list(METHODS)),
    shapes=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=3),
    sparsity=st.sampled_from([0.0, 0.3, 0.9]),
    capacity=st.sampled_from([1.0, 1.5, 4.0]),
    storages=st.sampled_from([("compact",), ("compact", "masked")]),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_budget_is_exact_and_positions_are_distinct_and_increasing(
    name, shapes, sparsity, capacity, storages, dtype, seed
):
    model = network(shapes, sparsity, capacity, storages, keras.optimizers.Adam(), dtype)
    weights = dsr.sparse_weights(model)
    reallocate = Reallocation(model, METHODS[name], seed)
    before = [weight.count() for weight in weights]
    rng = np.random.default_rng(seed)
    for step in range(5):
        model.optimizer.iterations.assign(step)
        for weight in weights:
            set_weights(weight, rng)
        outcome = reallocate()
        for weight, count in zip(weights, outcome.active):
            check(weight)
            assert weight.count() == count >= 1
        assert sum(outcome.active) == sum(before)
        if not name.startswith("DSR"):
            assert outcome.active.tolist() == before


@pytest.mark.slow_on("tensorflow", "jax")
@pytest.mark.parametrize("name", ["DSR", *(pytest.param(one, marks=traces_much) for one in ("SET", "DeepR"))])
def test_thousands_of_reallocations_change_no_total(name, request):
    model = network([(40, 30), (30, 20), (20, 10)], 0.9, 1.5, optimizer=keras.optimizers.SGD(momentum=0.9))
    weights = dsr.sparse_weights(model)
    reallocate = Reallocation(model, METHODS[name])
    rng, seen = np.random.default_rng(0), set()
    for step in range(3_000 if request.config.getoption("--thorough") else 60):
        model.optimizer.iterations.assign(step)
        for weight in weights:
            set_weights(weight, rng)
        active = reallocate().active
        assert active.sum() == 120 + 60 + 20
        assert (active <= [weight.capacity for weight in weights]).all()
        for weight in weights:
            check(weight)
        seen.add(tuple(active))
    assert (len(seen) > 10) == (name == "DSR")


def pair(method, sparsity=0.7) -> tuple:
    """A compact and a masked model with the same weights, their reallocations, and what the second one's masks were."""
    compact, masked = (network([(30, 20), (20, 10)], sparsity, 3.0, (storage,)) for storage in ("compact", "masked"))
    rng = np.random.default_rng(1)
    for one, other in zip(dsr.sparse_weights(compact), dsr.sparse_weights(masked)):
        set_weights(one, rng)
        mask = np.zeros(one.size, bool)
        mask[one.positions()] = True
        other.set_mask(mask.reshape(one.shape))
        other.variable.assign(values(one.layer.kernel))
    return compact, masked, Reallocation(compact, method), Reallocation(masked, method)


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize("method", [DSR(target=0.2, initial_threshold=0.4), SET(0.3), SET(0.3, rule="signed")])
def test_decisions_that_are_not_drawn_are_those_of_masked_storage(method):
    compact, masked, one, other = pair(method)
    before = [(weight.positions(), weight.values()) for weight in dsr.sparse_weights(compact)]
    received, expected = one(), other()
    assert received.active.tolist() == expected.active.tolist()
    assert {name: float(value) for name, value in received.state.items()} == {
        name: float(value) for name, value in expected.state.items()
    }
    assert received.state["pruned"] > 50
    for index, (left, right) in enumerate(zip(dsr.sparse_weights(compact), dsr.sparse_weights(masked))):
        old, held = before[index]
        born = held == 0  # a weight of 0 cannot be told from a grown one: leave these out
        survived = [np.isin(old[~born], weight.positions()) for weight in (left, right)]
        np.testing.assert_array_equal(*survived)
        assert 0 < survived[0].sum() < len(old)


def test_each_tensor_takes_no_more_than_it_has_room_for():
    model = network([(30, 20), (20, 10)], 0.8, 1.1)
    first, second = dsr.sparse_weights(model)
    first.variable.assign(np.where(np.arange(first.capacity) < first.count(), 1e-6, 0))
    second.variable.assign(np.where(np.arange(second.capacity) < second.count(), 1.0, 0))
    outcome = Reallocation(model, DSR(target=0.3, initial_threshold=0.5))()
    # All but one of the 120 die; by survivors nearly all would grow in the second, which has 44 positions.
    assert outcome.active.tolist() == [120 + 40 - 44, 44]


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
def test_slots_move_with_their_weights_and_those_of_newborn_start_over(optimizer):
    model = compiled(perceptron(), optimizer)
    fit(model)
    slots = [optimizer_slots(model.optimizer, weight.variable) for weight in dsr.sparse_weights(model)]
    assert all(len(row) == (2 if optimizer == "adam" else 1) for row in slots)
    before = [
        (weight.positions(), weight.values(), [values(slot.variable) for slot in row])
        for weight, row in zip(dsr.sparse_weights(model), slots)
    ]
    Reallocation(model, SET(0.5))()
    for weight, row, (old, held, old_slots) in zip(dsr.sparse_weights(model), slots, before):
        new = weight.positions()
        _, at_old, at_new = np.intersect1d(old, new, return_indices=True)
        assert 0 < len(at_new) < len(new)
        born = np.setdiff1d(np.arange(weight.capacity), at_new)
        np.testing.assert_array_equal(weight.values()[at_new], held[at_old])
        for slot, old_slot in zip(row, old_slots):
            np.testing.assert_array_equal(values(slot.variable)[at_new], old_slot[at_old])
            np.testing.assert_array_equal(values(slot.variable)[born], np.float32(slot.initial_value))
        assert not weight.values()[born[born < len(new)]].any()


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize(
    "method",
    [DSR(target=40), *(pytest.param(one, marks=traces_much) for one in (SET(0.3), DeepR(temperature=1e-3)))],
)
def test_a_resumed_run_goes_on_to_the_same_bits(method, tmp_path):
    def reallocating():
        return dsr.Reallocate(method, period=1 if method.every_step else 2)

    keras.utils.set_random_seed(1)
    whole = compiled(perceptron())
    fit(whole, reallocating(), epochs=4)
    keras.utils.set_random_seed(1)
    first = compiled(perceptron())
    fit(first, reallocating(), epochs=2)
    dsr.save(first, tmp_path / "model.keras", resumable=True)
    second = keras.models.load_model(tmp_path / "model.keras")
    fit(second, reallocating(), epochs=2)
    assert state_bits(second) == state_bits(whole)


def test_methods_that_need_what_is_not_held_are_refused():
    model = compiled(perceptron())
    before = state_bits(model)
    for method, why in (
        (SNFS(), "needs gradients where weights are pruned"),
        (DSD(0.9), "restores all weights of a tensor"),
    ):
        with pytest.raises(ValueError, match=f"{type(method).__name__} {why}.*storage='masked', or use DSR, SET"):
            fit(model, dsr.Reallocate(method))
    with pytest.raises(ValueError, match="compact storage"):
        fit(model, dsr.DSDCallback(sparsity=0.9, dense_epochs=1, sparse_epochs=1), epochs=3)
    assert state_bits(model)[: len(model.variables)] == before[: len(model.variables)]


class GrowsByMask(Static):
    def update(self, inputs, state):
        return Decision(inputs.active, inputs.active), state


def test_growth_by_a_mask_is_refused_where_there_is_none():
    model = compiled(perceptron())
    reallocation = Reallocation(model, GrowsByMask())
    before = state_bits(model)
    with pytest.raises(
        ValueError, match=r"GrowsByMask tells what is grown by a mask.*`keras_dsr\.methods\.grow_at_ran"
    ):
        reallocation()
    assert state_bits(model) == before


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_pruning_reaches_the_same_sparsity_as_with_masks(scope):
    method = GradualPruning(final_sparsity=0.97, end_step=6, scope=scope)
    model = compiled(perceptron())
    fit(model, dsr.Reallocate(method, period=3))
    sizes = [weight.size for weight in dsr.sparse_weights(model)]
    counts = [weight.count() for weight in dsr.sparse_weights(model)]
    if scope == "tensor":
        assert counts == [round(0.03 * size) for size in sizes]
    assert sum(counts) == round(0.03 * sum(sizes)) if scope == "global" else True


@pytest.mark.slow_on("tensorflow", "jax")
def test_training_learns_under_an_exact_budget():
    model = compiled(perceptron(), keras.optimizers.Adam(0.01))
    history = fit(model, dsr.DSRCallback(target=20, period=5), batches=40, epochs=6).history
    assert sum(weight.count() for weight in dsr.sparse_weights(model)) == 307 + 48
    assert history["accuracy"][-1] > 0.85
    assert history["dsr_pruned"][-1] > 0
