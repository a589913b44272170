"""The convolution of training (see `backend.sparse_convolution`) on JAX: a program calls back to Python."""

import functools

import jax
import numpy as np

from keras_dsr.backend.plane_convolution import convolution_of


def convolve(inputs, values, indices, count, window, seen=None):
    """As `backend.sparse_convolution.convolve`."""
    return _convolved(inputs, values, indices, count, window, seen)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _convolved(inputs, values, indices, count, window, seen):
    def on_host(inputs, values, indices, count):
        if seen is not None:
            seen.forward()
        arrays = [np.asarray(each) for each in (inputs, values)]
        convolution = convolution_of(window, arrays[0].shape)
        return convolution.forward(*arrays, convolution.structure(np.asarray(indices), int(count)))

    result = jax.ShapeDtypeStruct(convolution_of(window, inputs.shape).output_shape, inputs.dtype)
    return jax.pure_callback(on_host, result, inputs, values, indices, count, vmap_method="sequential")


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _gradients(inputs, upstream, values, indices, count, window, seen=None):
    def on_host(inputs, upstream, values, indices, count):
        arrays = [np.asarray(each) for each in (inputs, upstream, values)]
        if seen is not None:
            seen.backward(*arrays[:2])
        convolution = convolution_of(window, arrays[0].shape)
        return convolution.backward(*arrays, convolution.structure(np.asarray(indices), int(count)))

    shapes = [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in (inputs, values)]
    given = inputs, upstream, values, indices, count
    return tuple(jax.pure_callback(on_host, shapes, *given, vmap_method="sequential"))


def _forward(*given):
    return _convolved(*given), given[:4]


def _backward(window, seen, kept, upstream):
    inputs, values, indices, count = kept
    return *_gradients(inputs, upstream, values, indices, count, window, seen), None, None


def _forward_of_gradients(*given):
    return _gradients(*given), given[:5]


def _second(window, seen, kept, of_gradients):
    """Both gradients are linear in the upstream, and each in one of the others."""
    if seen is not None:
        seen.is_differentiated_again = True
    inputs, upstream, values, *where = kept
    of_inputs, of_values = of_gradients
    for_inputs, for_values = _gradients(of_inputs, upstream, of_values, *where, window)
    for_upstream = convolve(of_inputs, values, *where, window) + convolve(inputs, of_values, *where, window)
    return for_inputs, for_upstream, for_values, None, None


_convolved.defvjp(_forward, _backward)
_gradients.defvjp(_forward_of_gradients, _second)
