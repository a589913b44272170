import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_dsr.methods.growth import (
    check_growth,
    gradient_magnitudes,
    grow,
    grow_where_largest,
    regrown,
    taken_in_all,
    taken_in_each,
)
from keras_dsr.ops.randomness import StepSeed
from tests.helpers.networks import bits, dtype_of, int32, values
from tests.helpers.views import view

# JAX would compile every one of these small cases: there test_contract.py and test_backends.py judge the method.
pytestmark = pytest.mark.backends("tensorflow", "torch")


def seeds(count, step=7, seed=0):
    return [StepSeed(seed, index, step, "test.grow") for index in range(count)]


def places(*tensors):
    """Bool tensors of zeros and ones."""
    return [ops.convert_to_tensor(np.array(tensor, bool)) for tensor in tensors]


# grow


def test_grow_takes_its_share_among_the_places_not_taken():
    taken = [np.array([1, 1, 0, 0, 1, 0, 0, 0], bool), np.array([1, 0, 1, 0, 1, 1, 1, 1], bool)]
    first, second = (values(grown) for grown in grow(places(*taken), int32([3, 2]), seeds(2)))
    assert first.sum() == 3
    assert not (first & taken[0]).any()
    np.testing.assert_array_equal(second, ~taken[1])  # room for just two


def test_a_share_of_nothing_grows_nothing():
    (born,) = grow(places([1, 0, 0]), int32([0]), seeds(1))
    assert not values(born).any()


# grow_where_largest


def test_growth_where_the_score_is_largest_skips_what_is_taken_and_takes_ties_by_position():
    scores = [np.array([9, 0, 0.5, 3e38, 0.25, 0.5], "float32"), np.array([0, 1e-30, 0, 0], "float32")]
    taken = places([1, 0, 0, 0, 0, 0], [0, 0, 1, 0])
    first, second = grow_where_largest(taken, int32([2, 2]), scores)
    np.testing.assert_array_equal(first, [0, 0, 1, 1, 0, 0])
    np.testing.assert_array_equal(second, [1, 1, 0, 0])


def test_growth_where_the_score_is_largest_takes_zeros_if_there_is_nothing_else():
    (born,) = grow_where_largest(places([1, 0, 0, 0]), int32([3]), [np.zeros(4, "float32")])
    np.testing.assert_array_equal(born, [0, 1, 1, 1])


# gradient_magnitudes


def test_gradients_that_are_not_numbers_count_as_zero():
    gradient = np.array([-2, np.nan, np.inf, -np.inf, 0.5], "float32")
    (magnitudes,) = gradient_magnitudes(view([WEIGHTS], [MASK], gradients=[gradient]))
    np.testing.assert_array_equal(magnitudes, [2, 0, 0, 0, 0.5])


def test_the_gradient_of_a_slice_is_the_mean_magnitude():
    kernel = np.zeros((2, 2, 1, 2), "float32")
    gradient = np.stack([np.full((2, 2, 1), 0.5), [[[3], [-3]], [[np.nan], [0]]]], axis=-1)
    seen = view([kernel], [np.ones(kernel.shape, bool)], [(0, 1)], gradients=[gradient])
    np.testing.assert_array_equal(gradient_magnitudes(seen)[0], [[[[0.5, 1.5]]]])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_gradients_in_half_precision_become_float32(dtype):
    seen = view([ops.cast(WEIGHTS, dtype)], [MASK], gradients=[np.array([-0.5, 0, np.inf, np.nan, 2])])
    assert dtype_of(seen.gradients[0]) == dtype
    (magnitudes,) = gradient_magnitudes(seen)
    assert dtype_of(magnitudes) == "float32"
    np.testing.assert_array_equal(magnitudes, [0.5, 0, 0, 0, 2])


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
    active, survivors = places([1, 1, 1, 1, 0, 0]), places([1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(taken_in_each(active, survivors, int32([share]))[0], taken)


def test_every_tensor_has_its_own_room():
    active, survivors = places([1, 1, 1], [1, 1, 0]), places([1, 0, 0], [1, 0, 0])
    crowded, roomy = taken_in_each(active, survivors, int32([2, 1]))
    np.testing.assert_array_equal(crowded, [1, 0, 0])
    np.testing.assert_array_equal(roomy, [1, 1, 0])


@given(data=st.data(), size=st.integers(1, 12))
def test_there_is_always_room_for_what_was_pruned(data, size):
    flags = st.lists(st.booleans(), min_size=size, max_size=size)
    active = np.array(data.draw(flags))
    survivors = active & np.array(data.draw(flags))
    pruned = int(active.sum() - survivors.sum())
    (taken,) = taken_in_each(places(active), places(survivors), int32([pruned]))
    (born,) = grow([taken], int32([pruned]), seeds(1))
    assert values(born).sum() == pruned
    assert not (values(born) & survivors).any()


# taken_in_all


@pytest.mark.parametrize(
    ("active", "taken", "capacities"),
    [
        (([1, 1, 1, 0], [1, 1, 0, 0]), ([1, 1, 1, 0], [1, 1, 0, 0]), [1, 2]),  # three pruned, three were dead
        (([1, 1, 1, 1], [1, 1, 0, 0]), ([1, 0, 0, 0], [1, 0, 0, 0]), [3, 3]),  # four and two: what was pruned is free
        (([1, 0, 0, 0], [1, 0, 0, 0]), ([1, 0, 0, 0], [1, 0, 0, 0]), [3, 3]),  # none and six
    ],
)
def test_tensors_that_share_have_the_room_of_all_together(active, taken, capacities):
    received, room = taken_in_all(places(*active), places([1, 0, 0, 0], [1, 0, 0, 0]))
    np.testing.assert_array_equal([values(part) for part in received], taken)
    np.testing.assert_array_equal(room, capacities)


# regrown: place 0 survives, 1 was pruned, 2 is born, 3 stays dead; 4 was pruned and is born again

WEIGHTS = np.array([0.5, 0.1, -7, np.nan, 0.2], "float32")
MASK = np.array([1, 1, 0, 0, 1], bool)
SURVIVORS, BORN = places([1, 0, 0, 0, 0]), places([0, 0, 1, 0, 1])


def test_from_zeros_newborn_weights_are_zero():
    (weights,), (mask,) = regrown(view([WEIGHTS], [MASK]), SURVIVORS, BORN, "zeros", 0, "test")
    np.testing.assert_array_equal(weights, [0.5, 0, 0, 0, 0])
    assert not np.signbit(values(weights)).any()
    np.testing.assert_array_equal(mask, [1, 0, 1, 0, 1])


def test_from_the_initializer_newborn_weights_are_drawn_but_what_just_died_starts_at_zero():
    constant = [lambda seed: ops.convert_to_tensor([10.0, 11.0, 12.0, 13.0, 14.0])]
    seen = view([WEIGHTS], [MASK], initializers=constant)
    (weights,), (mask,) = regrown(seen, SURVIVORS, BORN, "initializer", 0, "test")
    np.testing.assert_array_equal(weights, [0.5, 0, 12, 0, 0])
    np.testing.assert_array_equal(mask, [1, 0, 1, 0, 1])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_drawn_values_have_the_dtype_of_the_weight(dtype):
    seen = view([ops.cast(WEIGHTS, dtype)], [MASK], initializers=[lambda seed: ops.full((5,), 0.1)])
    (weights,), _ = regrown(seen, SURVIVORS, BORN, "initializer", 0, "test")
    assert dtype_of(weights) == dtype


def test_drawn_values_depend_on_the_seed_the_tensor_the_step_and_the_purpose():
    def drawn(seed=0, step=7, purpose="test"):
        seen = view([WEIGHTS] * 2, [MASK] * 2, step=step)
        weights, _ = regrown(seen, SURVIVORS * 2, BORN * 2, "initializer", seed, purpose)
        return [float(weight[2]) for weight in weights]

    first, second = drawn()
    assert drawn() == [first, second]
    assert len({first, second, *drawn(seed=1), *drawn(step=8), *drawn(purpose="another")}) == 8


def test_a_slice_is_drawn_whole():
    kernel, mask = np.zeros((2, 2, 1, 2), "float32"), np.zeros((2, 2, 1, 2), bool)
    mask[..., 0] = True
    survivors, born = (ops.convert_to_tensor([[[[own, not own]]]]) for own in (True, False))
    seen = view([kernel], [mask], [(0, 1)])
    (weights,), (new_mask,) = regrown(seen, [survivors], [born], "initializer", 0, "test")
    assert values(new_mask).all()
    assert not values(weights[..., 0]).any()
    assert np.unique(values(weights[..., 1])).size == 4
    assert bits(weights[..., 1]) == bits(seen.initializers[0](StepSeed(0, 0, 7, "test"))[..., 1])


# Arguments


@pytest.mark.parametrize("growth", ["zeros", "initializer"])
def test_known_growths_pass(growth):
    check_growth(growth, "Method")


@pytest.mark.parametrize("growth", ["ones", None, 0, "Zeros", keras.initializers.Zeros()])
def test_an_unknown_growth_is_refused(growth):
    with pytest.raises(ValueError, match=r"Method\(growth=\.\.\.\) must be 'zeros' or 'initializer'") as error:
        check_growth(growth, "Method")
    assert str(error.value).endswith(f"Received: growth={growth!r}")
