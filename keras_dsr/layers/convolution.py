"""Convolutions with a fixed number of non-zero weights."""

from typing import ClassVar

import keras

from keras_dsr.layers.masked import MaskedLayer
from keras_dsr.layers.storage import HasStorage


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseConv1D(HasStorage, MaskedLayer, keras.layers.Conv1D):
    """`keras.layers.Conv1D` with a sparse kernel of shape `(window, inputs, filters)`; arguments as `SparseConv2D`."""

    stock_class = keras.layers.Conv1D


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseConv2D(HasStorage, MaskedLayer, keras.layers.Conv2D):
    """`keras.layers.Conv2D` with a sparse kernel of shape `(height, width, inputs, filters)`; the bias stays dense.

    Args:
        *args: as `keras.layers.Conv2D`: filters, kernel_size, strides, ...
        sparsity: float in [0, 1), the share of kernel weights that are zero. The number of active units is
            `round((1 - sparsity) * units)`, at least one, and does not change in training. Or a dict such as
            `{"kernel": 0.9, "bias": 0.5}`.
        pattern: what is pruned and grown as a whole: `"element"`, single weights; `"kernel"`, slices (one window of one
            input and one output channel); or a pair such as `(4, 1)`, blocks of 4 neighbouring inputs by 1 output at
            each tap of the window; or as `SparseDense`.
        mask_seed: int, where the first active weights lie. `None` draws one from Python's random numbers, which
            `keras.utils.set_random_seed` fixes.
        initial_scale: as `SparseDense`.
        storage, capacity, batch_size: as `SparseDense`.
        **kwargs: every other argument of `keras.layers.Conv2D`.

    Raises:
        ValueError: `sparsity` outside [0, 1), an unknown `pattern`, `initial_scale` or `storage`.

    Example:

    >>> layer = keras_dsr.SparseConv2D(64, 3, sparsity=0.9, padding="same", use_bias=False)
    >>> layer(images).shape
    """

    stock_class = keras.layers.Conv2D


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseConv3D(HasStorage, MaskedLayer, keras.layers.Conv3D):
    """`keras.layers.Conv3D` with a sparse kernel of shape `(*window, inputs, filters)`; arguments as `SparseConv2D`."""

    stock_class = keras.layers.Conv3D


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseConv1DTranspose(MaskedLayer, keras.layers.Conv1DTranspose):
    """`keras.layers.Conv1DTranspose` with a sparse kernel of shape `(window, filters, inputs)`."""

    stock_class = keras.layers.Conv1DTranspose


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseConv2DTranspose(MaskedLayer, keras.layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose` with a sparse kernel of shape `(height, width, filters, inputs)`."""

    stock_class = keras.layers.Conv2DTranspose


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseConv3DTranspose(MaskedLayer, keras.layers.Conv3DTranspose):
    """`keras.layers.Conv3DTranspose` with a sparse kernel of shape `(*window, filters, inputs)`."""

    stock_class = keras.layers.Conv3DTranspose


class _Depthwise(MaskedLayer):
    initializers: ClassVar = {"kernel": "depthwise_initializer", "bias": "bias_initializer"}


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseDepthwiseConv1D(_Depthwise, keras.layers.DepthwiseConv1D):
    """`keras.layers.DepthwiseConv1D` with a sparse kernel of shape `(window, inputs, depth_multiplier)`."""

    stock_class = keras.layers.DepthwiseConv1D


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseDepthwiseConv2D(_Depthwise, keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` with a sparse kernel of shape `(height, width, inputs, depth_multiplier)`."""

    stock_class = keras.layers.DepthwiseConv2D


class _Separable(MaskedLayer):
    initializers: ClassVar = {
        "depthwise_kernel": "depthwise_initializer",
        "pointwise_kernel": "pointwise_initializer",
        "bias": "bias_initializer",
    }


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseSeparableConv1D(_Separable, keras.layers.SeparableConv1D):
    """`keras.layers.SeparableConv1D` with a sparse `depthwise_kernel` and `pointwise_kernel`.

    `sparsity={"pointwise_kernel": 0.9}` keeps the depthwise kernel, which has few weights, dense.
    """

    stock_class = keras.layers.SeparableConv1D


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseSeparableConv2D(_Separable, keras.layers.SeparableConv2D):
    """`keras.layers.SeparableConv2D` with two sparse kernels, as `SparseSeparableConv1D`."""

    stock_class = keras.layers.SeparableConv2D
