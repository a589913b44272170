import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_dsr.methods import Decision, Static, grow_at_random, grow_where_largest, taken_in_all, taken_in_each
from keras_dsr.methods.growth import check_growth
from keras_dsr.ops.randomness import StepSeed
from keras_dsr.ops.units import Slices
from keras_dsr.weights.apply import Stored, apply_decision
from tests.helpers.networks import bits, dtype_of, int32, values
from tests.helpers.views import split, view

# JAX would compile every one of these small cases: there test_contract.py and test_backends.py judge the method.
pytestmark = pytest.mark.backends("tensorflow", "torch")


def seen_with(*active, **settings):
    """A view of tensors of ones and zeros, active where they are 1."""
    masks = [np.array(tensor, bool) for tensor in active]
    return view([mask.astype("float32") for mask in masks], masks, **settings)


def joined(seen, *tensors):
    """Of tensors of zeros and ones."""
    return seen.segments.join([ops.convert_to_tensor(np.array(tensor, bool)) for tensor in tensors])


# grow_at_random


def test_a_tensor_grows_its_share_among_what_is_not_taken():
    taken = [np.array([1, 1, 0, 0, 1, 0, 0, 0], bool), np.array([1, 0, 1, 0, 1, 1, 1, 1], bool)]
    seen = seen_with(*taken)
    first, second = split(seen, grow_at_random(seen, seen.active, int32([3, 2]), "test").units)
    assert first.sum() == 3
    assert not (first & taken[0]).any()
    np.testing.assert_array_equal(second, ~taken[1])  # room for just two


def test_a_share_of_nothing_grows_nothing():
    seen = seen_with([1, 0, 0])
    (grown,) = split(seen, grow_at_random(seen, seen.active, int32([0]), "test").units)
    assert not grown.any()


# grow_where_largest


def test_growth_where_the_score_is_largest_skips_what_is_taken_and_takes_ties_by_position():
    seen = seen_with([1, 0, 0, 0, 0, 0], [0, 0, 1, 0])
    scores = [np.array([9, 0, 0.5, 3e38, 0.25, 0.5], "float32"), np.array([0, 1e-30, 0, 0], "float32")]
    scores = seen.segments.join([ops.convert_to_tensor(score) for score in scores])
    first, second = split(seen, grow_where_largest(seen, seen.active, int32([2, 2]), scores).units)
    np.testing.assert_array_equal(first, [0, 0, 1, 1, 0, 0])
    np.testing.assert_array_equal(second, [1, 1, 0, 0])


def test_growth_where_the_score_is_largest_takes_zeros_if_there_is_nothing_else():
    seen = seen_with([1, 0, 0, 0])
    (grown,) = split(seen, grow_where_largest(seen, seen.active, int32([3]), ops.zeros_like(seen.magnitudes)).units)
    np.testing.assert_array_equal(grown, [0, 1, 1, 1])


# gradient_magnitudes


def test_gradients_that_are_not_numbers_count_as_zero():
    gradient = np.array([-2, np.nan, np.inf, -np.inf, 0.5], "float32")
    seen = view([WEIGHTS], [MASK], gradients=[gradient])
    np.testing.assert_array_equal(split(seen, seen.gradient_magnitudes)[0], [2, 0, 0, 0, 0.5])


def test_the_gradient_of_a_slice_is_the_mean_magnitude():
    kernel = np.zeros((2, 2, 1, 2), "float32")
    gradient = np.stack([np.full((2, 2, 1), 0.5), [[[3], [-3]], [[np.nan], [0]]]], axis=-1)
    seen = view([kernel], [np.ones(kernel.shape, bool)], [Slices((0, 1))], gradients=[gradient])
    np.testing.assert_array_equal(split(seen, seen.gradient_magnitudes)[0], [[[[0.5, 1.5]]]])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_gradients_in_half_precision_become_float32(dtype):
    seen = view([ops.cast(WEIGHTS, dtype)], [MASK], gradients=[np.array([-0.5, 0, np.inf, np.nan, 2])])
    assert dtype_of(seen.gradients[0]) == dtype
    assert dtype_of(seen.gradient_magnitudes) == "float32"
    np.testing.assert_array_equal(split(seen, seen.gradient_magnitudes)[0], [0.5, 0, 0, 0, 2])


# taken_in_each


@pytest.mark.parametrize(
    ("share", "taken"),
    [
        (0, [1, 1, 1, 1, 0, 0]),
        (2, [1, 1, 1, 1, 0, 0]),  # just enough room
        (3, [1, 1, 0, 0, 0, 0]),  # too little: the two that were pruned are free as well
    ],
)
def test_what_was_pruned_is_free_only_where_there_is_no_room_else(share, taken):
    seen = seen_with([1, 1, 1, 1, 0, 0])
    received = taken_in_each(seen, joined(seen, [1, 1, 0, 0, 0, 0]), int32([share]))
    np.testing.assert_array_equal(split(seen, received)[0], taken)


def test_every_tensor_has_its_own_room():
    seen = seen_with([1, 1, 1], [1, 1, 0])
    kept = joined(seen, [1, 0, 0], [1, 0, 0])
    crowded, roomy = split(seen, taken_in_each(seen, kept, int32([2, 1])))
    np.testing.assert_array_equal(crowded, [1, 0, 0])
    np.testing.assert_array_equal(roomy, [1, 1, 0])


@given(data=st.data(), size=st.integers(1, 12))
def test_there_is_always_room_for_what_was_pruned(data, size):
    flags = st.lists(st.booleans(), min_size=size, max_size=size)
    active = np.array(data.draw(flags))
    survivors = active & np.array(data.draw(flags))
    pruned = int(active.sum() - survivors.sum())
    seen = seen_with(active)
    taken = taken_in_each(seen, joined(seen, survivors), int32([pruned]))
    (grown,) = split(seen, grow_at_random(seen, taken, int32([pruned]), "test").units)
    assert grown.sum() == pruned
    assert not (grown & survivors).any()


# taken_in_all


@pytest.mark.parametrize(
    ("active", "taken", "capacities"),
    [
        (([1, 1, 1, 0], [1, 1, 0, 0]), ([1, 1, 1, 0], [1, 1, 0, 0]), [1, 2]),  # three pruned, three were free
        (([1, 1, 1, 1], [1, 1, 0, 0]), ([1, 0, 0, 0], [1, 0, 0, 0]), [3, 3]),  # four and two: what was pruned is free
        (([1, 0, 0, 0], [1, 0, 0, 0]), ([1, 0, 0, 0], [1, 0, 0, 0]), [3, 3]),  # none and six
    ],
)
def test_tensors_that_share_have_the_room_of_all_together(active, taken, capacities):
    seen = seen_with(*active)
    received, room = taken_in_all(seen, joined(seen, [1, 0, 0, 0], [1, 0, 0, 0]))
    np.testing.assert_array_equal(split(seen, received), taken)
    np.testing.assert_array_equal(room, capacities)


# What a decision makes of weights and masks: entry 0 is kept, 1 pruned, 2 grown, 3 stays pruned; 4 is grown where it
# has just been pruned

WEIGHTS = np.array([0.5, 0.1, -7, np.nan, 0.2], "float32")
MASK = np.array([1, 1, 0, 0, 1], bool)
KEPT, GROWN = np.array([1, 0, 0, 0, 0], bool), np.array([0, 0, 1, 0, 1], bool)


class Value(Static):
    """A method whose drawn weights have a purpose of their own."""


def decided(seen, start, kept=KEPT, grown=GROWN, seed=0, method=None, total=None):
    """The weights and masks after a decision."""
    tensors = len(seen.weights)
    decision = Decision(joined(seen, *[kept] * tensors), joined(seen, *[grown] * tensors), start)
    seen = seen._replace(seed=seed)
    stored = [Stored(draw, None, [], {}) for draw in seen.initializers]
    rewritten, active = apply_decision(method or Static(), seen, decision, stored)
    assert values(active).tolist() == [int((kept | grown).sum()) if total is None else total] * tensors
    return [of.values for of in rewritten], [of.where[0] for of in rewritten]


def test_from_zeros_grown_weights_are_zero():
    (weights,), (mask,) = decided(view([WEIGHTS], [MASK]), "zeros")
    np.testing.assert_array_equal(weights, [0.5, 0, 0, 0, 0])
    assert not np.signbit(values(weights)).any()
    np.testing.assert_array_equal(mask, [1, 0, 1, 0, 1])


def test_from_the_initializer_grown_weights_are_drawn_but_what_was_just_pruned_starts_at_zero():
    constant = [lambda seed: ops.convert_to_tensor([10.0, 11.0, 12.0, 13.0, 14.0])]
    (weights,), (mask,) = decided(view([WEIGHTS], [MASK], initializers=constant), "initializer")
    np.testing.assert_array_equal(weights, [0.5, 0, 12, 0, 0])
    np.testing.assert_array_equal(mask, [1, 0, 1, 0, 1])


def test_what_was_pruned_before_is_not_kept():
    (weights,), (mask,) = decided(view([WEIGHTS], [MASK]), "zeros", kept=KEPT | ~MASK, grown=np.zeros(5, bool), total=1)
    np.testing.assert_array_equal(mask, [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(weights, [0.5, 0, 0, 0, 0])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_drawn_values_have_the_dtype_of_the_weight(dtype):
    seen = view([ops.cast(WEIGHTS, dtype)], [MASK], initializers=[lambda seed: ops.full((5,), 0.1)])
    (weights,), _ = decided(seen, "initializer")
    assert dtype_of(weights) == dtype


def test_drawn_values_depend_on_the_seed_the_tensor_the_step_and_the_method():
    def drawn(seed=0, step=7, method=None):
        weights, _ = decided(view([WEIGHTS] * 2, [MASK] * 2, step=step), "initializer", seed=seed, method=method)
        return [float(weight[2]) for weight in weights]

    first, second = drawn()
    assert drawn() == [first, second]
    assert len({first, second, *drawn(seed=1), *drawn(step=8), *drawn(method=Value())}) == 8


def test_a_slice_is_drawn_whole():
    kernel, mask = np.zeros((2, 2, 1, 2), "float32"), np.zeros((2, 2, 1, 2), bool)
    mask[..., 0] = True
    seen = view([kernel], [mask], [Slices((0, 1))])
    own = np.array([[[[True, False]]]])
    (weights,), (new_mask,) = decided(seen, "initializer", own, ~own)
    assert values(new_mask).all()
    assert not values(weights[..., 0]).any()
    assert np.unique(values(weights[..., 1])).size == 4
    assert bits(weights[..., 1]) == bits(seen.initializers[0](StepSeed(0, 0, 7, "static.value"))[..., 1])


# Arguments


@pytest.mark.parametrize("growth", ["zeros", "initializer"])
def test_known_growths_pass(growth):
    check_growth(growth, "Method")


@pytest.mark.parametrize("growth", ["ones", None, 0, "Zeros", keras.initializers.Zeros()])
def test_an_unknown_growth_is_refused(growth):
    with pytest.raises(ValueError, match=r"Method\(growth=\.\.\.\) must be 'zeros' or 'initializer'") as error:
        check_growth(growth, "Method")
    assert str(error.value).endswith(f"Received: growth={growth!r}")
