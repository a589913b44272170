"""The product of training with a kernel in compact storage: time and memory grow with the weights that exist.

On a CPU, where numba is installed, it is a convolution with a window of one position (`backend.sparse_convolution`).
Else: forward and backward are products with the matrix and its transpose; the gradient of a weight is the sum over the
rows of its input times the gradient of its output, one number for each weight that exists. No backend makes a tensor of
the size of the kernel.
"""

import keras

from keras_dsr.backend.keras_exporting import is_exporting
from keras_dsr.backend.planes import Window
from keras_dsr.backend.seen_gradients import SeenGradients
from keras_dsr.backend.sparse_convolution import convolve, is_on_host


def multiply(inputs, values, indices, count, window: Window, seen: SeenGradients):
    """`inputs @ matrix`, differentiable in the inputs and the values.

    Args:
        inputs: float32 or float64 tensor of shape `(batch, rows)`.
        values: tensor of shape `(capacity,)` of the same dtype, the weights; those from `count` on are not read, and
            have a gradient of 0.
        indices: int32 tensor of shape `(capacity, 2)`, their rows and columns in the matrix, in row-major order.
        count: int32 scalar tensor, how many there are.
        window: the product with a matrix of `window.matrix_shape`, rows and columns.
        seen: is told what passes, where the compiled loops serve.

    Returns:
        A tensor of shape `(batch, columns)`.
    """
    if is_on_host(inputs) or is_exporting():
        return convolve(inputs, values, indices, count, window, seen)
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from keras_dsr.backend.sparse_matmul_tensorflow import multiply as of_backend
    elif backend == "jax":
        from keras_dsr.backend.sparse_matmul_jax import multiply as of_backend
    else:
        from keras_dsr.backend.sparse_matmul_torch import multiply as of_backend
    return of_backend(inputs, values, indices, count, window.matrix_shape)
