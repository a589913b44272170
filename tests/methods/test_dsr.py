import dataclasses

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_dsr.methods import DSR
from keras_dsr.methods.dsr import adapt, prune
from keras_dsr.ops.units import Slices
from tests.helpers.networks import bits, int32, program, values
from tests.helpers.views import EIGHT_ACTIVE, EIGHT_WEIGHTS, SEEDS, normal_view, split, updated, view, views

# JAX would compile every one of these small cases: there test_contract.py and test_backends.py judge the method.
pytestmark = pytest.mark.backends("tensorflow", "torch")


def update(method, seen, seed=0, threshold=None):
    """One update; numpy arrays, H and K."""
    state = method.init(seen)
    if threshold is not None:
        state["threshold"] = ops.convert_to_tensor(threshold, "float32")
    weights, masks, state = updated(method, seen, state, seed)
    as_arrays = [[values(part) for part in parts] for parts in (weights, masks)]
    return *as_arrays, float(state["threshold"]), int(state["pruned"])


# Step 1: prune


def survivors_of(magnitudes, active, threshold):
    seen = view([magnitudes], [active])
    (survivors,) = split(seen, prune(seen.magnitudes, seen.active, np.float32(threshold), seen.segments))
    return survivors


def test_prune_drops_the_active_weights_below_the_threshold():
    survivors = survivors_of(np.abs(EIGHT_WEIGHTS), EIGHT_ACTIVE, 0.1)
    # 0.1 itself is not below H; 0.3 and 0.4 are pruned, so they do not survive either
    np.testing.assert_array_equal(survivors, [1, 0, 1, 0, 0, 1, 0, 0])


def test_prune_keeps_the_largest_alone_where_all_are_below_the_threshold():
    survivors = survivors_of(np.abs(EIGHT_WEIGHTS), EIGHT_ACTIVE, 9)
    np.testing.assert_array_equal(survivors, [1, 0, 0, 0, 0, 0, 0, 0])


def test_prune_keeps_the_first_of_equally_large_ones_and_never_a_dead_one():
    magnitudes = np.array([9, 1, 2, 2, 1, 2, 9, 9], "float32")
    active = np.array([0, 1, 1, 1, 1, 1, 0, 0], bool)
    survivors = survivors_of(magnitudes, active, 5)
    np.testing.assert_array_equal(survivors, [0, 0, 1, 0, 0, 0, 0, 0])


def test_prune_of_zeros_keeps_one():
    survivors = survivors_of(np.zeros(4, "float32"), np.array([False, True, True, False]), 1)
    np.testing.assert_array_equal(survivors, [0, 1, 0, 0])


# Step 2: adapt


@pytest.mark.parametrize(
    ("pruned", "factor"), [(0, 2), (539, 2), (540, 1), (600, 1), (660, 1), (661, 0.5), (10_000, 0.5)]
)
def test_adapt_halves_above_and_doubles_below_the_tolerance(pruned, factor):
    fewest, most = DSR(target=600, tolerance=0.1)._accepted(int32(1_000_000))
    assert (fewest, most) == (540, 660)
    assert float(adapt(ops.convert_to_tensor(0.125), int32(pruned), fewest, most)) == 0.125 * factor


@pytest.mark.parametrize(
    ("target", "tolerance", "active", "accepted"),
    [(10, 0.0, 99, (10, 10)), (1, 0.1, 99, (1, 1)), (8, 0.5, 99, (4, 12)), (0.25, 0.5, 64, (8, 24))],
)
def test_the_tolerance_bounds_are_inclusive_integers(target, tolerance, active, accepted):
    bounds = DSR(target=target, tolerance=tolerance)._accepted(int32(active))
    assert tuple(int(bound) for bound in bounds) == accepted


def test_adapt_stays_where_halving_and_doubling_are_exact():
    smallest, largest = ops.convert_to_tensor(2.0**-100), ops.convert_to_tensor(2.0**100)
    assert float(adapt(smallest, int32(9), 1, 2)) == 2.0**-100
    assert float(adapt(largest, int32(0), 1, 2)) == 2.0**100


# Step 3, share, has its tests in ops/test_apportionment.py; within an update it is worked out by hand below.


# Step 4, grow, has its tests in test_growth.py.


# Whole updates by hand


def test_three_tensors_by_hand_with_an_overflow_and_one_all_below_the_threshold():
    weights = [
        np.array([0.9, -0.8, 0.7, 0.6, -0.5, 0.4, 0.01, 0], "float32"),  # nearly full: one free position
        np.array([0.05, 0.02, -0.06, 0, 0, 0, 0, 0], "float32"),  # all below H
        np.array([0.5, -0.2, 0.04, -0.03, 0, 0, 0, 0], "float32"),
    ]
    masks = [np.arange(8) < 7, np.arange(8) < 3, np.arange(8) < 4]
    # prune at 0.1:  6 of 7 survive, the largest (0.06) of 3, and 2 of 4: K = 1 + 2 + 2 = 5
    # adapt:         5 > 1.1 * 2, so H halves
    # share:         5 by 6 : 1 : 2 is 3.33, 0.56, 1.11: first 3, 0, 1, and the one left over to the second: 3, 1, 1.
    #                The first has room for 1; its other 2 by 1 : 2 are 0.67, 1.33: 1, 1. In all 1, 2, 2.
    # grow:          the one free place of the first, two of the five of the second, two of the four of the third
    new_weights, new_masks, threshold, pruned = update(DSR(target=2), view(weights, masks), threshold=0.1)

    assert pruned == 5
    assert threshold == np.float32(0.1) / 2
    assert [mask.sum() for mask in new_masks] == [7, 3, 4]

    np.testing.assert_array_equal(new_masks[0], [1, 1, 1, 1, 1, 1, 0, 1])  # what was just dropped is not grown again
    np.testing.assert_array_equal(new_masks[1][:3], [0, 0, 1])
    np.testing.assert_array_equal(new_masks[2][:4], [1, 1, 0, 0])

    np.testing.assert_array_equal(new_weights[0], np.float32([0.9, -0.8, 0.7, 0.6, -0.5, 0.4, 0, 0]))
    np.testing.assert_array_equal(new_weights[1], np.float32([0, 0, -0.06, 0, 0, 0, 0, 0]))
    np.testing.assert_array_equal(new_weights[2], np.float32([0.5, -0.2, 0, 0, 0, 0, 0, 0]))


def test_a_full_tensor_loses_what_it_drops_to_the_others():
    weights = [np.array([0.9, 0.8, 0.7, 0.01], "float32"), np.array([0.5, 0.4, 0, 0], "float32")]
    masks = [np.ones(4, bool), np.array([1, 1, 0, 0], bool)]
    _, new_masks, _, pruned = update(DSR(target=1), view(weights, masks), threshold=0.1)
    assert pruned == 1
    np.testing.assert_array_equal(new_masks[0], [1, 1, 1, 0])
    assert new_masks[1].sum() == 3


def test_a_crowded_model_regrows_what_it_just_dropped_rather_than_lose_a_weight():
    weights = [np.array([1, 1, 1, 0.01], "float32"), np.array([0.02, 0.01, 1, 0], "float32")]
    masks = [np.ones(4, bool), np.array([1, 1, 1, 0], bool)]
    # prune: 3 of 4 and 1 of 3 survive, K = 3; one place was free: too few. So the three just dropped count as free, and
    # with them there is room for 1 and 3. Share: 3 by 3 : 1 is 2.25, 0.75: 2, 1; the first takes 1, the other one goes
    # to the second: 1, 2.
    _, new_masks, _, pruned = update(DSR(target=3), view(weights, masks), threshold=0.1)

    assert pruned == 3
    assert [mask.sum() for mask in new_masks] == [4, 3]
    assert new_masks[1][2]


def test_a_model_without_a_dead_place_stays_full():
    weights = [np.array([1, 0.01, 1, 0.01], "float32")]
    new_weights, new_masks, _, pruned = update(DSR(target=1), view(weights, [np.ones(4, bool)]), threshold=0.1)
    assert pruned == 2
    assert new_masks[0].all()
    np.testing.assert_array_equal(new_weights[0], [1, 0, 1, 0])


def test_just_enough_room_is_not_crowded():
    weights = [np.array([1, 0.01, 0.01, 0, 0], "float32")]
    masks = [np.array([1, 1, 1, 0, 0], bool)]
    _, new_masks, _, pruned = update(DSR(target=1), view(weights, masks), threshold=0.1)
    assert pruned == 2
    np.testing.assert_array_equal(new_masks[0], [1, 0, 0, 1, 1])


def test_nothing_below_the_threshold_moves_nothing_and_doubles_it():
    weights, masks = [np.array([1, 2, 0, 0], "float32")], [np.array([1, 1, 0, 0], bool)]
    new_weights, new_masks, threshold, pruned = update(DSR(target=1), view(weights, masks), threshold=0.25)
    assert (pruned, threshold) == (0, 0.5)
    np.testing.assert_array_equal(new_masks[0], masks[0])
    np.testing.assert_array_equal(new_weights[0], weights[0])


def test_a_tensor_whose_weights_are_all_nan_keeps_one():
    weights = [np.full(4, np.nan, "float32"), np.array([1, 0.5, 0, 0], "float32")]
    masks = [np.array([0, 1, 1, 0], bool), np.array([1, 1, 0, 0], bool)]
    new_weights, new_masks, _, pruned = update(DSR(target=1), view(weights, masks), threshold=0.1)
    assert pruned == 1
    assert sum(mask.sum() for mask in new_masks) == 4
    np.testing.assert_array_equal(np.isnan(new_weights[0]), [0, 1, 0, 0])


def test_dead_weights_do_not_count_whatever_they_hold():
    weights = [np.array([1, 0.01, np.nan, 5, -3, np.inf], "float32")]
    masks = [np.array([1, 1, 0, 0, 0, 0], bool)]
    new_weights, new_masks, _, pruned = update(DSR(target=1), view(weights, masks), threshold=0.1)
    assert pruned == 1
    assert new_masks[0].sum() == 2
    np.testing.assert_array_equal(new_weights[0], [1, 0, 0, 0, 0, 0])
    assert not np.signbit(new_weights[0]).any()


def test_slices_are_pruned_by_their_mean_and_grown_whole():
    kernel = np.zeros((2, 2, 1, 4), "float32")
    kernel[..., 0] = [[[0.3], [0.0]], [[0.0], [0.1]]]  # mean 0.1: survives, with its own zeros
    kernel[..., 1] = 0.09
    mask = np.zeros(kernel.shape, bool)
    mask[..., :2] = True
    new_weights, new_masks, _, pruned = update(DSR(target=1), view([kernel], [mask], [Slices((0, 1))]), threshold=0.1)

    assert pruned == 1
    slices = new_masks[0].reshape(4, 4)
    assert slices[:, 0].all()
    assert not slices[:, 1].any()
    assert sorted(slices[:, 2:].sum(axis=0)) == [0, 4]
    np.testing.assert_array_equal(new_weights[0][..., 0], kernel[..., 0])
    assert not new_weights[0][..., 1:].any()


# What holds for every model


@pytest.mark.slow_on("tensorflow")
@settings(max_examples=30)
@given(seen=views(), threshold=st.sampled_from([1e-30, 1e-3, 0.1, 1.0, 1e30]), seed=SEEDS)
def test_every_update_conserves_and_starts_newborns_clean(seen, threshold, seed):
    before = [bits(part) for part in [*seen.weights, *seen.masks]]

    new_weights, new_masks, new_threshold, pruned = update(DSR(target=0.3), seen, seed, threshold)

    old_units = [values(of.active(mask)) for mask, of in zip(seen.masks, seen.units)]
    new_units = [values(of.active(mask)) for mask, of in zip(new_masks, seen.units)]
    assert sum(units.sum() for units in new_units) == sum(units.sum() for units in old_units)
    assert min(units.sum() for units in new_units) >= 1
    assert 0 <= pruned <= sum(units.sum() for units in old_units) - len(old_units)
    assert 0 < new_threshold < np.inf

    crowded = pruned > sum((~units).sum() for units in old_units)
    dropped_in_all = 0
    for weight, of, old_mask, new_mask, new_weight in zip(seen.weights, seen.units, seen.masks, new_masks, new_weights):
        old_mask, weight = values(old_mask), values(weight)
        assert new_mask.dtype == bool
        assert new_weight.dtype == weight.dtype
        assert new_mask.shape == new_weight.shape == weight.shape
        np.testing.assert_array_equal(of.mask(of.active(new_mask, np), weight.shape, np), new_mask)  # whole units
        survived = new_weight != 0  # no weight drawn is exactly zero
        assert not (survived & ~(old_mask & new_mask)).any()
        assert new_weight[survived].tobytes() == weight[survived].tobytes()
        assert not np.signbit(new_weight[~survived].astype("float32")).any()
        dropped = of.active(old_mask, np).sum() - of.active(survived, np).sum()
        dropped_in_all += dropped
        if not crowded:
            assert not (new_mask & old_mask & ~survived).any()  # nothing is grown again where it just died
    assert dropped_in_all == pruned
    assert before == [bits(part) for part in [*seen.weights, *seen.masks]]


def masks_after(seed=0, step=7):
    return [mask.tobytes() for mask in update(DSR(), normal_view(step), seed, threshold=0.5)[1]]


def test_the_same_seed_and_step_give_the_same_masks():
    assert masks_after() == masks_after()


def test_another_seed_or_step_gives_other_masks():
    assert masks_after() != masks_after(seed=1)
    assert masks_after() != masks_after(step=8)


@pytest.mark.parametrize("jit_compile", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_compiled_gives_the_same_bits(jit_compile):
    method, seen = DSR(target=0.3), normal_view()
    state = method.init(seen)
    state["threshold"] = ops.convert_to_tensor(0.5)

    def decide(step, weights, masks):
        return updated(method, seen._replace(step=step, weights=weights, masks=masks), dict(state))

    compiled = program(decide, jit_compile)
    expected = keras.tree.flatten(decide(seen.step, seen.weights, seen.masks))
    received = keras.tree.flatten(compiled(seen.step, seen.weights, seen.masks))
    assert [bits(part) for part in received] == [bits(part) for part in expected]


# Arguments


@pytest.mark.parametrize("target", [0, -1, 1.0, 0.0, 1.5, float("nan"), "600", True, None])
def test_a_target_is_a_positive_count_or_a_fraction(target):
    with pytest.raises(ValueError, match=r"DSR\(target=\.\.\.\) must be a positive int .* or a float in \(0, 1\)"):
        DSR(target=target)


@pytest.mark.parametrize("initial_threshold", [0, -1e-3, float("nan"), float("inf"), "0.1", None, True])
def test_an_initial_threshold_is_positive(initial_threshold):
    with pytest.raises(ValueError, match=r"DSR\(initial_threshold=\.\.\.\) must be a positive number"):
        DSR(initial_threshold=initial_threshold)


@pytest.mark.parametrize("tolerance", [-0.1, 1, 2.0, float("nan"), "0.1", None, False])
def test_a_tolerance_is_a_fraction(tolerance):
    with pytest.raises(ValueError, match=r"DSR\(tolerance=\.\.\.\) must be in \[0, 1\)"):
        DSR(tolerance=tolerance)


def test_an_unknown_growth_is_refused():
    with pytest.raises(ValueError, match=r"DSR\(growth=\.\.\.\) must be 'zeros' or 'initializer'"):
        DSR(growth="ones")


def test_a_target_that_can_never_be_pruned_is_refused():
    seen = view([np.ones(4, "float32")] * 2, [np.array([1, 1, 1, 0], bool)] * 2)
    DSR(target=4).init(seen)
    with pytest.raises(ValueError, match=r"at most 4 of the 6 active ones\. Received: target=5"):
        DSR(target=5).init(seen)


def test_a_method_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DSR().target = 5
