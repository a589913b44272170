import itertools

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_dsr.ops.positions import (
    contains,
    count_positions,
    free_positions,
    laid_out,
    layout,
    most_places,
    nowhere,
    position_dtype,
    positions_where,
    random_positions,
)
from keras_dsr.ops.randomness import StepSeed
from tests.helpers.networks import int32, program, values


def listed(given, room=0):
    """A list of positions; on JAX with room for more."""
    given = np.asarray(given, position_dtype())
    padding = max(room - len(given), 0) if keras.backend.backend() == "jax" else 0
    return ops.convert_to_tensor(np.pad(given, (0, padding), constant_values=nowhere()))


def unpadded(positions) -> np.ndarray:
    positions = values(positions)
    count = (positions != nowhere()).sum()
    assert (positions[count:] == nowhere()).all()
    return positions[:count]


def grown(taken, count, places, step=0, seed=0, room=1_000):
    seed = StepSeed(seed, 0, int32(step), "test")
    return unpadded(free_positions(listed(taken, room), int32(count), places, seed, room))


@given(places=st.integers(1, 5_000), share=st.floats(0, 1), seed=st.integers(0, 2**31 - 1))
def test_random_positions_are_distinct_increasing_places(places, share, seed):
    count = round(share * places)
    chosen = random_positions(places, count, seed)
    assert chosen.shape == (count,)
    assert (np.diff(chosen) > 0).all()
    assert count == 0 or (chosen[0] >= 0 and chosen[-1] < places)
    np.testing.assert_array_equal(chosen, random_positions(places, count, seed))


def test_random_positions_of_a_kernel_of_16_gigabytes_take_no_such_memory():
    chosen = random_positions(65_536**2, 1_000, 1)
    assert len(np.unique(chosen)) == 1_000
    assert chosen[-1] > 2**31


@pytest.mark.slow_on("jax")
@given(
    places=st.one_of(st.integers(2, 300), st.just(min(65_536**2, most_places()))),
    taken=st.floats(0, 1),
    grows=st.floats(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_what_grows_is_free_distinct_increasing_and_exactly_as_much_as_asked_for(places, taken, grows, seed):
    most = min(places, 1_000)
    held = random_positions(places, round(taken * most), seed)
    count = round(grows * min(places - len(held), 1_000))

    received = grown(held, count, places, seed=seed)

    assert received.shape == (count,)
    assert (np.diff(received) > 0).all()
    assert not np.isin(received, held).any()
    assert count == 0 or (received[0] >= 0 and received[-1] < places)


@pytest.mark.one_case_on("tensorflow")
@pytest.mark.parametrize("places", [6, 12])  # chosen by shuffling, and by rejection
def test_every_set_of_free_places_is_as_likely(places):
    taken = [1, *range(6, places)]
    grow = program(lambda step: free_positions(listed(taken[:1], 3), int32(2), places, StepSeed(3, 0, step, "test"), 3))
    draws = 1_500
    received = [tuple(unpadded(grow(int32(step)))) for step in range(draws)]
    free = [place for place in range(places) if place != 1]
    pairs = list(itertools.combinations(free, 2))
    counts = np.array([received.count(pair) for pair in pairs])
    assert counts.sum() == draws
    expected = draws / len(pairs)
    # Chi-squared has mean `len - 1` and variance twice that: six standard deviations.
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < (len(pairs) - 1) + 6 * np.sqrt(2 * (len(pairs) - 1))


def test_growth_depends_on_seed_and_step_alone():
    one, again, later, other = (
        grown([5], 20, 10_000, step, seed).tolist() for step, seed in ((1, 1), (1, 1), (2, 1), (1, 2))
    )
    assert one == again
    assert one != later
    assert one != other


def test_the_only_free_places_are_taken():
    assert grown([0, 2, 3], 2, 5).tolist() == [1, 4]


def test_contains():
    received = contains(listed([2, 5, 9]), listed([0, 2, 3, 9, 10]))
    assert values(received).tolist() == [False, True, False, True, False]


def test_entries_move_with_their_weights():
    order = layout(listed([2, 5, 9, 0, 0]), ops.convert_to_tensor([True, False, True, False, False]), listed([1, 7]))
    entries = ops.convert_to_tensor(np.array([20, 50, 90, 0, 0], "float32"))
    born = ops.convert_to_tensor(np.array([10, 70], "float32"))
    assert values(laid_out(entries, born, order)).tolist() == [10, 20, 70, 90, 0]
    assert values(laid_out(entries, ops.zeros((2,)), order, fill=3)).tolist() == [0, 20, 0, 90, 3]


def test_lists_are_of_what_is_there_wherever_it_lies():
    positions = listed([2, 5, 9, 0, 0])
    chosen = positions_where(positions, ops.convert_to_tensor([True, False, True, False, False]))
    assert unpadded(chosen).tolist() == [2, 9]
    assert int(count_positions(chosen)) == 2
