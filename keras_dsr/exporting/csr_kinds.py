"""Which layers are a product with a matrix."""

import keras
import numpy as np


def is_product(layer: keras.layers.Layer) -> bool:
    """Whether a layer, stock or sparse, is a product of its inputs with one matrix that CSR can do.

    That is a `Dense` layer, or a convolution with a window of 1, channels last and one group, that computes in float32
    or float64.
    """
    kind = getattr(type(layer), "stock_class", type(layer))
    if layer.compute_dtype not in ("float32", "float64") or getattr(layer, "quantization_mode", None) is not None:
        return False
    if getattr(layer, "lora_enabled", False):
        return False
    if kind is keras.layers.Dense:
        return True
    return (
        kind in (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
        and set(layer.kernel_size) == {1}
        and layer.groups == 1
        and layer.data_format == "channels_last"
    )


def matrix_of(kernel: np.ndarray) -> np.ndarray:
    """The kernel of such a layer as a matrix of shape `(inputs, outputs)`."""
    return kernel.reshape(kernel.shape[-2:])
