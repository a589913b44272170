"""What every method promises, whatever it prunes and grows. A new method is one line of CASES."""

from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_dsr.methods import (
    ACDC,
    DSD,
    DSR,
    MEST,
    SET,
    SNFS,
    DeepR,
    DensitySchedule,
    GradualPruning,
    GraNet,
    MovementPruning,
    RigL,
    Static,
    StraightThrough,
    TopKAST,
)
from keras_dsr.schedules import linear
from tests.helpers.networks import bits, dtype_of, int32, program, values
from tests.helpers.views import (
    EIGHT_ACTIVE,
    EIGHT_GRADIENTS,
    EIGHT_WEIGHTS,
    SEEDS,
    decided,
    normal_view,
    updated,
    view,
    views,
)

STEP = 7


class Case(NamedTuple):
    """A method, and its first update, worked by hand, of EIGHT_WEIGHTS at STEP: grown weights are drawn as 0.25.

    Attributes:
        mask, weights: None where the seed decides which they are.
        element_only: it has no kernel pattern.
        random: its masks depend on the seed.
    """

    method: Any
    mask: list | None
    weights: list | None
    element_only: bool = False
    random: bool = True


# Not active are 3 and 7. Pruned are the smallest two of six, 0.05 and -0.01, at 4 and 6; 3 and 7 are the room to grow,
# and there gradients are larger than at 4 and 6.
AS_IT_WAS = [1, 1, 1, 0, 1, 1, 1, 0]
PRUNED = [1, 1, 1, 0, 0, 1, 0, 0]
MOVED = [1, 1, 1, 1, 0, 1, 0, 1]
KEPT = [0.5, -0.09, 0.1, 0, 0, 0.2, 0, 0]
DRAWN = [0.5, -0.09, 0.1, 0.25, 0, 0.2, 0, 0.25]
ALL = [1] * 8
# By -w * g: -4.5, -0.81, -0.9, 0.09, -0.005, -1.8, -0.002, 0.16.
MOVED_TO = [0, 0, 0, 1, 1, 0, 1, 1]
RESTORED = [0.5, -0.09, 0.1, 0, 0.05, 0.2, -0.01, 0]
SHRUNK = [0.44, -0.03, 0.04, 0, 0, 0.14, 0, 0]  # DeepR: all lose 0.1 * 0.6; 0.05 and 0.01 do not have that much

CASES = [
    Case(Static(), AS_IT_WAS, [0.5, -0.09, 0.1, 0, 0.05, 0.2, -0.01, 0], random=False),
    Case(SET(fraction=1 / 3), MOVED, KEPT),
    Case(SET(fraction=1 / 3, growth="initializer"), MOVED, DRAWN),
    Case(SET(fraction=0.3, rule="signed"), MOVED, KEPT, element_only=True),
    Case(DeepR(temperature=0, l1=0.6, learning_rate=0.1), MOVED, SHRUNK, element_only=True),
    Case(GradualPruning(final_sparsity=0.5, end_step=STEP), PRUNED, KEPT, random=False),
    Case(GradualPruning(final_sparsity=0.5, end_step=STEP, scope="global"), PRUNED, KEPT, random=False),
    Case(DSD(sparsity=0.5), PRUNED, KEPT, random=False),
    Case(DSD(sparsity=0.9, cut="random"), None, None),
    Case(DSD([(0, 0.5), (STEP, 0.0)]), ALL, RESTORED, random=False),
    Case(ACDC(0.5, begin_step=STEP, end_step=STEP), PRUNED, KEPT, random=False),
    Case(ACDC(0.5, begin_step=STEP - 2, phase=2, end_step=100, scope="tensor"), ALL, RESTORED, random=False),
    Case(GraNet(final_sparsity=0.5, end_step=STEP, scope="tensor"), PRUNED, KEPT, random=False),
    Case(GraNet(0.25, 0.25, end_step=10**7, fraction=1 / 3), MOVED, KEPT, random=False),
    Case(MEST(fraction=1 / 3, gradient_weight=0.0, end_step=10**7), MOVED, KEPT),
    Case(RigL(fraction=1 / 3, end_step=10**7), MOVED, KEPT, random=False),
    Case(RigL(fraction=1 / 3, end_step=10**7, relative_to_output=True), MOVED, KEPT, random=False),
    Case(SNFS(fraction=1 / 3, end_step=10**7), MOVED, KEPT, random=False),
    Case(StraightThrough(), MOVED, EIGHT_WEIGHTS, random=False),  # 0.3 and 0.4, which are stored at 3 and 7, come back
    Case(StraightThrough(scope="global"), MOVED, EIGHT_WEIGHTS, random=False),
    Case(StraightThrough(relative_to_output=True), MOVED, EIGHT_WEIGHTS, random=False),
    Case(MovementPruning(final_sparsity=0.5, end_step=STEP), MOVED_TO, EIGHT_WEIGHTS, random=False),
    Case(TopKAST(backward_sparsity=0.0), MOVED, EIGHT_WEIGHTS, random=False),
    Case(DensitySchedule(Static(), linear(1.0, 0.5, STEP)), PRUNED, KEPT, random=False),
    Case(DensitySchedule(SET(fraction=1 / 3), linear(0.5, 0.75, STEP)), MOVED, KEPT),
    Case(DSR(target=1 / 3, initial_threshold=0.06), MOVED, KEPT),
    Case(DSR(target=1 / 3, initial_threshold=0.06, growth="initializer"), MOVED, DRAWN),
]
ONE_OF_EACH = list({type(case.method): case for case in CASES}.values())


# What these do is made of the parts of others, which each backend compiles for long enough.
MADE_OF_OTHERS = (ACDC, DensitySchedule, MovementPruning, GraNet, MEST, StraightThrough, TopKAST)
compiled_for_long = pytest.mark.slow_on("tensorflow", "jax")


def parametrized(mark):
    """Every case, those that are not in ONE_OF_EACH with a mark."""

    def marks(case):
        is_made_of_others = isinstance(case.method, MADE_OF_OTHERS)
        return [*([] if case in ONE_OF_EACH else [mark]), *([compiled_for_long] if is_made_of_others else [])]

    cases = [pytest.param(case, marks=marks(case)) for case in CASES]
    return pytest.mark.parametrize("case", cases, ids=lambda case: repr(case.method))


one_of_each = parametrized(pytest.mark.thorough)
one_of_each_on_jax = parametrized(pytest.mark.backends("tensorflow", "torch"))  # it compiles each of them
every_method = pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.method))


def seen_by(method, seen):
    """What a reallocation lets the method see: gradients only if it asks for them."""
    return seen if method.gradient_decay is not None else seen._replace(gradients=None)


def first_update(method, seen, seed=0):
    seen = seen_by(method, seen)
    return decided(method, seen, method.init(seen), seed)


def all_bits(outcome) -> list[bytes]:
    return [bits(part) for part in keras.tree.flatten(outcome)]


@pytest.mark.parametrize("case", [case for case in CASES if case.mask], ids=lambda case: repr(case.method))
def test_eight_weights_by_hand(case):
    constant = [lambda seed: ops.full((8,), 0.25)]
    (weights,), (mask,), _ = first_update(
        case.method,
        view([EIGHT_WEIGHTS], [EIGHT_ACTIVE], step=STEP, initializers=constant, gradients=[EIGHT_GRADIENTS]),
    )
    np.testing.assert_array_equal(mask, np.array(case.mask, bool))
    np.testing.assert_allclose(weights, case.weights, rtol=1e-6, atol=0)


@pytest.mark.slow_on("tensorflow")
@one_of_each_on_jax
@settings(max_examples=12)
@given(data=st.data(), seed=SEEDS)
def test_every_update_keeps_the_promises(case, data, seed):
    # GradualPruning prunes at low steps; the others do the same at any
    steps = st.sampled_from([0, 3, STEP, 2**31 - 1])
    slices = False if case.element_only else True if keras.backend.backend() == "jax" else None
    seed = 0 if keras.backend.backend() == "jax" else seed  # it is part of the program
    seen = seen_by(case.method, data.draw(views(slices=slices, step=steps)))
    before = all_bits([seen.weights, seen.masks, seen.gradients or []])
    state = case.method.init(seen)
    state_before = all_bits(state)

    new_weights, new_masks, new_state = decided(case.method, seen, state, seed)

    # Inputs are as they were; what comes out has the form of what went in.
    assert all_bits([seen.weights, seen.masks, seen.gradients or []]) == before
    assert all_bits(state) == state_before
    assert set(new_state) <= set(state)
    assert [(w.dtype, w.shape) for w in new_weights] == [(w.dtype, w.shape) for w in seen.weights]
    assert [(dtype_of(m), m.shape) for m in new_masks] == [("bool", m.shape) for m in seen.masks]

    tensors = []
    for weight, new_weight, old, new, of in zip(seen.weights, new_weights, seen.masks, new_masks, seen.units):
        new_weight, old, new = values(new_weight).astype("float32"), values(old), values(new)
        survived = old & (new if case.method.pruned_training else new_weight != 0)
        # (no weight drawn is 0; what grows where it was just pruned is)
        old_units, new_units, kept = (values(of.active(mask)) for mask in (old, new, survived))
        np.testing.assert_array_equal(of.mask(new_units, new.shape, np), new)  # whole units
        tensors.append((old_units, new_units, kept))

        assert new.any()
        if case.method.pruned_training:
            assert bits(new_weight) == bits(values(weight).astype("float32"))
            continue
        assert not new_weight[~new].any()  # pruned is zero, and +0
        assert not np.signbit(new_weight[~new]).any()
        if not isinstance(case.method, DeepR):  # it moves them
            assert new_weight[survived].tobytes() == values(weight).astype("float32")[survived].tobytes()
        assert (new & survived == survived).all()
        newborn = new_weight[new & ~old]
        grows_drawn = getattr(case.method, "growth", "zeros") == "initializer"
        assert ((newborn >= 1) & (newborn <= 2)).all() if grows_drawn else not newborn.any()

    dropped = [(old & ~kept).sum() for old, _, kept in tensors]
    room = [(~old).sum() for old, _, _ in tensors]
    for (old, new, kept), dropped_here, room_here in zip(tensors, dropped, room):
        if dropped_here <= room_here and sum(dropped) <= sum(room):
            assert not (new & old & ~kept).any()  # nothing is grown again where it just died
    if case.method.conserves:
        assert sum(new.sum() for _, new, _ in tensors) == sum(old.sum() for old, _, _ in tensors)
    if "pruned" in new_state:
        assert int(new_state["pruned"]) == sum(dropped)


@pytest.mark.slow_on("tensorflow", "jax")
@one_of_each
def test_the_same_seed_and_step_give_the_same_bits_and_others_another_draw(case):
    first, same, seeded, later = (
        all_bits(first_update(case.method, normal_view(step), seed)) for seed, step in [(0, 7), (0, 7), (1, 7), (0, 8)]
    )
    assert same == first
    assert (seeded != first) == (later != first) == case.random


@pytest.mark.slow_on("tensorflow", "jax")
@one_of_each
def test_two_tensors_of_one_shape_draw_independently(case):
    tensor = values(normal_view().weights[0]), values(normal_view().masks[0])
    _, (one, other), _ = first_update(case.method, view([tensor[0]] * 2, [tensor[1]] * 2))
    assert (bits(one) != bits(other)) == case.random


@pytest.mark.backends("tensorflow")  # on JAX all of these tests are compiled, on torch none
@one_of_each
def test_compiled_gives_the_same_bits(case):
    seen = seen_by(case.method, normal_view())
    state = case.method.init(seen)

    def decide(step, weights, masks, gradients, state):
        return updated(case.method, seen._replace(step=step, weights=weights, masks=masks, gradients=gradients), state)

    received = program(decide)(seen.step, seen.weights, seen.masks, seen.gradients, state)
    assert all_bits(received) == all_bits(updated(case.method, seen, state))


@one_of_each
@pytest.mark.parametrize("sparsity", [0.0, pytest.param(0.001, marks=pytest.mark.thorough)])
def test_saturated_tensors_lose_nothing(case, sparsity):
    seen = normal_view(sparsity=sparsity)
    _, masks, _ = first_update(case.method, seen)
    if case.method.conserves:
        assert sum(values(mask).sum() for mask in masks) == sum(values(mask).sum() for mask in seen.masks)


@one_of_each
def test_several_updates_in_a_row_keep_one_unit_in_each_tensor(case):
    seen = seen_by(case.method, normal_view(sparsity=0.99))
    state = case.method.init(seen)
    for step in range(5):
        weights, masks, new_state = decided(case.method, seen._replace(step=int32(step)), state)
        seen, state = seen._replace(weights=weights, masks=masks), {**state, **new_state}
        assert min(values(mask).sum() for mask in masks) >= 1
    if case.method.conserves:
        assert sum(values(mask).sum() for mask in masks) == 9


@every_method
def test_it_says_which_gradients_it_needs(case):
    decay = case.method.gradient_decay
    assert decay is None or (isinstance(decay, float) and 0 <= decay < 1)


@every_method
def test_a_method_is_a_value(case):
    assert case.method == type(case.method)(**vars(case.method))
    with pytest.raises(AttributeError):
        case.method.conserves = None
