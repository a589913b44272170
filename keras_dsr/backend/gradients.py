"""Gradients of functions of a model's variables, and of their products with a vector, without a change to the model."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops


def gradients(function: Callable, values: Sequence[np.ndarray], vector: Sequence[np.ndarray] | None = None) -> list:
    """The gradients of a scalar function of tensors.

    Args:
        function: from a list of tensors to a scalar tensor.
        values: arrays, where it is differentiated.
        vector: arrays of their shapes: the gradient of the product of the gradients with it is returned in place of
            the gradients, the Hessian times the vector. None: the gradients.

    Returns:
        A list of NumPy arrays; zeros where the function does not depend on a value.
    """
    backend = keras.backend.backend()
    of_backend = {"tensorflow": _on_tensorflow, "jax": _on_jax, "torch": _on_torch}[backend]
    found = of_backend(function, [ops.convert_to_tensor(value) for value in values], vector)
    return [
        np.zeros(value.shape, value.dtype) if gradient is None else ops.convert_to_numpy(gradient)
        for gradient, value in zip(found, values)
    ]


def with_values(variables: Sequence[keras.Variable], function: Callable) -> Callable:
    """A function of tensors that calls another, without arguments, while the variables have these as their values.

    What is assigned to variables meanwhile, such as moving averages, is dropped.
    """

    def called(values):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function()

    return called


def _dot(gradients, vector):
    parts = [ops.sum(gradient * part) for gradient, part in zip(gradients, vector) if gradient is not None]
    return sum(parts[1:], parts[0])


def _on_tensorflow(function, values, vector):
    import tensorflow as tf

    with tf.GradientTape() as outer:
        outer.watch(values)
        with tf.GradientTape() as inner:
            inner.watch(values)
            result = function(values)
        found = [
            None if gradient is None else tf.convert_to_tensor(gradient) for gradient in inner.gradient(result, values)
        ]
        product = None if vector is None else _dot(found, vector)
    return found if vector is None else outer.gradient(product, values)


def _on_jax(function, values, vector):
    import jax

    gradient = jax.grad(function)
    if vector is None:
        return jax.jit(gradient)(values)
    return jax.jit(jax.grad(lambda values: _dot(gradient(values), vector)))(values)


def _on_torch(function, values, vector):
    import torch

    with torch.enable_grad():
        values = [value.detach().clone().requires_grad_() for value in values]
        result = function(values)
        found = torch.autograd.grad(result, values, create_graph=vector is not None, allow_unused=True)
        if vector is None:
            return [None if gradient is None else gradient.detach() for gradient in found]
        product = _dot(found, [ops.convert_to_tensor(part) for part in vector])
        return [
            None if gradient is None else gradient.detach()
            for gradient in torch.autograd.grad(product, values, allow_unused=True)
        ]
