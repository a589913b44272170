import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_dsr.methods import SET
from keras_dsr.ops.units import Slices
from tests.helpers.networks import values
from tests.helpers.views import SEEDS, updated, view, view_of, views

# JAX would compile every one of these small cases: there test_contract.py and test_backends.py judge the method.
pytestmark = pytest.mark.backends("tensorflow", "torch")


def update(method, seen, seed=0):
    """Weights and masks as numpy arrays, and the number dropped."""
    weights, masks, state = updated(method, seen, method.init(seen), seed)
    return [values(part) for part in weights], [values(part) for part in masks], int(state["pruned"])


def survivors(method, *tensors):
    """The weights that were kept, as lists of them; the pruned positions that follow each tensor are room to grow."""
    weights, _, _ = update(method, view_of(*([*tensor, *[None] * len(tensor)] for tensor in tensors)))
    return [weight[weight != 0].tolist() for weight in weights]


# How many


@pytest.mark.parametrize(
    ("fraction", "active", "dropped"),
    [
        (0.3, 10, 3),
        (0.3, 4, 1),  # 1.2
        (0.3, 5, 2),  # 1.5 goes to the even number, 2
        (0.3, 6, 2),  # 1.8
        (0.1, 4, 0),  # 0.4
        (0.999, 8, 7),  # 7.99: one stays
        (0.5, 1, 0),
        (0.999, 1, 0),
        (0.001, 400, 0),  # 0.4
        (0.001, 600, 1),  # 0.6
    ],
)
def test_the_fraction_is_rounded_and_one_stays(fraction, active, dropped):
    tensor = [1.0 + place for place in range(active)]
    (kept,) = survivors(SET(fraction=fraction), tensor)
    assert kept == tensor[dropped:]


def test_each_tensor_has_its_own_number():
    weights, masks, pruned = update(
        SET(fraction=0.5), view_of([1, -2, 3, -4, None, None], [None, 0.1, 0.2, None], [9, None])
    )
    assert pruned == 2 + 1 + 0
    assert [mask.sum() for mask in masks] == [4, 2, 1]
    np.testing.assert_array_equal(weights[0], [0, 0, 3, -4, 0, 0])
    np.testing.assert_array_equal(weights[1], np.float32([0, 0, 0.2, 0]))
    np.testing.assert_array_equal(masks[0], [0, 0, 1, 1, 1, 1])
    assert not masks[1][1]
    assert masks[2].tolist() == [True, False]


def test_equal_magnitudes_are_dropped_by_position():
    assert survivors(SET(fraction=0.5), [1, -1, 1, -1]) == [[1, -1]]
    weights, _, _ = update(SET(fraction=0.5), view_of([1, -1, 1, -1, None, None]))
    np.testing.assert_array_equal(weights[0][:4], [0, 0, 1, -1])


def test_what_is_not_a_number_is_dropped_last():
    weights, _, _ = update(SET(fraction=0.5), view_of([np.nan, 1.0, 2.0, np.inf, None, None]))
    np.testing.assert_array_equal(weights[0][:4], [np.nan, 0, 0, np.inf])


# Room


def test_a_crowded_tensor_regrows_what_it_just_dropped_rather_than_lose_a_weight():
    # Four of eight are dropped, and one place was free: all five are room for the four.
    seen = view_of([8, 7, 6, 5, 4, 3, 2, 1, None])
    weights, masks, pruned = update(SET(fraction=0.5), seen)
    assert pruned == 4
    assert masks[0].sum() == 8
    np.testing.assert_array_equal(masks[0][:4], [1, 1, 1, 1])
    np.testing.assert_array_equal(weights[0], [8, 7, 6, 5, 0, 0, 0, 0, 0])


def test_a_full_tensor_stays_full_and_its_smallest_start_over():
    weights, masks, pruned = update(SET(fraction=0.5), view_of([4, 1, 3, 2]))
    assert pruned == 2
    assert masks[0].all()
    np.testing.assert_array_equal(weights[0], [4, 0, 3, 0])


def test_a_crowded_tensor_takes_no_room_from_another():
    _, masks, _ = update(SET(fraction=0.5), view_of([4, 3, 2, 1], [4, 3, 2, 1, None, None]))
    assert masks[0].all()
    np.testing.assert_array_equal(masks[1], [1, 1, 0, 0, 1, 1])


@pytest.mark.parametrize("rule", ["magnitude", "signed"])
@given(data=st.data(), seed=SEEDS, fraction=st.floats(0.001, 0.999))
def test_every_tensor_keeps_its_number_and_one_survivor(rule, data, seed, fraction):
    seen = data.draw(views(slices=False))
    weights, masks, _ = update(SET(fraction=fraction, rule=rule), seen, seed)
    assert [mask.sum() for mask in masks] == [values(mask).sum() for mask in seen.masks]
    assert all((weight != 0).any() for weight in weights)


# Signs


def test_the_signed_rule_drops_the_fraction_of_each_sign():
    # half of the 2 negative ones: the largest, -2; half of the 6 positive ones: 1, 3, 4
    assert survivors(SET(fraction=0.5, rule="signed"), [5, -2, 1, -9, 4, 3, 6, 7]) == [[5, -9, 6, 7]]
    # by magnitude the four smallest: 1, -2, 3, 4
    assert survivors(SET(fraction=0.5), [5, -2, 1, -9, 4, 3, 6, 7]) == [[5, -9, 6, 7]]
    # half of 4 and half of 2, though all negative ones are closer to zero
    assert survivors(SET(fraction=0.5, rule="signed"), [-1, -2, -3, -4, 50, 60]) == [[-3, -4, 60]]


def test_the_numbers_of_the_signs_are_rounded_separately():
    # 0.3 of 4 is 1.2, of 2 is 0.6: 1 and 1; of all 6 together 1.8, so 2
    assert survivors(SET(fraction=0.3, rule="signed"), [1, 2, 3, 4, -1, -2]) == [[2, 3, 4, -2]]
    # 0.2 of 2 is 0.4: none of either, though 0.2 of 4 is 0.8
    assert survivors(SET(fraction=0.2, rule="signed"), [1, 2, -1, -2]) == [[1, 2, -1, -2]]


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_zeros_are_the_smallest_positive_weights(zero):
    seen = view_of([zero, 2, 3, 4, -1, -2, None, None, None])
    _, masks, pruned = update(SET(fraction=0.3, rule="signed"), seen)
    assert pruned == 2
    np.testing.assert_array_equal(masks[0][:6], [0, 1, 1, 1, 0, 1])  # of 4 positive ones 1.2: the zero


@pytest.mark.parametrize(
    ("tensor", "kept"),
    [
        ([-1, -2, -3, -4], [-4]),  # 3.6 of 4 negative ones would be all
        ([1, 2, 3, 4], [4]),
        ([-1], [-1]),
        ([1, -1], [1]),
        ([-1, -2, 5], [5]),
    ],
)
def test_one_weight_stays_whatever_its_sign(tensor, kept):
    assert survivors(SET(fraction=0.9, rule="signed"), tensor) == [kept]


# Slices and growth


def test_slices_are_dropped_by_their_mean_and_grown_whole():
    kernel = np.zeros((2, 2, 1, 4), "float32")
    kernel[..., 0] = [[[0.3], [0.0]], [[0.0], [0.1]]]  # mean 0.1
    kernel[..., 1] = 0.09
    mask = np.zeros(kernel.shape, bool)
    mask[..., :2] = True
    weights, masks, pruned = update(SET(fraction=0.5), view([kernel], [mask], [Slices((0, 1))]))
    assert pruned == 1
    slices = masks[0].reshape(4, 4)
    assert slices[:, 0].all()
    assert not slices[:, 1].any()
    assert sorted(slices[:, 2:].sum(axis=0)) == [0, 4]
    np.testing.assert_array_equal(weights[0][..., 0], kernel[..., 0])


def test_newborn_weights_are_drawn_by_the_initializer_of_their_own_tensor():
    initializers = [lambda seed: ops.full((4,), 5.0), lambda seed: ops.full((4,), 7.0)]
    seen = view_of([2, 1, None, None], [None, 1, 2, None], initializers=initializers)
    weights, _, _ = update(SET(fraction=0.5, growth="initializer"), seen)
    assert [sorted(weight.tolist()) for weight in weights] == [[0, 0, 2, 5], [0, 0, 2, 7]]


# Arguments


@pytest.mark.parametrize("fraction", [0, 1, 0.0, 1.0, -0.1, 1.5, float("nan"), "0.3", None, True])
def test_a_fraction_is_in_0_1(fraction):
    with pytest.raises(ValueError, match=r"SET\(fraction=\.\.\.\) must be a float in \(0, 1\)") as error:
        SET(fraction=fraction)
    assert str(error.value).endswith(f"Received: fraction={fraction!r}")


@pytest.mark.parametrize("rule", ["sign", None, "Magnitude"])
def test_an_unknown_rule_is_refused(rule):
    with pytest.raises(ValueError, match=r"SET\(rule=\.\.\.\) must be 'magnitude' .* or 'signed'") as error:
        SET(rule=rule)
    assert str(error.value).endswith(f"Received: rule={rule!r}")


def test_an_unknown_growth_is_refused():
    with pytest.raises(ValueError, match=r"SET\(growth=\.\.\.\) must be 'zeros' or 'initializer'"):
        SET(growth="gradient")


def test_slices_have_no_sign():
    seen = view([np.ones((2, 2, 1, 1), "float32")], [np.ones((2, 2, 1, 1), bool)], [Slices((0, 1))])
    SET().init(seen)
    with pytest.raises(ValueError, match=r"SET\(rule='signed'\) needs pattern='element': a slice .* has no sign"):
        SET(rule="signed").init(seen)
