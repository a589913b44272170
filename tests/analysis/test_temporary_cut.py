"""A variable that is cut for a while has every bit back, whatever happened."""

import contextlib

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_dsr.analysis.temporary_cut import trial
from tests.helpers.networks import bits, values

ODD = np.array([1.5, -0.0, np.nan, np.inf, -np.inf, 1e-42, -3.0, 0.0], "float32")


def variable(dtype="float32"):
    return keras.Variable(ODD, dtype=dtype)


def test_it_is_zero_where_it_is_not_kept_and_each_mask_starts_from_what_was_before():
    weight = keras.Variable(np.array([1.0, -2.0, 3.0], "float32"))
    with trial(weight) as keep_only:
        keep_only(np.array([True, False, False]))
        assert values(weight).tolist() == [1, 0, 0]
        keep_only(np.array([False, True, True]))
        assert values(weight).tolist() == [0, -2, 3]
    assert values(weight).tolist() == [1, -2, 3]


@given(
    st.sampled_from(["float32", "bfloat16", "float16", "float64"]),
    st.lists(st.lists(st.booleans(), min_size=8, max_size=8), max_size=3),
    st.sampled_from([None, ValueError, KeyboardInterrupt, GeneratorExit]),
)
def test_every_bit_is_restored_in_every_dtype_and_after_every_error(dtype, masks, error):
    weight = variable(dtype)
    before = bits(weight)
    expected = contextlib.nullcontext() if error is None else pytest.raises(error)
    with expected, trial(weight) as keep_only:
        for mask in masks:
            keep_only(np.array(mask))
        if error is not None:
            raise error
    assert bits(weight) == before


def test_a_mask_of_another_shape_is_refused():
    weight = variable()
    message = r"must have its shape, \(8,\)\. Received: shape \(2,\)"
    with pytest.raises(ValueError, match=message), trial(weight) as keep_only:
        keep_only(np.array([True, False]))
    assert bits(weight) == ODD.tobytes()
