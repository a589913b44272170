import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_dsr as dsr
from keras_dsr.layers.units_by_pattern import units_of
from keras_dsr.ops.masking import mask_weights
from keras_dsr.ops.patterns import check_pattern
from keras_dsr.ops.units import SINGLE, Blocks, Slices


def test_a_slice_of_a_convolution_has_the_mean_magnitude_of_its_weights():
    kernel = np.array([[[1.0, -2.0]], [[-3.0, 6.0]]], "float32")  # window 2, one input, two outputs
    np.testing.assert_array_equal(Slices((0,)).magnitudes(kernel), [[[2.0, 4.0]]])
    np.testing.assert_array_equal(SINGLE.magnitudes(kernel), np.abs(kernel))


def test_a_block_has_the_mean_magnitude_of_the_weights_that_it_has():
    kernel = np.array([[1.0, -2.0], [3.0, 4.0], [-5.0, 6.0]], "float32")
    blocks = Blocks((2, 1), (1, 3, 2))  # the last of each column has one weight
    assert (blocks.shape((3, 2)), blocks.count((3, 2)), blocks.size((3, 2))) == ((1, 2, 2), 4, 2)
    np.testing.assert_array_equal(blocks.magnitudes(kernel), [[[2.0, 3.0], [5.0, 6.0]]])
    np.testing.assert_array_equal(blocks.magnitudes(kernel, np), [[[2.0, 3.0], [5.0, 6.0]]])


def test_the_unit_of_a_slice_is_one_entry():
    mask = np.zeros((3, 3, 2, 2), bool)
    mask[:, :, 0, 1] = True
    np.testing.assert_array_equal(Slices((0, 1)).active(mask), [[[[False, True], [False, False]]]])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_magnitudes_are_float32(dtype):
    weight = keras.ops.convert_to_tensor([[0.5, -0.25]], dtype)
    assert keras.backend.standardize_dtype(SINGLE.magnitudes(weight).dtype) == "float32"
    np.testing.assert_array_equal(Slices((1,)).magnitudes(weight), [[0.375]])
    np.testing.assert_array_equal(Blocks((1, 2), (1, 1, 2)).magnitudes(weight), [[[0.375]]])


@given(
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=5),
    spanned=st.integers(0, 3),
    block=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    seed=st.integers(0, 100),
)
def test_the_mask_of_the_weights_is_the_inverse_of_that_of_the_units(shape, spanned, block, seed):
    axes = tuple(range(min(spanned, len(shape) - 1)))
    for of in (SINGLE, Slices(axes), Blocks(block, (math.prod(shape[:-2]), *shape[-2:]))):
        units = np.random.default_rng(seed).random(of.shape(shape)) < 0.5
        mask = np.array(of.mask(keras.ops.convert_to_tensor(units), shape))
        assert mask.shape == tuple(shape)
        np.testing.assert_array_equal(of.active(mask), units)
        np.testing.assert_array_equal(of.active(mask, np), units)
        np.testing.assert_array_equal(of.mask(units, shape, np), mask)


@pytest.mark.parametrize(
    ("layer", "shape", "matrices"),
    [
        (lambda: keras.layers.Dense(6), (None, 10), (1, 10, 6)),
        (lambda: keras.layers.Conv2D(6, 3), (None, 8, 8, 10), (9, 10, 6)),
        (lambda: keras.layers.Conv1D(6, 3, groups=2), (None, 8, 10), (3, 5, 6)),
        (lambda: keras.layers.EinsumDense("abc,cde->abde", (None, 2, 3)), (None, 8, 10), (1, 10, 6)),
        (lambda: keras.layers.EinsumDense("abde,dec->abc", (None, 6)), (None, 8, 2, 5), (1, 10, 6)),
        (lambda: keras.layers.DepthwiseConv2D(3, depth_multiplier=2), (None, 8, 8, 10), (9, 10, 2)),
    ],
)
def test_blocks_are_of_inputs_by_outputs(layer, shape, matrices):
    layer = layer()
    layer.build(shape)
    assert units_of(layer, "kernel", tuple(layer.kernel.shape), (4, 1)) == Blocks((4, 1), matrices)


def test_blocks_of_a_transposed_convolution_are_of_inputs_by_outputs_too():
    layer = keras.layers.Conv2DTranspose(6, 3)
    layer.build((None, 8, 8, 10))
    assert units_of(layer, "kernel", (3, 3, 6, 10), (4, 1)) == Blocks((1, 4), (9, 6, 10))


def test_blocks_of_a_vector_are_refused():
    layer = keras.layers.Dense(6, name="head")
    with pytest.raises(
        ValueError, match=r"pattern=\(4, 1\) is of inputs by outputs, and 'bias' of Dense 'head' has the shape \(6,\)"
    ):
        units_of(layer, "bias", (6,), (4, 1))


@pytest.mark.parametrize("given_pattern", ["element", "kernel", (4, 1), [4, 1], (np.int64(4), 1)])
def test_a_pattern_is_a_name_or_a_pair(given_pattern):
    checked = check_pattern(given_pattern, "Layer")
    assert checked == (given_pattern if isinstance(given_pattern, str) else (4, 1))
    assert check_pattern((1, 1), "Layer") == "element"


@pytest.mark.parametrize("wrong", ["row", (4,), (4, 1, 1), (0, 1), (4, -1), (4.0, 1), 4, None, True, "41", b"41"])
def test_other_patterns_are_refused_in_words(wrong):
    for make in (
        lambda: check_pattern(wrong, "SparseDense"),
        lambda: dsr.SparseDense(3, pattern=wrong),
        lambda: dsr.SparseOptimizer("sgd", pattern=wrong),
    ):
        with pytest.raises(
            ValueError, match=r"pattern=\.\.\.\) must be 'element'.*'kernel'.*\(4, 1\).*Received: pattern="
        ):
            make()


def test_masked_weights_are_plus_zero_whatever_was_there():
    weight = np.array([np.nan, -1.0, np.inf, -0.0, 2.0], "float32")
    masked = np.array(mask_weights(weight, np.array([False, False, False, False, True])))
    np.testing.assert_array_equal(masked, [0, 0, 0, 0, 2])
    assert not np.signbit(masked).any()
