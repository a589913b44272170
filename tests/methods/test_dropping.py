import math

import numpy as np
import pytest

from keras_dsr.methods.dropping import annealed, check_end_step, check_fraction, drop_smallest, rounded_fraction
from keras_dsr.ops.units import Slices
from tests.helpers.networks import int32
from tests.helpers.views import EIGHT_ACTIVE, EIGHT_WEIGHTS, split, view

# JAX would compile every one of these small cases: there test_contract.py and test_backends.py judge the method.
pytestmark = pytest.mark.backends("tensorflow", "torch")

# annealed


@pytest.mark.parametrize(
    ("step", "share"), [(0, 1), (250, 0.5 + math.sqrt(0.125)), (500, 0.5), (750, 0.5 - math.sqrt(0.125))]
)
def test_the_fraction_follows_half_a_cosine(step, share):
    assert float(annealed(0.3, int32(step), 1000)) == pytest.approx(0.3 * share, rel=1e-5)


@pytest.mark.parametrize("end_step", [1, 1000, 25_000_000, 2**40])
def test_the_fraction_falls_to_exactly_zero_and_stays_there(end_step):
    last = 2**31 - 1
    steps = sorted({min(end_step * part // 10, last) for part in range(11)})
    fractions = [float(annealed(0.3, int32(step), end_step)) for step in steps]
    assert fractions == sorted(fractions, reverse=True)
    assert fractions[0] == np.float32(0.3)
    for step in (end_step, end_step + 1, 2 * end_step, last):
        if end_step <= step <= last:
            assert float(annealed(0.3, int32(step), end_step)) == 0


# drop_smallest


@pytest.mark.parametrize(
    ("fraction", "size", "share"), [(0.5, 3, 2), (0.5, 5, 2), (0.3, 4, 1), (0.0, 9, 0), (1.0, 9, 9)]
)
def test_shares_are_whole_numbers(fraction, size, share):
    assert int(rounded_fraction(fraction, int32([size]))[0]) == share


@pytest.mark.parametrize(
    ("fraction", "dropped"),
    [
        (0.0, []),
        (0.05, []),  # 0.3 of a weight
        (1 / 6, [6]),
        (0.5, [6, 4, 1]),
        (0.99, [6, 4, 1, 2, 5]),  # 5.94: one stays
    ],
)
def test_the_smallest_active_units_are_dropped(fraction, dropped):
    seen = view([EIGHT_WEIGHTS], [EIGHT_ACTIVE])
    (received,) = split(seen, drop_smallest(seen, fraction))
    assert np.flatnonzero(received).tolist() == sorted(dropped)


def test_slices_are_dropped_by_their_mean():
    kernel = np.zeros((2, 2, 1, 2), "float32")
    kernel[0, 0, 0] = [0.5, 0]  # mean 0.125
    kernel[..., 1] = 0.1
    seen = view([kernel], [np.ones(kernel.shape, bool)], [Slices((0, 1))])
    (dropped,) = split(seen, drop_smallest(seen, 0.5))
    np.testing.assert_array_equal(dropped, [[[[False, True]]]])


# Arguments


def test_what_is_in_range_passes():
    for fraction in (0.001, 0.999, np.float32(0.5)):
        check_fraction(fraction, "Method")
    for end_step in (1, 10**12, np.int64(5)):
        check_end_step(end_step, "Method")


@pytest.mark.parametrize("fraction", [0, 1, 1.5, -0.1, math.nan, "0.3", None, True])
def test_other_fractions_are_refused(fraction):
    with pytest.raises(ValueError, match=r"Method\(fraction=\.\.\.\) must be a float in \(0, 1\)") as error:
        check_fraction(fraction, "Method")
    assert str(error.value).endswith(f"Received: fraction={fraction!r}")


@pytest.mark.parametrize("end_step", [0, -5, 1.5, 1000.0, "1000", None, True])
def test_other_end_steps_are_refused(end_step):
    with pytest.raises(ValueError, match=r"Method\(end_step=\.\.\.\) must be a positive int") as error:
        check_end_step(end_step, "Method")
    assert str(error.value).endswith(f"Received: end_step={end_step!r}")
