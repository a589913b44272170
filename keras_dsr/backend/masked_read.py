"""A masked weight as the network sees it, whose gradient is what a function makes of that which comes back."""

from collections.abc import Callable

import keras
from keras import ops

from keras_dsr.ops.masking import mask_weights


def read_masked(weight, mask, passes, passed_back: Callable):
    """`where(mask, weight, 0)`, with a gradient of one's own.

    Args:
        weight: float tensor.
        mask: bool tensor of its shape.
        passes: another one.
        passed_back: function of the gradient of the result, the weight and both, called when the gradient passes back;
            what it returns is the gradient of the weight. A bound method or a function of a module: JAX knows by it
            what it has traced.
    """
    if keras.backend.backend() == "jax":
        from keras_dsr.backend.masked_read_jax import read_masked as of_backend

        return of_backend(weight, mask, passes, passed_back)

    @ops.custom_gradient
    def read(weight):
        def gradient(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            upstream = ops.convert_to_tensor(upstream)  # that of an embedding may be slices
            return passed_back(upstream, weight, mask, passes)

        return mask_weights(weight, mask), gradient

    return read(ops.reshape(weight, weight.shape))  # not a variable, for which TensorFlow wants a gradient of its own
