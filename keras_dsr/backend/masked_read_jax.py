"""A masked weight with a gradient of one's own (see `backend.masked_read`) on JAX.

`keras.ops.custom_gradient` would trace at once what passes back, before it is known what else reads the weight.
"""

import functools

import jax

from keras_dsr.ops.masking import mask_weights


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def read_masked(weight, mask, passes, passed_back):
    """As `backend.masked_read.read_masked`."""
    return mask_weights(weight, mask)


def _forward(weight, mask, passes, passed_back):
    return mask_weights(weight, mask), (weight, mask, passes)


def _backward(passed_back, kept, upstream):
    return passed_back(upstream, *kept), None, None


read_masked.defvjp(_forward, _backward)
