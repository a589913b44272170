"""Pictures of masks."""

import base64
import io

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

import keras_dsr as dsr
from keras_dsr.reporting.kernels import kernels_of
from keras_dsr.reporting.masks import LARGEST, block_means, mask_image
from tests.helpers.networks import values


def pixels(image) -> np.ndarray:
    """The opacity of each pixel, in [0, 1]."""
    return imread(io.BytesIO(base64.b64decode(image.uri.removeprefix("data:image/png;base64,"))))[..., 3]


def picture(shape, layer):
    model = keras.Sequential([keras.Input(shape), layer])
    return mask_image(kernels_of(model)[0]), values(layer.kernel_mask)


def test_a_dense_kernel_lies_with_its_longer_side_across():
    image, mask = picture((30,), dsr.SparseDense(10, sparsity=0.8))
    assert np.array_equal(pixels(image) == 1, mask.T)
    assert (image.width, image.height, image.shown % 30) == (30, 10, 0)
    assert image.caption.startswith("60 of 300 weights active. Inputs from left to right, outputs from top to bottom.")


def test_a_convolution_has_a_tile_for_each_pair_of_channels():
    image, mask = picture((8, 8, 2), dsr.SparseConv2D(5, 3, sparsity=0.5))
    shown = pixels(image) == 1
    assert shown.shape == (2 * 3, 5 * 3)
    for channel in range(2):
        for output in range(5):
            tile = shown[3 * channel : 3 * channel + 3, 3 * output : 3 * output + 3]
            assert np.array_equal(tile, mask[:, :, channel, output])


def test_a_large_kernel_is_shown_as_densities():
    image, mask = picture((2 * LARGEST,), dsr.SparseDense(7, sparsity=0.9))
    assert (image.width, image.height) == (LARGEST, 7)
    assert "A pixel stands for 2 x 1 weights" in image.caption
    active = mask.T.reshape(7, LARGEST, 2).any(axis=-1)
    assert np.array_equal(pixels(image) > 0, active)


@pytest.mark.backends("tensorflow")
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_block_means_are_means_of_blocks(rows, columns, down, across, seed):
    plane = np.random.default_rng(seed).random((rows, columns)) < 0.5
    means = block_means(*np.nonzero(plane), plane.shape, (down, across))
    for (row, column), mean in np.ndenumerate(means):
        block = plane[row * down : (row + 1) * down, column * across : (column + 1) * across]
        assert np.isclose(mean, block.mean())
    assert means.shape == (-(-rows // down), -(-columns // across))
