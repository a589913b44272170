import dataclasses
from typing import ClassVar

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_dsr as dsr
from keras_dsr.backend.keras_slots import optimizer_slots
from keras_dsr.methods import DSR, SET, Decision, DeepR, GradualPruning, Method, Static, smallest_active
from keras_dsr.weights.reallocation import Reallocation
from tests.helpers.networks import (
    active_counts,
    bits,
    compiled,
    fill_dead,
    fit,
    perceptron,
    selected,
    state_bits,
    values,
)
from tests.helpers.optimizer_slots import OPTIMIZERS


def trained(optimizer="adam", **settings):
    model = compiled(perceptron(), optimizer, **settings)
    fit(model, batches=3)
    return model


# Conservation, in real models


def convolutional_model(pattern, sparsity, dtype):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            dsr.SparseConv2D(4, 3, sparsity=sparsity, mask_seed=1, pattern=pattern, dtype=dtype),
            dsr.SparseConv2D(6, (3, 1), sparsity=0.9, mask_seed=2, pattern=pattern, dtype=dtype),
            keras.layers.Flatten(),
            dsr.SparseDense(10, sparsity=0.95, mask_seed=3, pattern=pattern, dtype=dtype),
        ]
    )


@settings(max_examples=3)
@given(
    pattern=st.sampled_from(["element", "kernel"]),
    sparsity=st.sampled_from([0.0, 0.5, 0.9]),
    dtype=st.sampled_from(["float32", "float16", "bfloat16", "mixed_float16"]),
    threshold=st.sampled_from([1e-6, 0.05, 100.0]),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_reallocation_conserves_units_and_leaves_dead_at_zero(pattern, sparsity, dtype, threshold, seed):
    model = convolutional_model(pattern, sparsity, dtype)
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


@pytest.mark.slow_on("tensorflow")
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


@pytest.mark.slow_on("tensorflow")
def test_biases_and_other_layers_are_not_touched():
    model = trained()
    biases = [bits(layer.bias) for layer in model.layers]
    Reallocation(model, DSR(target=40, initial_threshold=0.05))()
    assert [bits(layer.bias) for layer in model.layers] == biases


# Optimizer slots


KINDS_OF_SLOTS = ["SGD momentum", "Adam", "AdamW", "RMSprop centered", "Adagrad", "Nadam", "Lion", "Adafactor"]
WRAPPED = ["accumulation", "average", "loss scale", "several"]


SOME = ["Adam", "RMSprop centered", "Adagrad", "accumulation", "average", "several"]


@pytest.mark.one_case_on("tensorflow")
@pytest.mark.parametrize("name", selected([*KINDS_OF_SLOTS, *WRAPPED, "Ftrl"], SOME))
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
    if name == "average" and keras.backend.backend() == "jax":
        return  # a second `fit` fails there without us too: weights and averages are one buffer after the first
    history = fit(model, batches=2)
    assert np.isfinite(history.history["loss"]).all()


BY_INITIALIZER = DSR(target=60, initial_threshold=0.1, growth="initializer"), SET(0.3, growth="initializer")
EVERY_PAIR = [(name, method) for name in ("SGD momentum", "Adam", "Adagrad") for method in BY_INITIALIZER]


@pytest.mark.one_case_on("tensorflow")
@pytest.mark.parametrize(
    ("name", "method"),
    [
        pytest.param(*pair, marks=[] if index in (0, 5) else pytest.mark.thorough)
        for index, pair in enumerate(EVERY_PAIR)
    ],
)
def test_slots_of_weights_born_from_the_initializer_start_over_too(name, method):
    model = trained(OPTIMIZERS[name][0]())
    weights = dsr.sparse_weights(model)
    old_masks = [values(weight.mask) for weight in weights]
    Reallocation(model, method)()
    for weight, old_mask in zip(weights, old_masks):
        born = values(weight.mask) & ~old_mask
        assert born.any()
        assert values(weight.variable)[born].all()
        for slot in optimizer_slots(model.optimizer, weight.variable):
            assert (values(slot.variable)[born | ~values(weight.mask)] == np.float32(slot.initial_value)).all()
            assert (values(slot.variable)[values(weight.mask) & ~born] != np.float32(slot.initial_value)).any()


# Values from the initializer


def born_values(initializer, seed=0, step=0, **settings):
    """What 3,200 grown weights of one layer of 12,800 positions start from."""
    layer = dsr.SparseDense(200, sparsity=0.5, mask_seed=1, kernel_initializer=initializer, **settings)
    model = compiled(keras.Sequential([keras.Input((64,)), layer]))
    old_mask = values(layer.kernel_mask)
    reallocation = Reallocation(model, SET(0.5, growth="initializer"), seed)
    model.optimizer.iterations.assign(step)
    reallocation()
    born = values(layer.kernel_mask) & ~old_mask
    assert born.sum() == 3200
    return values(layer._kernel)[born].astype("float32")


@pytest.mark.slow_on("jax")
def test_newborn_weights_are_drawn_by_the_initializer_of_the_layer():
    uniform = born_values(keras.initializers.RandomUniform(2.0, 3.0))
    assert uniform.min() >= 2.0 and uniform.max() <= 3.0
    assert uniform.mean() == pytest.approx(2.5, abs=0.03)  # standard deviation 0.005
    # the scale of the dense layer, as its first weights: sqrt(6 / (64 + 200))
    glorot = born_values("glorot_uniform")
    assert np.abs(glorot).max() == pytest.approx(np.sqrt(6 / 264), rel=0.01)
    assert abs(glorot.mean()) < 0.01
    assert (born_values("ones") == 1).all()
    assert (born_values(lambda shape, dtype=None: keras.ops.full(shape, 0.5, dtype=dtype)) == 0.5).all()


@pytest.mark.slow_on("jax")
@pytest.mark.parametrize("dtype", selected(["float16", "bfloat16", "mixed_float16"], ["bfloat16"]))
def test_newborn_weights_are_drawn_in_half_precision_too(dtype):
    drawn = born_values("he_normal", dtype=dtype)
    assert drawn.std() == pytest.approx(np.sqrt(2 / 64), rel=0.05)


@pytest.mark.slow_on("tensorflow", "jax")
@pytest.mark.parametrize("initializer_seed", selected([None, 3], [3]))
def test_newborn_values_are_a_function_of_the_seed_and_the_step(initializer_seed):
    def drawn(**settings):
        return bits(born_values(keras.initializers.RandomNormal(seed=initializer_seed), **settings))

    assert drawn() == drawn()
    assert len({drawn(), drawn(seed=1), drawn(step=1)}) == 3


# What a method keeps for each weight


@dataclasses.dataclass(frozen=True)
class CountsUpdates(Static):
    """Keeps the number of updates at every position, and another tensor that it never returns."""

    def init(self, inputs):
        ages = inputs.retained.get("age") or [keras.ops.zeros(mask.shape, "int32") for mask in inputs.masks]
        return {"age": ages, "half": [keras.ops.full(mask.shape, 0.5, "float32") for mask in inputs.masks]}

    def update(self, inputs, state):
        return Decision(inputs.active), {"age": [age + 1 for age in state["age"]]}


def test_what_a_method_keeps_for_each_weight_lives_with_the_layers():
    model = trained()
    assert [weight.states for weight in dsr.sparse_weights(model)] == [{}, {}]
    reallocate = Reallocation(model, DeepR())
    assert list(reallocate.initial_state) == ["pruned"]
    for weight in dsr.sparse_weights(model):
        signs, mask = weight.states["signs"], values(weight.mask)
        assert signs is weight.layer.kernel_signs
        assert (signs.dtype, tuple(signs.shape), signs.trainable) == ("int8", weight.shape, False)
        assert set(np.unique(values(signs))) == {-1, 1}
        assert (values(signs) == np.sign(values(weight.variable)))[mask].all()


def test_a_second_reallocation_goes_on_with_what_the_first_kept():
    model = perceptron()
    Reallocation(model, CountsUpdates())()
    reallocate = Reallocation(model, CountsUpdates())
    reallocate()
    reallocate()
    for weight in dsr.sparse_weights(model):
        assert (values(weight.states["age"]) == 3).all()
        assert (values(weight.states["half"]) == 0.5).all()


@pytest.mark.parametrize("name", ["mask", "threshold", "initializer"])
def test_a_method_cannot_keep_what_the_layer_has_under_that_name(name):
    @dataclasses.dataclass(frozen=True)
    class Keeps(Static):
        def init(self, inputs):
            return {name: [keras.ops.zeros(mask.shape) for mask in inputs.masks]}

    with pytest.raises(ValueError, match=f"cannot keep '{name}' with the layers: SparseDense has a `kernel_{name}`"):
        Reallocation(perceptron(), Keeps())


@pytest.mark.slow_on("tensorflow", "jax")
def test_signs_follow_weights_that_something_else_has_moved():
    model = trained()
    Reallocation(model, DeepR())
    for weight in dsr.sparse_weights(model):
        weight.variable.assign(-values(weight.variable))
    assert Reallocation(model, DeepR(temperature=0, l1=0))().state["pruned"] == 0


@pytest.mark.slow_on("tensorflow", "jax")
def test_a_clone_has_signs_of_its_own():
    model = trained()
    Reallocation(model, DeepR())
    clone = compiled(keras.models.clone_model(model))
    before = [values(weight.variable) for weight in dsr.sparse_weights(clone)]
    assert Reallocation(clone, DeepR(temperature=0, l1=0))().state["pruned"] == 0
    assert all((values(weight.variable) == old).all() for weight, old in zip(dsr.sparse_weights(clone), before))


@pytest.mark.slow_on("tensorflow", "jax")
def test_weights_from_before_a_method_load_and_it_begins_anew(tmp_path):
    model = trained()
    model.save_weights(tmp_path / "before.weights.h5")
    before = [values(weight.variable) for weight in dsr.sparse_weights(model)]
    reallocate = Reallocation(model, DeepR(temperature=1e-2))
    reallocate()
    model.load_weights(tmp_path / "before.weights.h5")
    for weight, old in zip(dsr.sparse_weights(model), before):
        np.testing.assert_array_equal(values(weight.variable), old)
        assert not values(weight.states["signs"]).any()
    reallocate.begin()
    for weight in dsr.sparse_weights(model):
        assert set(np.unique(values(weight.states["signs"]))) == {-1, 1}


@pytest.mark.slow_on("tensorflow", "jax")
def test_signs_stay_while_weights_die_and_are_born():
    model = trained()
    reallocate = Reallocation(model, DeepR(temperature=0.1, l1=0))
    signs = [bits(weight.states["signs"]) for weight in dsr.sparse_weights(model)]
    masks = [bits(weight.mask) for weight in dsr.sparse_weights(model)]
    for _ in range(3):
        assert reallocate().state["pruned"] > 0
    assert [bits(weight.states["signs"]) for weight in dsr.sparse_weights(model)] == signs
    assert [bits(weight.mask) for weight in dsr.sparse_weights(model)] != masks
    for weight in dsr.sparse_weights(model):
        assert (values(weight.variable) * values(weight.states["signs"]) >= 0).all()


@pytest.mark.slow_on("jax")
def test_the_learning_rate_of_the_walk_follows_the_optimizer():
    model = compiled(perceptron(), keras.optimizers.SGD(0.125))
    reallocate = Reallocation(model, DeepR(temperature=0, l1=1.0))
    weight = dsr.sparse_weights(model)[0]
    positive = values(weight.mask) & (values(weight.states["signs"]) > 0)
    left = []
    for learning_rate in (0.125, 0.25):
        model.optimizer.learning_rate = learning_rate
        weight.variable.assign(10.0 * values(weight.states["signs"]))
        reallocate()
        left.append(values(weight.variable)[positive])
    assert (left[0] == 9.875).all()
    assert (left[1] == 9.75).all()


@pytest.mark.slow_on("tensorflow", "jax")
@pytest.mark.parametrize("without", ["an optimizer", "one learning rate"])
def test_a_walk_without_a_learning_rate_is_refused_and_leaves_nothing_behind(without):
    model = perceptron() if without == "an optimizer" else trained(OPTIMIZERS["several"][0]())
    before = state_bits(model)
    with pytest.raises(ValueError, match=r"pass DeepR\(learning_rate=0\.01\)"):
        Reallocation(model, DeepR())
    assert state_bits(model) == before
    Reallocation(model, DeepR(learning_rate=0.01))()
    assert sum(active_counts(model)) == 355


@pytest.mark.parametrize(
    ("method", "message"),
    [(DeepR(), "DeepR needs pattern='element'"), (SET(rule="signed"), r"SET\(rule='signed'\) needs pattern")],
)
def test_methods_of_single_weights_refuse_slices(method, message):
    model = compiled(convolutional_model("kernel", 0.5, "float32"))
    before = state_bits(model)
    with pytest.raises(ValueError, match=message):
        Reallocation(model, method)
    assert state_bits(model) == before


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize(
    ("method", "dtype"),
    [
        (Static(), "float16"),
        (SET(0.3), "mixed_bfloat16"),
        (DeepR(temperature=1e-3), "float16"),
        (DSR(target=60), "mixed_bfloat16"),
        pytest.param(Static(), "mixed_bfloat16", marks=pytest.mark.thorough),
        pytest.param(SET(0.3), "float16", marks=pytest.mark.thorough),
        pytest.param(DeepR(temperature=1e-3), "mixed_bfloat16", marks=pytest.mark.thorough),
        pytest.param(DSR(target=60), "float16", marks=pytest.mark.thorough),
    ],
)
def test_every_conserving_method_reallocates_a_model(method, dtype):
    model = compiled(convolutional_model("element", 0.5, dtype))
    reallocate = Reallocation(model, method)
    before = reallocate.active()
    for weight in dsr.sparse_weights(model):
        fill_dead(weight.layer, np.nan)
    after = reallocate().active
    assert after.sum() == before.sum()
    if not isinstance(method, DSR):
        assert after.tolist() == before.tolist()
    for weight in dsr.sparse_weights(model):
        assert not values(weight.variable).astype("float32")[~values(weight.mask)].any()


def test_gradual_pruning_follows_the_steps_of_the_optimizer():
    model = compiled(perceptron(sparsity=0))
    reallocate = Reallocation(model, GradualPruning(final_sparsity=0.75, end_step=4))
    totals = []
    for step in range(6):
        model.optimizer.iterations.assign(step)
        totals.append(reallocate().active.tolist())
    assert totals[0] == [1536, 240]
    assert totals[2] == [384 + 144, 60 + 22]  # 3/4 of 1/8 above the last: 528 and 82.5, to the even number
    assert totals[4] == totals[5] == [384, 60]


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
class CountedDSR(DSR):
    """DSR that notes every call of its Python code: once a trace."""

    def update(self, inputs, state):
        TRACES.append(inputs.step)
        return super().update(inputs, state)


@pytest.mark.backends("tensorflow", "jax")
def test_the_decision_is_traced_once_and_runs_as_one_program():
    model = compiled(perceptron())
    TRACES.clear()
    fit(model, dsr.Reallocate(CountedDSR(target=40), period=2), batches=6, epochs=3)
    assert len(TRACES) == 1
    with pytest.raises(Exception, match=r"(?i)symbolic|traced"):
        int(TRACES[0])  # it has no value: it stands for the step of every reallocation


# A method that breaks its promise


@dataclasses.dataclass(frozen=True)
class LosesOneWeight(Method):
    conserves: ClassVar[bool] = True

    def init(self, inputs):
        return {}

    def update(self, inputs, state):
        one_of_the_first = keras.ops.convert_to_tensor([1, 0], "int32")
        return Decision(inputs.active & ~smallest_active(inputs, one_of_the_first)), state


@dataclasses.dataclass(frozen=True)
class KeepsAList(Method):
    """Of a name under which layers keep something else."""

    name: str

    def init(self, inputs):
        return {self.name: [keras.ops.zeros(mask.shape, "int8") for mask in inputs.masks]}

    def update(self, inputs, state):
        return Decision(inputs.active), {}


@pytest.mark.once
@pytest.mark.parametrize("storage", ["masked", "compact"])
@pytest.mark.parametrize("name", ["gradient", "trained"])
def test_a_list_may_not_have_the_name_of_what_passes_back(name, storage):
    model = keras.Sequential([keras.Input((6,)), dsr.SparseDense(40, sparsity=0.9, storage=storage)])
    with pytest.raises(ValueError, match=f"must not be '{name}'.*Give the list another name"):
        dsr.Reallocator(compiled(model), KeepsAList(name))


@dataclasses.dataclass(frozen=True)
class EmptiesTheLastTensor(Method):
    def init(self, inputs):
        return {"threshold": keras.ops.convert_to_tensor(1.0)}

    def update(self, inputs, state):
        is_first = keras.ops.convert_to_tensor([True, False])
        return Decision(inputs.active & inputs.segments.spread(is_first)), state


@pytest.mark.one_case_on("tensorflow")
@pytest.mark.parametrize(
    ("method", "message"),
    [
        (LosesOneWeight(), r"LosesOneWeight\(\) changed the number of active units from 355 to 354"),
        (EmptiesTheLastTensor(), r"EmptiesTheLastTensor\(\) left no active weight in '.*classes/kernel'"),
    ],
)
def test_a_method_that_breaks_its_promise_raises_and_changes_nothing(method, message):
    model = trained()
    reallocation = Reallocation(model, method)
    before = state_bits(model)
    with pytest.raises(RuntimeError, match=message + r".*The model was not changed\."):
        reallocation()
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


def test_layers_of_different_patterns_are_refused_by_name():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            dsr.SparseConv2D(4, 3, pattern="kernel", name="slices"),
            keras.layers.Flatten(),
            dsr.SparseDense(10, name="singles"),
        ]
    )
    with pytest.raises(ValueError, match="must have the same pattern") as error:
        Reallocation(model, DSR())
    assert "'kernel' (layer 'slices')" in str(error.value)
    assert "'element' (layer 'singles')" in str(error.value)


def test_an_unbuilt_model_is_refused():
    with pytest.raises(ValueError, match="has not been built"):
        Reallocation(keras.Sequential([dsr.SparseDense(4)]), DSR())


def test_a_target_that_the_model_can_never_reach_is_refused():
    with pytest.raises(ValueError, match=r"at most 353 of the 355 active ones. Received: target=354"):
        Reallocation(perceptron(), DSR(target=354))
