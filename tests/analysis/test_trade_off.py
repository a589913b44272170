"""Curves by hand, and what holds of the zeros at one level for any measurements."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_dsr.analysis.trade_off import envelope, fewest_zeros, most_zeros, zeros_at_one_level

pytestmark = pytest.mark.backends("tensorflow")  # plain numbers and numpy


def points(curve):
    return curve.zeros.tolist(), curve.drops.tolist()


def test_the_envelope_is_the_running_maximum_from_nothing_on():
    assert points(envelope([10, 20, 30, 40], [-0.5, 2.0, 1.0, 3.0])) == ([0, 10, 20, 30, 40], [0, 0, 2, 2, 3])


def test_the_envelope_ends_before_a_drop_that_is_not_finite():
    for bad in (np.nan, np.inf):
        assert points(envelope([10, 20, 30], [1.0, bad, 2.0])) == ([0, 10], [0, 1])
        assert points(envelope([10], [bad])) == ([0], [0])


def test_of_equal_numbers_of_zeros_the_largest_drop_counts():
    assert points(envelope([0, 4, 4], [0.5, 1.0, 2.0])) == ([0, 4], [0.5, 2.0])


@pytest.mark.parametrize(
    ("drop", "fewest", "most"), [(0, 0, 10), (1, 15, 15), (2, 20, 30), (2.5, 35, 35), (3, 40, 40), (9, 40, 40)]
)
def test_a_drop_buys_zeros_by_straight_lines(drop, fewest, most):
    curve = envelope([10, 20, 30, 40], [-0.5, 2.0, 1.0, 3.0])
    assert (fewest_zeros(curve, drop), most_zeros(curve, drop)) == (fewest, most)


def test_a_drop_below_the_first_point_buys_nothing():
    assert most_zeros(envelope([0, 10], [0.5, 1.0]), 0.2) == 0


def test_tensors_share_a_drop():
    steep, gentle = envelope([50, 90], [0.1, 0.5]), envelope([50, 90], [0.0, 0.1])
    assert zeros_at_one_level([steep, gentle], 0) == [0, 0]
    assert zeros_at_one_level([steep, gentle], 30) == [0, 30]  # no drop yet
    assert zeros_at_one_level([steep, gentle], 100) == [28, 72]  # 50 + 900 d = 100: d = 0.056
    assert zeros_at_one_level([steep, gentle], 140) == [50, 90]  # d = 0.1
    assert zeros_at_one_level([steep, gentle], 160) == [70, 90]  # the gentle one has no more
    assert zeros_at_one_level([steep, gentle], 180) == [90, 90]


def test_tensors_that_are_flat_at_the_drop_get_the_same_part_of_their_flat_pieces():
    flat, longer = envelope([40], [0.0]), envelope([120], [0.0])
    assert zeros_at_one_level([flat, longer], 80) == [20, 60]
    late = envelope([10, 50], [0.3, 0.3])  # to 0.3 on a slope, then flat
    assert zeros_at_one_level([late, flat], 70) == [30, 40]


def test_a_total_that_the_curves_do_not_reach_is_refused():
    with pytest.raises(ValueError, match=re.escape("Expected: a total of 0 to 15. Received: total=16. Measure deeper")):
        zeros_at_one_level([envelope([10], [0.1]), envelope([5], [0.0])], 16)
    with pytest.raises(ValueError, match="total=-1"):
        zeros_at_one_level([envelope([10], [0.1])], -1)


@st.composite
def measured(draw):
    """Measurements of one tensor: zeros and drops, rough, flat, or with values that are not finite."""
    zeros = sorted(draw(st.lists(st.integers(0, 300), min_size=1, max_size=6)))
    drop = st.one_of(st.sampled_from([0.0, 0.1, np.nan]), st.floats(-1, 1), st.floats(0, 1e-9))
    return envelope(zeros, draw(st.lists(drop, min_size=len(zeros), max_size=len(zeros))))


@given(st.lists(measured(), min_size=1, max_size=5), st.data())
def test_the_total_is_exact_and_no_tensor_loses_a_zero_when_it_rises(curves, data):
    largest = sum(int(curve.zeros[-1]) for curve in curves)
    total = data.draw(st.integers(0, largest))
    zeros = zeros_at_one_level(curves, total)
    assert sum(zeros) == total
    assert all(0 <= count <= curve.zeros[-1] for count, curve in zip(zeros, curves))
    if total < largest:
        assert all(now <= then for now, then in zip(zeros, zeros_at_one_level(curves, total + 1)))


@given(st.lists(measured(), min_size=1, max_size=5), st.data())
def test_no_tensor_suffers_more_than_another_would_for_one_more_zero(curves, data):
    zeros = zeros_at_one_level(curves, data.draw(st.integers(0, sum(int(curve.zeros[-1]) for curve in curves))))
    suffered = [np.interp(count, curve.zeros, curve.drops) for count, curve in zip(zeros, curves) if count]
    spared = [
        np.interp(count + 1, curve.zeros, curve.drops) for count, curve in zip(zeros, curves) if count < curve.zeros[-1]
    ]
    assert not suffered or not spared or max(suffered) <= min(spared) + 1e-6


@given(measured(), st.floats(0, 2), st.floats(0, 2))
def test_a_larger_drop_buys_no_fewer_zeros(curve, one, other):
    low, high = sorted((one, other))
    assert most_zeros(curve, low) <= most_zeros(curve, high)
    assert fewest_zeros(curve, low) <= max(most_zeros(curve, low), fewest_zeros(curve, low)) <= curve.zeros[-1]
    assert np.interp(most_zeros(curve, low), curve.zeros, curve.drops) <= max(low, curve.drops[0]) + 1e-9
