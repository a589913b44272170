"""The convolution of training with a kernel in compact storage, of any window.

On a CPU, where numba is installed, time grows with the weights that exist (`backend.plane_convolution`), outside of the
backend, which calls back to Python. Elsewhere a dense kernel is made at each step.
"""

import math

import keras
from keras import ops

from keras_dsr.backend.keras_exporting import is_exporting
from keras_dsr.backend.plane_compilation import is_available
from keras_dsr.backend.planes import Window
from keras_dsr.backend.seen_gradients import SeenGradients
from keras_dsr.ops.positions import position_dtype


def convolve(inputs, values, indices, count, window: Window, seen: SeenGradients):
    """The convolution, without bias, differentiable in the inputs and the values.

    Args:
        inputs: float32 or float64 tensor of shape `(batch, ..., channels)`, or `(batch, channels, ...)` with channels
            first.
        values: tensor of shape `(capacity,)` of the same dtype, the weights; those from `count` on are not read, and
            have a gradient of 0.
        indices: int32 tensor of shape `(capacity, 2)`, their rows and columns in the kernel as a matrix of
            `window.matrix_shape`, in row-major order.
        count: int32 scalar tensor, how many there are.
        window: the convolution.
        seen: is told what passes, where the compiled loops serve.

    Returns:
        A tensor of the shape of the convolution.
    """
    if not is_on_host(inputs):
        return _by_dense_kernel(inputs, values, indices, count, window)
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from keras_dsr.backend.sparse_convolution_tensorflow import convolve as of_backend
    elif backend == "jax":
        from keras_dsr.backend.sparse_convolution_jax import convolve as of_backend
    else:
        from keras_dsr.backend.sparse_convolution_torch import convolve as of_backend
    return of_backend(inputs, values, indices, count, window, seen)


def is_on_host(inputs) -> bool:
    """Whether the compiled loops serve: the inputs are in the memory of a CPU, of this process, and numba is there."""
    backend = keras.backend.backend()
    if backend == "torch":
        on_host = inputs.device.type == "cpu"
    elif backend == "jax":
        import jax

        on_host = jax.default_backend() == "cpu"
    else:
        import tensorflow as tf

        on_host = not tf.config.get_visible_devices("GPU")
    return on_host and is_available() and not is_exporting()


def _by_dense_kernel(inputs, values, indices, count, window: Window):
    capacity = values.shape[0]
    exists = ops.arange(capacity) < count
    size = math.prod(window.matrix_shape)
    # What lies beyond the weights is written behind the kernel, and dropped.
    rows, columns = (ops.cast(indices[:, axis], position_dtype()) for axis in (0, 1))
    flat = ops.where(exists, rows * window.matrix_shape[1] + columns, size)
    kernel = ops.scatter(flat[:, None], values, (size + 1,))[:size]
    kernel = ops.reshape(kernel, (*window.window, window.channels // window.groups, window.filters))
    if not window.window:
        return ops.matmul(inputs, kernel)
    padding = window.padding
    if padding == "causal":
        before = (window.window[0] - 1) * window.dilations[0]
        inputs = ops.pad(
            inputs, [(0, 0), (before, 0), (0, 0)] if window.channels_last else [(0, 0), (0, 0), (before, 0)]
        )
        padding = "valid"
    data_format = "channels_last" if window.channels_last else "channels_first"
    return ops.conv(inputs, kernel, window.strides, padding, data_format, window.dilations)
