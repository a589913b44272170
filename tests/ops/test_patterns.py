import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_dsr.ops.masking import mask_weights
from keras_dsr.ops.patterns import unit_magnitudes, unit_mask, unit_shape, weight_mask


def test_a_slice_of_a_convolution_has_the_mean_magnitude_of_its_weights():
    kernel = np.array([[[1.0, -2.0]], [[-3.0, 6.0]]], "float32")  # window 2, one input, two outputs
    np.testing.assert_array_equal(unit_magnitudes(kernel, (0,)), [[[2.0, 4.0]]])
    np.testing.assert_array_equal(unit_magnitudes(kernel, ()), np.abs(kernel))


def test_the_unit_mask_of_a_slice_is_one_entry():
    mask = np.zeros((3, 3, 2, 2), bool)
    mask[:, :, 0, 1] = True
    np.testing.assert_array_equal(unit_mask(mask, (0, 1)), [[[[False, True], [False, False]]]])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_magnitudes_are_float32(dtype):
    weight = keras.ops.convert_to_tensor([[0.5, -0.25]], dtype)
    assert keras.backend.standardize_dtype(unit_magnitudes(weight, ()).dtype) == "float32"
    np.testing.assert_array_equal(unit_magnitudes(weight, (1,)), [[0.375]])


@given(
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=5),
    spanned=st.integers(0, 3),
    seed=st.integers(0, 100),
)
def test_weight_mask_is_the_inverse_of_unit_mask(shape, spanned, seed):
    axes = tuple(range(min(spanned, len(shape) - 1)))
    units = np.random.default_rng(seed).random(unit_shape(shape, axes)) < 0.5
    mask = np.array(weight_mask(keras.ops.convert_to_tensor(units), shape))
    assert mask.shape == tuple(shape)
    np.testing.assert_array_equal(unit_mask(mask, axes), units)


def test_masked_weights_are_plus_zero_whatever_was_there():
    weight = np.array([np.nan, -1.0, np.inf, -0.0, 2.0], "float32")
    masked = np.array(mask_weights(weight, np.array([False, False, False, False, True])))
    np.testing.assert_array_equal(masked, [0, 0, 0, 0, 2])
    assert not np.signbit(masked).any()
