"""Matrix products with a fixed number of non-zero weights, and the table of an embedding."""

from typing import ClassVar

import keras

from keras_dsr.layers.masked import MaskedLayer
from keras_dsr.layers.storage import HasStorage


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseDense(HasStorage, MaskedLayer, keras.layers.Dense):
    """`keras.layers.Dense` with a sparse kernel of shape `(inputs, units)`; the bias stays dense.

    Args:
        *args: as `keras.layers.Dense`: units, activation, ...
        sparsity: float in [0, 1), the share of kernel weights that are zero. The number of active weights is
            `round((1 - sparsity) * inputs * units)`, at least one, and does not change in training. Or a dict such as
            `{"kernel": 0.9, "bias": 0.5}`.
        pattern: what is pruned and grown as a whole: `"element"`, single weights (`"kernel"` is the same here), or a
            pair such as `(4, 1)`, blocks of 4 neighbouring inputs by 1 output; those at the end of an axis may be
            smaller; `"2:4"` or another N:M, of 4 neighbouring inputs 2; or `"fan_in"`, as many in each output. All
            sparse layers of one reallocation have the same.
        mask_seed: int, where the first active weights lie. `None` draws one from Python's random numbers, which
            `keras.utils.set_random_seed` fixes.
        initial_scale: `"dense"`: first weights are those of a dense layer. `"active"`: they have the variance that
            `kernel_initializer` promises for the active fan, the dense one times the density (where it scales by fans:
            see `MaskedLayer`). At dense scale a deep network above 0.95 may not begin to learn under SGD if nothing
            normalizes; behind batch norm it learns faster than at active scale.
        storage: how the weights are stored: `"masked"`, `"compact"` or `"auto"` (see `layers.storage.HasStorage`).
        capacity: int or float, what the layer has room for in compact storage; None: 1.5 times its weights.
        batch_size: int, for how many examples `storage="auto"` times a step; None: 64.
        **kwargs: every other argument of `keras.layers.Dense`.

    Raises:
        ValueError: `sparsity` outside [0, 1), an unknown `pattern`, `initial_scale` or `storage`.

    Example:

    >>> layer = keras_dsr.SparseDense(300, sparsity=0.99)
    >>> layer.build((None, 784))
    >>> int(keras.ops.count_nonzero(layer.kernel_mask))
    2352
    """

    stock_class = keras.layers.Dense


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseEinsumDense(HasStorage, MaskedLayer, keras.layers.EinsumDense):
    """`keras.layers.EinsumDense` with a sparse kernel; its arguments, and those of `SparseDense`."""

    stock_class = keras.layers.EinsumDense


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseEmbedding(MaskedLayer, keras.layers.Embedding):
    """`keras.layers.Embedding` with a sparse table of shape `(input_dim, output_dim)`; arguments as `SparseDense`."""

    stock_class = keras.layers.Embedding
    initializers: ClassVar = {"embeddings": "embeddings_initializer"}
