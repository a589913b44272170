from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keras_dsr.ops.apportionment import share_proportionally
from tests.helpers.networks import int32, program, values

ROOM = 2**27  # for anything below; the sum of eight still fits an int32


def share(total, weights, capacities, function=share_proportionally):
    return values(function(*map(int32, (total, weights, capacities)))).tolist()


def largest_remainder(total, weights):
    """The same in exact rational arithmetic, for where no capacity binds."""
    exact = [Fraction(total * weight, sum(weights)) for weight in weights]
    shares = [int(part) for part in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (shares[i] - exact[i], i))
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares


def test_eight_tensors_by_hand():
    # 16 over weights of sum 32: half of each weight; the remainders of 1/2 are at 1, 3, 5 and 7; the first two get one.
    assert share(16, [2, 1, 4, 3, 6, 5, 8, 3], [ROOM] * 8) == [1, 1, 2, 2, 3, 2, 4, 1]


def test_ties_of_remainders_go_to_the_first():
    assert share(5, [1, 1, 1], [ROOM] * 3) == [2, 2, 1]


def test_the_largest_remainder_wins_over_the_first():
    assert share(4, [1, 1, 8], [ROOM] * 3) == [1, 0, 3]  # 0.4, 0.4, 3.2
    assert share(3, [3, 3, 4], [ROOM] * 3) == [1, 1, 1]  # 0.9, 0.9, 1.2


def test_what_a_full_tensor_cannot_take_is_shared_again_in_proportion():
    # First 4, 4, 8: the last takes 2, and its 6 go to the others by their weights, 3 each.
    assert share(16, [10, 10, 20], [ROOM, ROOM, 2]) == [7, 7, 2]
    # 8 each of 16, the first takes none: all to the second.
    assert share(16, [1, 1], [0, 16]) == [0, 16]


def test_overflow_that_overflows_again_finds_the_room_there_is():
    # 25 each; 24 left over go 8 each to the others; the second then has room for 1 of them; and so on.
    assert share(100, [1, 1, 1, 1], [1, 26, 30, 50]) == [1, 26, 30, 43]


def test_exactly_full():
    assert share(9, [5, 1, 3], [2, 3, 4]) == [2, 3, 4]


def test_nothing_to_share_gives_nothing():
    assert share(0, [3, 1], [2, 2]) == [0, 0]


def test_more_than_there_is_room_for_fills_everything():
    assert share(100, [3, 1], [2, 2]) == [2, 2]


def test_one_tensor_takes_all():
    assert share(123_456, [7], [2**29 - 1]) == [123_456]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_gives_the_same_integers(jit_compile):
    compiled = program(share_proportionally, jit_compile)
    assert share(100, [1, 1, 1, 1], [1, 26, 30, 50], compiled) == [1, 26, 30, 43]


def test_products_of_sixty_bits_are_exact():
    total, weights = 2**29 - 2, [2**28 + 3, 2**27 - 1, 2**27 - 3]
    assert sum(weights) == 2**29 - 1
    assert share(total, weights, [2**29 - 1] * 3) == largest_remainder(total, weights)


@given(
    weights=st.lists(st.integers(1, 2**29 // 12 - 1), min_size=1, max_size=12),
    total=st.integers(0, 2**29 - 1),
)
def test_without_a_binding_capacity_equals_exact_fractions(weights, total):
    capacity, expected = 2**31 // len(weights) - 1, largest_remainder(total, weights)
    assume(max(expected) <= capacity)
    assert share(total, weights, [capacity] * len(weights)) == expected


@given(data=st.data(), size=st.integers(1, 12), largest=st.sampled_from([1, 10, 2**29 // 12 - 1]))
def test_the_sum_is_exact_and_no_capacity_is_exceeded(data, size, largest):
    weights = data.draw(st.lists(st.integers(1, largest), min_size=size, max_size=size))
    capacities = data.draw(st.lists(st.integers(0, largest), min_size=size, max_size=size))
    total = data.draw(st.integers(0, sum(capacities)))

    shares = share(total, weights, capacities)

    assert sum(shares) == total
    assert all(0 <= part <= room for part, room in zip(shares, capacities))
