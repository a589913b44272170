"""Threads do the parts of a piece of work together, as many as the backend has, and what goes wrong in one is said."""

import pytest

from keras_dsr.backend.threads import processors, together, workers


def test_work_is_shared_among_the_threads_of_the_backend():
    shares = [(number, number + 1) for number in range(5)]
    assert together(lambda begin, end, step: (begin, end * step), shares, 10) == [(a, b * 10) for a, b in shares]
    assert 1 <= workers() <= processors()
    with pytest.raises(ZeroDivisionError):
        together(lambda begin, end: 1 // begin, [(1, 2), (0, 1), (2, 3)])


def test_an_interrupt_in_a_share_of_the_work_is_not_lost():
    def interrupted(begin, end):
        if begin == 1:
            raise KeyboardInterrupt
        return begin

    with pytest.raises(KeyboardInterrupt):
        together(interrupted, [(0, 1), (1, 2), (2, 3)])
    assert together(lambda begin, end: begin, [(0, 1), (1, 2)]) == [0, 1]


@pytest.mark.backends("torch")
def test_it_uses_as_many_threads_as_torch():
    import torch

    before = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            assert workers() == min(count, processors())
    finally:
        torch.set_num_threads(before)
