"""The convolution of training (see `backend.sparse_convolution`) on JAX: a program calls back to Python."""

import functools
import weakref

import jax

from keras_dsr.backend.jax_host_calls import call, numbered
from keras_dsr.backend.plane_convolution import convolution_of


def convolve(inputs, values, indices, count, window, seen=None):
    """As `backend.sparse_convolution.convolve`."""
    return _convolved(inputs, values, indices, count, window, seen)


def _forward_on_host(window, seen, arguments, results) -> None:
    inputs, values, indices, count = arguments
    if seen is not None and seen() is not None:
        seen().forward()
    convolution = convolution_of(window, inputs.shape)
    convolution.forward(inputs, values, convolution.structure(indices, int(count)), results[0])


def _backward_on_host(window, seen, arguments, results) -> None:
    inputs, upstream, values, indices, count = arguments
    if seen is not None and seen() is not None:
        seen().backward(inputs, upstream)
    convolution = convolution_of(window, inputs.shape)
    convolution.backward(inputs, upstream, values, convolution.structure(indices, int(count)), *results)


_NUMBERS: dict = {}


def _number(function, window, seen) -> int:
    """That of one of the functions above, of this window and layer: programs hold numbers, and no layer."""
    key = function, window, None if seen is None else id(seen)
    if key not in _NUMBERS:
        _NUMBERS[key] = numbered(functools.partial(function, window, None if seen is None else weakref.ref(seen)))
        if seen is not None:
            weakref.finalize(seen, _NUMBERS.pop, key)
    return _NUMBERS[key]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _convolved(inputs, values, indices, count, window, seen):
    result = jax.ShapeDtypeStruct(convolution_of(window, inputs.shape).output_shape, inputs.dtype)
    return call(_number(_forward_on_host, window, seen), [result], inputs, values, indices, count)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _gradients(inputs, upstream, values, indices, count, window, seen=None):
    shapes = [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in (inputs, values)]
    return tuple(call(_number(_backward_on_host, window, seen), shapes, inputs, upstream, values, indices, count))


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
