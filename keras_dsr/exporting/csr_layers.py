"""Layers that are a product with a matrix, with the product by CSR in the place of the dense one."""

import contextlib
import functools
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from keras_dsr.exporting.csr import multiply


@contextlib.contextmanager
def by_csr(kernels: dict[keras.layers.Layer, tf.Tensor]) -> Iterator[None]:
    """Inside the block these layers multiply by CSR matrices: their transposed kernels."""
    with contextlib.ExitStack() as stack:
        for layer, transposed_kernel in kernels.items():
            stack.enter_context(_calling(layer, functools.partial(_call, layer, transposed_kernel)))
        yield


@contextlib.contextmanager
def recording_rows(layers: list[keras.layers.Layer]) -> Iterator[dict[keras.layers.Layer, list[int | None]]]:
    """Inside the block it is noted in how many rows, for one example, each layer gets its inputs, at each call.

    Yields:
        A dictionary that fills: lists of numbers of rows, None where a size was unknown.
    """
    rows = {layer: [] for layer in layers}

    def recorded(layer):
        def call(inputs):
            sizes = _strided(layer, inputs).shape[1:-1]
            rows[layer].append(None if None in sizes else int(np.prod(sizes)))
            return type(layer).call(layer, inputs)

        return call

    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(_calling(layer, recorded(layer)))
        yield rows


@contextlib.contextmanager
def _calling(layer: keras.layers.Layer, call: Callable) -> Iterator[None]:
    """Inside the block the layer's `call` is another function."""
    object.__setattr__(layer, "call", lambda inputs, training=None: call(inputs))
    try:
        yield
    finally:
        object.__delattr__(layer, "call")


def _call(layer: keras.layers.Layer, transposed_kernel: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
    outputs = layer.units if isinstance(layer, keras.layers.Dense) else layer.filters
    rows = tf.cast(_strided(layer, inputs), layer.compute_dtype)  # whole numbers, too
    product = multiply(rows, transposed_kernel, outputs)
    if layer.use_bias:
        product = product + tf.convert_to_tensor(layer.bias)
    return product if layer.activation is None else layer.activation(product)


def _strided(layer: keras.layers.Layer, inputs: tf.Tensor) -> tf.Tensor:
    """The inputs that the window of a convolution falls on."""
    strides = getattr(layer, "strides", ())
    if set(strides) <= {1}:
        return inputs
    return inputs[(slice(None), *(slice(None, None, stride) for stride in strides))]
