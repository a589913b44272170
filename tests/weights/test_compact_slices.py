"""Slices of windows that move as wholes, in compact storage."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import keras_dsr as dsr
from keras_dsr.backend.keras_slots import optimizer_slots
from keras_dsr.layers.compact_kinds import CompactConv2D
from keras_dsr.methods import DSR, SET, Decision, DeepR, GradualPruning, Static, grow_at_random
from keras_dsr.methods.dropping import smallest_active
from keras_dsr.weights.reallocation import Reallocation
from tests.helpers.networks import compiled, state_bits, values

SHAPE = (6, 6, 3)


def network(storage: str = "compact", sparsity: float = 0.6, optimizer="adam", **settings) -> keras.Model:
    """Two convolutions, one with groups, and a dense layer."""
    settings = {"sparsity": sparsity, "pattern": "kernel", "storage": storage, **settings}
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            dsr.SparseConv2D(8, 3, mask_seed=1, padding="same", activation="relu", **settings),
            dsr.SparseConv2D(6, (1, 2), groups=2, mask_seed=2, use_bias=False, **settings),
            keras.layers.GlobalAveragePooling2D(),
            dsr.SparseDense(10, mask_seed=3, **settings),
        ]
    )
    return compiled(model, optimizer)


def trained(model, *callbacks, epochs=2, seed=0):
    rng = np.random.default_rng(seed)
    return model.fit(
        rng.normal(size=(60, *SHAPE)).astype("float32"),
        rng.integers(0, 10, 60),
        batch_size=10,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )


def masks_of(model) -> list[np.ndarray]:
    masks = []
    for weight in dsr.sparse_weights(model):
        mask = np.zeros(weight.size, bool)
        mask[weight.positions()] = True
        masks.append(mask.reshape(weight.shape))
    return masks


def units(model) -> list[int]:
    """The active units of each weight, of which none may be partly there."""
    counts = []
    for mask in masks_of(model):
        flat = mask.reshape(-1, *mask.shape[-2:])
        assert (flat.all(0) == flat.any(0)).all()
        counts.append(int(flat[0].sum()) if mask.ndim > 2 else int(mask.sum()))
    return counts


def test_masks_are_drawn_in_whole_slices_and_as_many_as_in_masked_storage():
    one, other = network(), network("masked")
    assert units(one) == units(other) == [round(0.4 * 24), round(0.4 * 24), round(0.4 * 60)]
    assert [weight.pattern for weight in dsr.sparse_weights(one)] == ["kernel"] * 3
    assert one.layers[0].get_config()["pattern"] == "kernel"


@pytest.mark.backends("tensorflow", "torch")  # JAX would compile for each example
@pytest.mark.slow_on("tensorflow")
@settings(max_examples=5)
@given(
    method=st.sampled_from(
        [DSR(target=0.3, initial_threshold=0.05), DSR(target=0.5, growth="initializer"), SET(0.4, growth="initializer")]
    ),
    sparsity=st.sampled_from([0.3, 0.6, 0.9]),
    capacity=st.sampled_from([1.0, 1.3, 3.0]),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 2**31 - 1),
)
def test_reallocation_keeps_slices_whole_and_their_number_exact(method, sparsity, capacity, dtype, seed):
    model = network(sparsity=sparsity, capacity=capacity, dtype=dtype)
    model.optimizer.build(model.trainable_variables)
    weights, before = dsr.sparse_weights(model), units(model)
    reallocate = Reallocation(model, method, seed)
    rng = np.random.default_rng(seed)
    for step in range(3):
        model.optimizer.iterations.assign(step)
        for weight in weights:
            drawn = rng.normal(size=weight.capacity) * 0.1
            weight.variable.assign(np.where(np.arange(weight.capacity) < weight.count(), drawn, 0).astype(dtype))
        outcome = reallocate()
        assert outcome.active.tolist() == reallocate.active().tolist() == units(model)
        assert sum(units(model)) == sum(before)
        assert isinstance(method, DSR) or units(model) == before
        for weight in weights:
            assert (np.diff(weight.positions()) > 0).all()
            assert not values(weight.variable)[weight.count() :].any()
            assert not values(weight.indices)[weight.count() :].any()
            weight.check()


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize("method", [DSR(target=0.3, initial_threshold=0.1), SET(0.3)])
def test_decisions_that_are_not_drawn_are_those_of_masked_storage(method):
    compact, masked = network(sparsity=0.7, capacity=3.0), network("masked", sparsity=0.7)
    rng = np.random.default_rng(1)
    for one, other, mask in zip(dsr.sparse_weights(compact), dsr.sparse_weights(masked), masks_of(compact)):
        kernel = np.where(mask, rng.normal(size=one.shape) * 0.1, 0).astype("float32")
        other.set_mask(mask)
        other.variable.assign(kernel)
        one.variable.assign(np.pad(kernel.reshape(-1)[one.positions()], (0, one.capacity - one.count())))
    before = masks_of(compact)
    received, expected = Reallocation(compact, method)(), Reallocation(masked, method)()
    assert received.active.tolist() == expected.active.tolist()
    assert received.state["pruned"] == expected.state["pruned"] > 5
    for old, one, other in zip(before, dsr.sparse_weights(compact), dsr.sparse_weights(masked)):
        new = values(one.layer.kernel)
        np.testing.assert_array_equal(new != 0, values(other.variable) != 0)  # grown slices are 0: survivors alone
        np.testing.assert_array_equal(new, values(other.variable))
        assert (new[~old] == 0).all()


def test_slots_move_with_their_weights_and_those_of_newborn_start_over():
    model = network(optimizer=keras.optimizers.Adagrad())
    trained(model, epochs=1)
    weight = dsr.sparse_weights(model)[0]
    (slot,) = optimizer_slots(model.optimizer, weight.variable)
    old, held, sums = weight.positions(), weight.values(), values(slot.variable)
    Reallocation(model, SET(0.5))()
    _, at_old, at_new = np.intersect1d(old, weight.positions(), return_indices=True)
    assert 0 < len(at_new) < weight.count() and len(at_new) % 9 == 0
    np.testing.assert_array_equal(weight.values()[at_new], held[at_old])
    np.testing.assert_array_equal(values(slot.variable)[at_new], sums[at_old])
    born = np.setdiff1d(np.arange(weight.capacity), at_new)
    np.testing.assert_array_equal(values(slot.variable)[born], np.float32(slot.initial_value))


@pytest.mark.slow_on("tensorflow", "jax")
def test_a_saved_model_trains_on_to_the_same_bits(tmp_path):
    def callback():
        return dsr.DSRCallback(target=6, period=3)

    keras.utils.set_random_seed(1)
    whole = network()
    trained(whole, callback(), epochs=2)
    trained(whole, callback(), epochs=2, seed=1)
    keras.utils.set_random_seed(1)
    first = network()
    trained(first, callback(), epochs=2)
    dsr.save(first, tmp_path / "model.keras", resumable=True)
    second = keras.models.load_model(tmp_path / "model.keras")
    trained(second, callback(), epochs=2, seed=1)
    assert state_bits(second) == state_bits(whole)
    assert sum(units(second)) == sum(units(network()))


@pytest.mark.slow_on("tensorflow", "jax")
def test_gradual_pruning_cuts_whole_slices():
    model = network(sparsity=0.0)
    trained(model, dsr.Reallocate(GradualPruning(final_sparsity=0.75, end_step=10), period=2))
    assert units(model) == [6, 6, 15]


@pytest.mark.slow_on("jax")
def test_a_model_is_converted_in_whole_slices_and_back():
    model = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Conv2D(8, 3), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    compiled(model)
    report = dsr.sparsify(model, 0.75, pattern="kernel", mask="magnitude", storage="compact", seed=1)
    assert type(model.layers[0]) is CompactConv2D
    assert units(model)[0] == 6
    assert [row.active for row in report.rows] == [54, 320]
    trained(model, dsr.DSRCallback(target=4, period=2))
    outputs = model.predict(np.ones((2, *SHAPE), "float32"), verbose=0)
    dsr.densify(model)
    assert type(model.layers[0]) is keras.layers.Conv2D
    np.testing.assert_allclose(model.predict(np.ones((2, *SHAPE), "float32"), verbose=0), outputs, rtol=1e-4, atol=1e-6)


class MovesOneToTheFirst(Static):
    def update(self, inputs, state):
        others = [0] * (len(inputs.names) - 1)
        kept = inputs.active & ~smallest_active(inputs, ops.convert_to_tensor([*others, 1], "int32"))
        grown = grow_at_random(inputs, inputs.active, ops.convert_to_tensor([1, *others], "int32"), "one")
        return Decision(kept, grown), state


@pytest.mark.slow_on("jax")
@pytest.mark.backends("jax")  # whose lists have room for them
def test_a_slice_for_which_there_is_no_room_is_an_error():
    model = network(capacity=1.0)
    model.optimizer.build(model.trainable_variables)
    before = state_bits(model)
    with pytest.raises(RuntimeError, match="gave .* 99 weights, more than the 90 that it has room for"):
        Reallocation(model, MovesOneToTheFirst())()
    assert state_bits(model)[:4] == before[:4]


def test_signs_of_single_weights_are_refused():
    with pytest.raises(ValueError, match="DeepR needs pattern='element'"):
        Reallocation(network(), DeepR())


def test_positions_that_are_no_whole_slices_are_refused(tmp_path):
    single, slices = network(pattern="element"), network()
    single.save_weights(tmp_path / "single.weights.h5")
    before = state_bits(slices.layers[0])
    with pytest.raises(ValueError, match="must be whole slices of 9 weights, as its pattern is 'kernel'"):
        slices.load_weights(tmp_path / "single.weights.h5")
    assert state_bits(slices.layers[0]) == before
    weight = dsr.sparse_weights(slices)[0]
    weight.indices.assign(
        np.pad(np.stack(np.divmod(np.arange(weight.count()), 8), 1), [(0, weight.capacity - weight.count()), (0, 0)])
    )
    with pytest.raises(ValueError, match="whole slices"):
        trained(slices, dsr.DSRCallback(target=4, period=2))
