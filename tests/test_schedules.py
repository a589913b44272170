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


CURVES = {
    schedules.linear: [1.0, 0.875, 0.75, 0.625, 0.5],
    schedules.cosine: [1.0, 0.5 + 0.25 * (1 + 0.5**0.5), 0.75, 0.5 + 0.25 * (1 - 0.5**0.5), 0.5],
    schedules.cubic: [1.0, 0.5 + 0.5 * 0.75**3, 0.5 + 0.5 * 0.5**3, 0.5 + 0.5 * 0.25**3, 0.5],
    schedules.exponential: [1.0, 0.5**0.25, 0.5**0.5, 0.5**0.75, 0.5],
}


@pytest.mark.parametrize("compiled", [None, False, True])
@pytest.mark.parametrize("make", list(CURVES), ids=lambda make: make.__name__)
def test_a_curve_goes_from_its_start_to_its_end(make, compiled):
    schedule = make(1.0, 0.5, steps=40, begin=10)
    steps = [0, 20, 30, 40, 1000]
    got = [schedule(step) for step in steps] if compiled is None else at_steps(schedule, steps, compiled)
    assert got == pytest.approx(CURVES[make], abs=1e-6)


def test_cycles_begin_anew():
    schedule = schedules.cycles(schedules.linear(0.0, 1.0, steps=4), length=6)
    assert [schedule(step) for step in range(8)] == [0, 0.25, 0.5, 0.75, 1, 1, 0, 0.25]
    assert schedules.cycles(schedules.linear(0.0, 1.0, steps=4)).length == 4
    assert at_steps(schedule, [7, 601], True) == pytest.approx([0.25, 0.25])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.linear("a", 1, 5), r"linear\(start=...\) must be a number. Received: start='a'"),
        (lambda: schedules.cosine(1, float("nan"), 5), r"cosine\(end=...\) must be a number"),
        (lambda: schedules.exponential(1, 0, 5), r"exponential\(end=...\) must be a positive number. Received: end=0"),
        (lambda: schedules.cubic(1, 0, 0), r"cubic\(steps=...\)"),
        (lambda: schedules.linear(1, 0, 5, begin=-1), r"linear\(begin=...\)"),
        (lambda: schedules.cycles(schedules.linear(1, 0, 5), 4), r"cycles\(length=...\)"),
        (lambda: schedules.cycles(0.5), r"cycles\(schedule=...\) must be a schedule such as"),
    ],
)
def test_a_curve_with_an_argument_out_of_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
