import dataclasses
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dsr as dsr
from keras_dsr.methods import DSR
from keras_dsr.seam import Reallocation
from keras_dsr.seam.slots import optimizer_slots
from tests.networks import active_counts, bits, compiled, fill_dead, fit, perceptron, state_bits, values
from tests.seam.test_slots import OPTIMIZERS


def trained(optimizer="adam", **settings):
    model = compiled(perceptron(), optimizer, **settings)
    fit(model, batches=3)
    return model


# Conservation, in real models


def convolutional_model(granularity, sparsity, dtype):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            dsr.SparseConv2D(4, 3, sparsity=sparsity, seed=1, granularity=granularity, dtype=dtype),
            dsr.SparseConv2D(6, (3, 1), sparsity=0.9, seed=2, granularity=granularity, dtype=dtype),
            keras.layers.Flatten(),
            dsr.SparseDense(10, sparsity=0.95, seed=3, granularity=granularity, dtype=dtype),
        ]
    )


@settings(max_examples=8)
@given(
    granularity=st.sampled_from(["element", "kernel"]),
    sparsity=st.sampled_from([0.0, 0.5, 0.9]),
    dtype=st.sampled_from(["float32", "float16", "bfloat16", "mixed_float16"]),
    threshold=st.sampled_from([1e-6, 0.05, 100.0]),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_reallocation_conserves_units_and_leaves_dead_at_zero(granularity, sparsity, dtype, threshold, seed):
    model = convolutional_model(granularity, sparsity, dtype)
    weights = dsr.sparse_weights(model)
    reallocate = Reallocation(model, DSR(target=0.3, initial_threshold=threshold), seed)
    before = reallocate.active()
    for layer in (weight.layer for weight in weights):
        fill_dead(layer, np.nan)

    outcome = reallocate()

    assert outcome.active.sum() == before.sum()
    assert outcome.active.min() >= 1
    np.testing.assert_array_equal(outcome.active, reallocate.active())
    for weight in weights:
        kernel = values(weight.variable).astype("float32")
        assert not kernel[~values(weight.mask)].any()
        assert not np.signbit(kernel[~values(weight.mask)]).any()


def test_a_reallocation_moves_weights_between_layers_by_the_number_that_survive():
    model = perceptron(sparsity=0.8)
    hidden, classes = dsr.sparse_weights(model)  # 307 and 48 active
    hidden.variable.assign(values(hidden.mask) * 1.0)
    classes.variable.assign(values(classes.mask) * 0.01)
    outcome = Reallocation(model, DSR(target=5, initial_threshold=0.1))()
    # 47 of the 48 fall; of them 47 * 1 / 308 = 0.15 come back, so none: all to the hidden layer
    assert int(outcome.state["pruned"]) == 47
    assert outcome.active.tolist() == [307 + 47, 1]
    assert float(hidden.threshold) == float(classes.threshold) == np.float32(0.1) / 2


def test_survivors_keep_their_bits_and_newborns_start_at_zero():
    model = trained()
    before = [(values(weight.variable), values(weight.mask)) for weight in dsr.sparse_weights(model)]
    Reallocation(model, DSR(target=40, initial_threshold=0.05))()
    for weight, (kernel, mask) in zip(dsr.sparse_weights(model), before):
        survived = mask & (np.abs(kernel) >= np.float32(0.05))
        born = values(weight.mask) & ~mask
        assert survived.any()
        assert born.any()
        assert values(weight.variable)[survived].tobytes() == kernel[survived].tobytes()
        assert not values(weight.variable)[~survived].any()
        assert not (values(weight.mask) & mask & ~survived).any()


def test_biases_and_other_layers_are_not_touched():
    model = trained()
    biases = [bits(layer.bias) for layer in model.layers]
    Reallocation(model, DSR(target=40, initial_threshold=0.05))()
    assert [bits(layer.bias) for layer in model.layers] == biases


# Optimizer slots


KINDS_OF_SLOTS = ["SGD momentum", "Adam", "AdamW", "RMSprop centered", "Adagrad", "Nadam", "Lion", "Adafactor"]
WRAPPED = ["accumulation", "average", "loss scale", "several"]


@pytest.mark.parametrize("name", [*KINDS_OF_SLOTS, *WRAPPED, "Ftrl"])
def test_slots_of_dead_and_newborn_weights_start_over_and_those_of_survivors_stay(name):
    make = OPTIMIZERS[name][0] if name in OPTIMIZERS else lambda: keras.optimizers.Ftrl(0.1)
    model = trained(make())
    weights = dsr.sparse_weights(model)
    slots = [optimizer_slots(model.optimizer, weight.variable) for weight in weights]
    old_masks = [values(weight.mask) for weight in weights]
    old_slots = [[values(slot.variable) for slot in row] for row in slots]

    Reallocation(model, DSR(target=60, initial_threshold=0.1))()

    for weight, old_mask, row, old_row in zip(weights, old_masks, slots, old_slots):
        survived = values(weight.variable) != 0
        assert 0 < survived.sum() < old_mask.sum()
        assert (values(weight.mask) & ~old_mask).any()
        for slot, old_value in zip(row, old_row):
            assert values(slot.variable)[survived].tobytes() == old_value[survived].tobytes()
            np.testing.assert_array_equal(values(slot.variable)[~survived], np.float32(slot.initial_value))
    history = fit(model, batches=2)
    assert np.isfinite(history.history["loss"]).all()


# The threshold


def test_the_threshold_goes_on_from_the_layers():
    model = perceptron()
    first = Reallocation(model, DSR(target=300, initial_threshold=1e-3))
    assert first.threshold() == pytest.approx(1e-3)
    first()
    assert first.threshold() == pytest.approx(2e-3)
    again = Reallocation(model, DSR(target=300, initial_threshold=0.5))
    assert again.threshold() == pytest.approx(2e-3)
    again()
    assert [float(weight.threshold) for weight in dsr.sparse_weights(model)] == pytest.approx([4e-3] * 2)


def test_a_model_without_an_optimizer_is_reallocated_too():
    model = perceptron()
    before = sum(active_counts(model))
    assert int(Reallocation(model, DSR(target=40, initial_threshold=0.05))().state["pruned"]) > 0
    assert sum(active_counts(model)) == before


# One program


TRACES = []


@dataclasses.dataclass(frozen=True)
class CountedDSR:
    """DSR that notes every call of its Python code: once a trace."""

    inner: DSR
    conserves: ClassVar[bool] = True

    def init(self, view):
        return self.inner.init(view)

    def update(self, view, state, seed):
        TRACES.append(view.step)
        return self.inner.update(view, state, seed)


def test_the_decision_is_traced_once_and_runs_as_one_program():
    model = compiled(perceptron())
    TRACES.clear()
    fit(model, dsr.Reallocate(CountedDSR(DSR(target=40)), period=2), batches=6, epochs=3)
    assert len(TRACES) == 1
    assert tf.is_symbolic_tensor(TRACES[0])


# A method that breaks its promise


@dataclasses.dataclass(frozen=True)
class LosesOneWeight:
    conserves: ClassVar[bool] = True

    def init(self, view):
        return {}

    def update(self, view, state, seed):
        first = keras.ops.reshape(view.masks[0], (-1,))
        place = keras.ops.argmax(keras.ops.cast(first, "int32"))
        without = first & (keras.ops.arange(first.shape[0]) != keras.ops.cast(place, "int32"))
        return list(view.weights), [keras.ops.reshape(without, view.masks[0].shape), *view.masks[1:]], state


@dataclasses.dataclass(frozen=True)
class EmptiesTheLastTensor:
    conserves: ClassVar[bool] = False

    def init(self, view):
        return {"threshold": keras.ops.convert_to_tensor(1.0)}

    def update(self, view, state, seed):
        return list(view.weights), [*view.masks[:-1], keras.ops.zeros_like(view.masks[-1])], state


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (LosesOneWeight(), r"LosesOneWeight\(\) changed the number of active units from 355 to 354"),
        (EmptiesTheLastTensor(), r"EmptiesTheLastTensor\(\) left no active weight in '.*classes/kernel'"),
    ],
)
def test_a_method_that_breaks_its_promise_raises_and_changes_nothing(method, message):
    model = trained()
    before = state_bits(model)
    with pytest.raises(RuntimeError, match=message + r".*The model was not changed\."):
        Reallocation(model, method)()
    assert state_bits(model) == before


def test_a_method_that_does_not_conserve_may_lose_weights():
    @dataclasses.dataclass(frozen=True)
    class MayLose(LosesOneWeight):
        conserves: ClassVar[bool] = False

    model = perceptron()
    Reallocation(model, MayLose())()
    assert sum(active_counts(model)) == 354


# Models that do not fit


def test_a_model_without_sparse_layers_is_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="plain")
    with pytest.raises(ValueError, match=r"'plain' has no sparse layer.*SparseDense\(units, sparsity=0\.9\)"):
        Reallocation(model, DSR())


def test_layers_of_different_granularity_are_refused_by_name():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            dsr.SparseConv2D(4, 3, granularity="kernel", name="slices"),
            keras.layers.Flatten(),
            dsr.SparseDense(10, name="singles"),
        ]
    )
    with pytest.raises(ValueError, match="must have the same granularity") as error:
        Reallocation(model, DSR())
    assert "'kernel' (layer 'slices')" in str(error.value)
    assert "'element' (layer 'singles')" in str(error.value)


def test_an_unbuilt_model_is_refused():
    with pytest.raises(ValueError, match="has not been built"):
        Reallocation(keras.Sequential([dsr.SparseDense(4)]), DSR())


def test_a_target_that_the_model_can_never_reach_is_refused():
    with pytest.raises(ValueError, match=r"at most 353 of the 355 active ones. Received: target=354"):
        Reallocation(perceptron(), DSR(target=354))
