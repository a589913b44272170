import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_dsr.ops.sparsity_distributions import erdos_renyi_kernel, sparsities_by_name, uniform

pytestmark = pytest.mark.backends("tensorflow")  # plain numbers and numpy

SHAPES = st.one_of(
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 60), st.integers(1, 60)),
)


def units_of(shapes, slices=False):
    return [math.prod(shape[-2:] if slices else shape) for shape in shapes]


def rate(shape, units):
    return Fraction(sum(shape), math.prod(shape)) * units


# uniform


def test_uniform_rounds_each_tensor_and_keeps_one():
    assert uniform([235_200, 30_000, 1_000, 3], sparsity=0.99) == [2_352, 300, 10, 1]
    assert uniform([7, 8], sparsity=0) == [7, 8]
    assert uniform([], sparsity=0.5) == []


# erdos_renyi_kernel, by hand


def test_the_number_is_proportional_to_the_sum_of_the_shape():
    # sums of 20, 30 and 50: of 50 units 10, 15 and 25
    assert erdos_renyi_kernel([(10, 10), (10, 20), (30, 20)], [100, 200, 600], 50) == [10, 15, 25]


def test_a_window_counts_in_the_sum():
    # 3 + 3 + 4 + 5 = 15 and 15 + 30 = 45
    assert erdos_renyi_kernel([(3, 3, 4, 5), (15, 30)], [180, 450], 40) == [10, 30]


def test_slices_are_expected_by_the_same_density():
    # densities epsilon * 15 / 180 of 20 slices and epsilon * 9 / 20 of 20 weights: 5/3 and 9
    assert erdos_renyi_kernel([(3, 3, 4, 5), (4, 5)], [20, 20], 16) == [3, 13]  # 2.5 and 13.5, tied: to the first


def test_whole_numbers_are_by_largest_remainder():
    assert erdos_renyi_kernel([(10, 10), (10, 20), (30, 20)], [100, 200, 600], 53) == [11, 16, 26]  # .6, .9, .5
    assert erdos_renyi_kernel([(10, 10)] * 3, [100] * 3, 50) == [17, 17, 16]


def test_a_dense_tensor_leaves_what_it_cannot_take_to_the_others_in_the_same_proportions():
    # 1000 * 10/270 would be 37: it has 25, and the rest of 975 is shared as 110 to 150
    assert erdos_renyi_kernel([(5, 5), (50, 60), (70, 80)], [25, 3000, 5600], 1000) == [25, 413, 562]


def test_a_tensor_may_become_dense_only_because_another_did():
    # 312/106 * 4 is above 4, 312/106 * 12 = 35.3 is below 36; but 308/102 * 12 = 36.2 is not
    assert erdos_renyi_kernel([(2, 2), (6, 6), (40, 50)], [4, 36, 2000], 312) == [4, 36, 272]


def test_one_stays_in_a_tensor_that_would_have_less():
    assert erdos_renyi_kernel([(1, 2), (500, 500)], [2, 250_000], 100) == [1, 99]


def test_everything_and_almost_nothing():
    shapes, units = [(3, 3, 4, 5), (6, 7), (1, 1)], [180, 42, 1]
    assert erdos_renyi_kernel(shapes, units, sum(units)) == units
    assert erdos_renyi_kernel(shapes, units, 3) == [1, 1, 1]
    assert erdos_renyi_kernel([], [], 0) == []
    assert erdos_renyi_kernel([(1, 1)], [1], 1) == [1]


def test_the_density_of_lenet_is_that_of_the_authors():
    # At 0.9 their loop makes the last layer dense and finds epsilon = 25620 / (1084 + 400) for the others.
    received = erdos_renyi_kernel([(784, 300), (300, 100), (100, 10)], [235_200, 30_000, 1_000], 26_620)
    epsilon = 25_620 / 1_484
    assert received == [round(epsilon * 1084), round(epsilon * 400), 1_000]


# erdos_renyi_kernel, in general


@given(data=st.data(), shapes=st.lists(SHAPES, min_size=1, max_size=12), slices=st.booleans())
def test_the_total_is_exact_bounds_hold_and_the_others_are_in_proportion(data, shapes, slices):
    units = units_of(shapes, slices)
    total = data.draw(st.integers(len(units), sum(units)))

    received = erdos_renyi_kernel(shapes, units, total)

    assert sum(received) == total
    assert all(type(number) is int and 1 <= number <= most for number, most in zip(received, units))
    rates = [rate(shape, most) for shape, most in zip(shapes, units)]
    # epsilon lies within 1 unit of every number that no bound holds, below that of the full and above that of the bare
    at_least = [(number - 1) / each for number, each in zip(received, rates) if number > 1]
    at_most = [(number + 1) / each for number, each, most in zip(received, rates, units) if number < most]
    assert not at_least or not at_most or max(at_least) <= min(at_most)


@given(shapes=st.lists(SHAPES, min_size=1, max_size=8), sparsity=st.floats(0.5, 0.999))
def test_no_tensor_shrinks_when_the_total_grows(shapes, sparsity):
    units = units_of(shapes)
    total = max(len(units), round((1 - sparsity) * sum(units)))
    fewer, more = (erdos_renyi_kernel(shapes, units, min(number, sum(units))) for number in (total, 2 * total))
    assert all(few <= many + 1 for few, many in zip(fewer, more))


# Errors


def test_a_budget_below_one_unit_a_tensor_is_refused():
    with pytest.raises(
        ValueError,
        match=r"budget is too small for the number of tensors: each of the 3 keeps .* at least 3\. "
        r"Received: total=2\. Lower the sparsity",
    ):
        erdos_renyi_kernel([(9, 9)] * 3, [81] * 3, 2)


def test_a_budget_above_all_units_is_refused():
    with pytest.raises(
        ValueError, match=r"have 162 units\. Expected: .* at most 162\. Received: total=163\. Lower the"
    ):
        erdos_renyi_kernel([(9, 9)] * 2, [81] * 2, 163)


def test_every_shape_has_its_units():
    with pytest.raises(ValueError, match="zip"):
        erdos_renyi_kernel([(9, 9)], [81, 81], 5)


def test_sparsities_by_name():
    names = ["a/kernel", "b/kernel"]
    assert sparsities_by_name(0.5, names, 0.0, "DSD") == [0.5, 0.5]
    assert sparsities_by_name({"b/kernel": 0.9}, names, 0.1, "DSD") == [0.1, 0.9]
    with pytest.raises(ValueError, match=r"DSD has a sparsity for 'c'.*'a/kernel', 'b/kernel'.*1 unknown of 1"):
        sparsities_by_name({"c": 0.9}, names, 0.0, "DSD")
