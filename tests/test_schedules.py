import pytest

from keras_dsr import schedules


def test_piecewise_holds_each_value_from_its_start_on():
    period = schedules.piecewise([(0, 100), (25, 200), (80, 400)])
    assert [period(epoch) for epoch in (0, 24, 25, 79, 80, 1000)] == [100, 100, 200, 200, 400, 400]


def test_piecewise_of_one_pair_is_constant():
    assert schedules.piecewise([(0, 7)])(12) == 7


def test_piecewise_takes_lists_as_pairs():
    assert schedules.piecewise([[0, 1], [2, 3]])(2) == 3


@pytest.mark.parametrize("pairs", [[], [(1, 100)], [(0, 1), (0, 2)], [(0, 1), (5, 2), (3, 4)], [(0, 1, 2)]])
def test_piecewise_refuses_starts_that_do_not_begin_at_0_and_increase(pairs):
    with pytest.raises(ValueError, match=r"piecewise\(pairs\) must be \(start, value\) pairs with increasing starts"):
        schedules.piecewise(pairs)


def test_constant_is_the_same_at_every_epoch():
    value = schedules.constant(0.5)
    assert (value(0), value(99)) == (0.5, 0.5)
