"""Convolutions with a fixed number of non-zero weights."""

import keras

from keras_dsr.layers.masked import MaskedKernel


class _SparseConvolution(MaskedKernel):
    """The signature that the sparse convolutions share."""

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        sparsity: float = 0.9,
        granularity: str = "element",
        seed: int | None = None,
        **kwargs,
    ) -> None:
        super().__init__(filters, kernel_size, sparsity=sparsity, granularity=granularity, seed=seed, **kwargs)


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseConv1D(_SparseConvolution, keras.layers.Conv1D):
    """`keras.layers.Conv1D` with a sparse kernel of shape `(window, inputs, filters)`; arguments as `SparseConv2D`."""

    stock_class = keras.layers.Conv1D


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseConv2D(_SparseConvolution, keras.layers.Conv2D):
    """`keras.layers.Conv2D` with a sparse kernel of shape `(height, width, inputs, filters)`; the bias stays dense.

    Args:
        filters: int, the number of output channels.
        kernel_size: int or tuple of 2 ints, the window.
        sparsity: float in [0, 1), the share of kernel weights that are zero. The number of active units is
            `round((1 - sparsity) * units)`, at least one, and does not change in training.
        granularity: `"element"` prunes and grows single weights, `"kernel"` whole slices (one window of one input and
            one output channel). In a window of size 1 a slice is one weight.
        seed: int, where the first active weights lie. `None` draws one from Python's random numbers, which
            `keras.utils.set_random_seed` fixes.
        **kwargs: every other argument of `keras.layers.Conv2D`.

    Raises:
        ValueError: `sparsity` outside [0, 1) or an unknown `granularity`.

    Example:

    >>> layer = keras_dsr.SparseConv2D(64, 3, sparsity=0.9, padding="same", use_bias=False)
    >>> layer(images).shape
    """

    stock_class = keras.layers.Conv2D


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseConv3D(_SparseConvolution, keras.layers.Conv3D):
    """`keras.layers.Conv3D` with a sparse kernel of shape `(*window, inputs, filters)`; arguments as `SparseConv2D`."""

    stock_class = keras.layers.Conv3D
