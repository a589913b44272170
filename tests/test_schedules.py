import keras
import pytest

from keras_dsr import schedules
from tests.helpers.networks import int32, program


def test_piecewise_holds_each_value_from_its_start_on():
    period = schedules.piecewise([(0, 100), (25, 200), (80, 400)])
    assert [period(epoch) for epoch in (0, 24, 25, 79, 80, 1000)] == [100, 100, 200, 200, 400, 400]


def test_piecewise_of_one_pair_is_constant():
    assert schedules.piecewise([(0, 7)])(12) == 7


def test_piecewise_takes_lists_as_pairs():
    assert schedules.piecewise([[0, 1], [2, 3]])(2) == 3


@pytest.mark.parametrize("pairs", [[], [(1, 100)], [(0, 1), (0, 2)], [(0, 1), (5, 2), (3, 4)], [(0, 1, 2)]])
def test_piecewise_refuses_starts_that_do_not_begin_at_0_and_increase(pairs):
    with pytest.raises(
        ValueError, match=r"piecewise\(pairs=.*\) must be \(start, value\) pairs with increasing starts"
    ):
        schedules.piecewise(pairs)


def test_constant_is_the_same_at_every_epoch():
    value = schedules.constant(0.5)
    assert (value(0), value(99)) == (0.5, 0.5)


def at_steps(schedule, steps, compiled):
    function = program(schedule) if compiled else schedule
    return [float(function(int32(step))) for step in steps]


@pytest.mark.parametrize("compiled", [False, True])
def test_by_step_holds_each_value_from_its_step_on(compiled):
    schedule = schedules.by_step([(0, 0.5), (10, 0.25), (100, 2.0)])
    assert at_steps(schedule, [0, 9, 10, 99, 100, 2**31 - 1], compiled) == [0.5, 0.5, 0.25, 0.25, 2.0, 2.0]


@pytest.mark.parametrize("compiled", [False, True])
def test_by_step_of_a_number_is_constant(compiled):
    assert at_steps(schedules.by_step(0.5), [0, 12], compiled) == [0.5, 0.5]
    assert at_steps(schedules.by_step(3), [0, 12], compiled) == [3, 3]


def test_by_step_gives_float32_scalars():
    value = schedules.by_step([(0, 1), (2, 3)])(int32(5))
    assert (keras.backend.standardize_dtype(value.dtype), tuple(value.shape)) == ("float32", ())


def test_by_step_leaves_a_function_as_it_is():
    def schedule(step):
        return 1.0 / step

    assert schedules.by_step(schedule) is schedule


@pytest.mark.parametrize("pairs", [[], [(1, 100)], [(0, 1), (0, 2)], [(0, 1), (5, 2), (3, 4)], [(0, 1, 2)]])
def test_by_step_refuses_what_piecewise_refuses(pairs):
    with pytest.raises(ValueError, match=r"increasing starts, the first at 0, such as"):
        schedules.by_step(pairs)
