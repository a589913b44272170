"""When the phases of dense-sparse-dense training begin, and what the learning rate is multiplied by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_dsr.callbacks.dsd_phases import dense_sparse_dense, phase_at

pytestmark = pytest.mark.backends("tensorflow")  # plain numbers and numpy


def test_two_rounds_by_hand():
    phases = dense_sparse_dense([10, 5], [4, 3], sparse_factor=0.5, final_factor=0.1)
    assert [phase.start for phase in phases] == [0, 10, 14, 19, 22]
    assert [phase.is_sparse for phase in phases] == [False, True, False, True, False]
    assert [phase.round for phase in phases] == [0, 0, 1, 1, 2]
    assert [phase.learning_rate_factor for phase in phases] == pytest.approx([1, 0.5, 0.1, 0.05, 0.01])
    at = {time: phase_at(phases, time).number for time in (0, 9, 10, 13, 14, 18, 19, 21, 22, 10**9)}
    assert at == {0: 0, 9: 0, 10: 1, 13: 1, 14: 2, 18: 2, 19: 3, 21: 3, 22: 4, 10**9: 4}


def test_no_first_dense_phase():
    assert phase_at(dense_sparse_dense([0], [4], 1.0, 0.1), 0).number == 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=4), st.integers(0, 99))
def test_every_time_is_in_the_phase_that_has_begun_last(lengths, time):
    phases = dense_sparse_dense(*zip(*lengths), 1.0, 0.1)
    phase = phase_at(phases, time)
    later = phases[phase.number + 1 :]
    assert phase.start <= time and all(one.start > time for one in later)
    assert len(phases) == 2 * len(lengths) + 1 and phases[-1].start == sum(map(sum, lengths))
