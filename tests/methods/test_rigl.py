import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_dsr.methods import RigL
from keras_dsr.ops.units import Slices
from tests.helpers.networks import bits, values
from tests.helpers.views import EIGHT_ACTIVE, EIGHT_WEIGHTS, normal_view, split, updated, view, view_of, views

# JAX would compile every one of these small cases: there test_contract.py and test_backends.py judge the method.
pytestmark = pytest.mark.backends("tensorflow", "torch")

LATER = 10**7  # an end so far away that the fraction is as good as that of step 0


def update(method, seen):
    """Weights and masks as numpy arrays, and the number that moved."""
    weights, masks, state = updated(method, seen, method.init(seen), 0)
    return [values(part) for part in weights], [values(part) for part in masks], int(state["pruned"])


def eight(*gradient):
    """Of six weights the two smallest are dropped, at 4 and 6; positions 3 and 7 were pruned."""
    seen = view([EIGHT_WEIGHTS], [EIGHT_ACTIVE], gradients=[np.array(gradient, "float32")])
    (weights,), (mask,), moved = update(RigL(fraction=1 / 3, end_step=LATER), seen)
    return weights, np.flatnonzero(mask).tolist(), moved


# Growth


def test_growth_is_where_the_gradient_is_largest_whatever_its_sign():
    weights, active, moved = eight(9, 9, 9, 0.3, 0.1, 9, 0.2, -0.4)
    assert active == [0, 1, 2, 3, 5, 7]
    assert moved == 2
    np.testing.assert_array_equal(weights, np.float32([0.5, -0.09, 0.1, 0, 0, 0.2, 0, 0]))


def test_a_unit_that_was_just_dropped_can_be_grown_at_once_and_stays_as_it_was():
    weights, active, moved = eight(9, 9, 9, 0.3, -0.4, 9, 0.2, 0.1)
    assert active == [0, 1, 2, 3, 4, 5]
    assert moved == 1
    np.testing.assert_array_equal(weights, np.float32([0.5, -0.09, 0.1, 0, 0.05, 0.2, 0, 0]))


def test_where_all_that_was_dropped_is_grown_again_nothing_moves():
    weights, active, moved = eight(9, 9, 9, 0.3, 0.4, 9, 0.4, 0.1)
    assert active == np.flatnonzero(EIGHT_ACTIVE).tolist()
    assert moved == 0
    np.testing.assert_array_equal(weights, np.where(EIGHT_ACTIVE, EIGHT_WEIGHTS, 0))


def test_gradients_that_are_not_numbers_attract_no_growth():
    _, active, _ = eight(9, 9, 9, np.nan, 0.1, 9, 0.2, np.inf)
    assert active == [0, 1, 2, 4, 5, 6]


def test_equal_gradients_are_taken_by_position():
    _, active, _ = eight(0, 0, 0, 0, 0, 0, 0, 0)
    assert active == [0, 1, 2, 3, 4, 5]


def test_slices_grow_by_their_mean_gradient_and_whole():
    kernel = np.zeros((2, 2, 1, 4), "float32")
    kernel[..., 0], kernel[..., 1] = 2, 1
    gradient = np.zeros(kernel.shape)
    gradient[0, 0, 0] = [9, 0, 1, 0]
    gradient[..., 3] = -0.3
    seen = view([kernel], [kernel > 0], [Slices((0, 1))], gradients=[gradient])
    (weights,), (mask,), moved = update(RigL(fraction=0.5, end_step=LATER), seen)
    assert moved == 1
    np.testing.assert_array_equal(mask.reshape(4, 4), [[1, 0, 0, 1]] * 4)  # 0.3 is above a mean of 1/4
    np.testing.assert_array_equal(weights.reshape(4, 4), [[2, 0, 0, 0]] * 4)


# How many


def test_each_tensor_keeps_its_number():
    seen = view_of([1, 2, 3, 4, None, None, None], [5, 6, None, None], [7], [8, None])
    _, masks, moved = update(RigL(fraction=0.5, end_step=LATER), seen)
    assert [mask.sum() for mask in masks] == [4, 2, 1, 1]
    assert moved <= 2 + 1 + 0 + 0


@pytest.mark.parametrize(("step", "moved"), [(0, 100), (25, 85), (50, 50), (75, 15), (99, 0), (100, 0), (10**6, 0)])
def test_the_number_follows_the_cosine(step, moved):
    tensor = [1.0 + place for place in range(200)] + [None] * 200
    gradient = np.repeat([0, 1], 200)  # what was dropped does not come back
    seen = view_of(tensor, step=step, gradients=[gradient])
    assert update(RigL(fraction=0.5, end_step=100), seen)[2] == moved


def test_from_the_end_on_nothing_changes():
    seen = normal_view(step=1000)
    weights, masks, moved = update(RigL(fraction=0.9, end_step=1000), seen)
    assert moved == 0
    assert [bits(mask) for mask in masks] == [bits(mask) for mask in seen.masks]
    for received, weight, mask in zip(weights, seen.weights, seen.masks):
        assert bits(received) == bits(np.where(mask, weight, np.float32(0)))


@settings(max_examples=15)
@given(seen=views(step=st.just(7)), fraction=st.floats(0.001, 0.999))
def test_no_place_that_grew_has_a_smaller_gradient_than_one_that_did_not(seen, fraction):
    _, masks, _ = update(RigL(fraction=fraction, end_step=LATER), seen)
    for gradient, new, old, of in zip(split(seen, seen.gradient_magnitudes), masks, seen.masks, seen.units):
        new, old = (values(of.active(mask)) for mask in (new, old))
        assert new.sum() == old.sum()
        grown, dead = values(gradient)[new & ~old], values(gradient)[~new]
        assert not grown.size or grown.min() >= dead.max()


# Arguments


def test_it_needs_the_last_gradient():
    assert RigL().gradient_decay == 0


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"RigL\(fraction=\.\.\.\) must be a float in \(0, 1\).*fraction=1.5$"):
        RigL(fraction=1.5)
    with pytest.raises(ValueError, match=r"RigL\(end_step=\.\.\.\) must be a positive int.*end_step=0$"):
        RigL(end_step=0)
