"""A `Dense` layer with a fixed number of non-zero weights."""

import keras

from keras_dsr.layers.masked import MaskedKernel


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseDense(MaskedKernel, keras.layers.Dense):
    """`keras.layers.Dense` with a sparse kernel of shape `(inputs, units)`; the bias stays dense.

    Args:
        units: int, the size of the output.
        sparsity: float in [0, 1), the share of kernel weights that are zero. The number of active weights is
            `round((1 - sparsity) * inputs * units)`, at least one, and does not change in training.
        granularity: `"element"` or `"kernel"`. In a dense kernel both prune and grow single weights; all sparse layers
            of a model that are reallocated together need the same one.
        seed: int, where the first active weights lie. `None` draws one from Python's random numbers, which
            `keras.utils.set_random_seed` fixes.
        **kwargs: every other argument of `keras.layers.Dense`.

    Raises:
        ValueError: `sparsity` outside [0, 1) or an unknown `granularity`.

    Example:

    >>> layer = keras_dsr.SparseDense(300, sparsity=0.99)
    >>> layer.build((None, 784))
    >>> int(keras.ops.count_nonzero(layer.kernel_mask))
    2352
    """

    stock_class = keras.layers.Dense

    def __init__(
        self, units: int, sparsity: float = 0.9, granularity: str = "element", seed: int | None = None, **kwargs
    ) -> None:
        super().__init__(units, sparsity=sparsity, granularity=granularity, seed=seed, **kwargs)
