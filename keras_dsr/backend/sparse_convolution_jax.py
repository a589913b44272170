"""The convolution of training (see `backend.sparse_convolution`) on JAX: a program calls back to Python."""

import functools

import jax
import numpy as np

from keras_dsr.backend.plane_convolution import convolution_of


def convolve(inputs, values, indices, count, window):
    """As `backend.sparse_convolution.convolve`."""
    return _convolved(inputs, values, indices, count, window)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _convolved(inputs, values, indices, count, window):
    shape = convolution_of(window, inputs.shape).output_shape

    def on_host(inputs, values, indices, count):
        arrays = [np.asarray(each) for each in (inputs, values, indices)]
        return convolution_of(window, arrays[0].shape).forward(*arrays, int(count))

    result = jax.ShapeDtypeStruct(shape, inputs.dtype)
    return jax.pure_callback(on_host, result, inputs, values, indices, count, vmap_method="sequential")


def _forward(inputs, values, indices, count, window):
    return _convolved(inputs, values, indices, count, window), (inputs, values, indices, count)


def _backward(window, kept, upstream):
    inputs, values, indices, count = kept

    def on_host(inputs, upstream, values, indices, count):
        arrays = [np.asarray(each) for each in (inputs, upstream, values, indices)]
        return convolution_of(window, arrays[0].shape).backward(*arrays, int(count))

    shapes = [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in (inputs, values)]
    given = inputs, upstream, values, indices, count
    return *jax.pure_callback(on_host, shapes, *given, vmap_method="sequential"), None, None


_convolved.defvjp(_forward, _backward)
