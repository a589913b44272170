"""Small networks on the digits of scikit-learn, and how the tests look into them."""

import contextlib
import functools

import keras
import numpy as np
import pytest
from keras.src.backend.common import global_state
from sklearn import datasets

import keras_dsr as dsr


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 images of 64 pixels in [0, 1], float32, and their classes."""
    images, classes = datasets.load_digits(return_X_y=True)
    return (images / 16).astype("float32"), classes.astype("int32")


def selected(everything, default) -> list:
    """Values for `pytest.mark.parametrize`: those of `default` always run, the others with --thorough."""
    return [one if one in default else pytest.param(one, marks=pytest.mark.thorough) for one in everything]


def batch(size: int = 8) -> np.ndarray:
    return digits()[0][:size]


def perceptron(sparsity: float = 0.8, seed: int = 1, hidden: int = 24, dtype=None) -> keras.Model:
    """Two sparse layers, 64-24-10, that return logits."""
    return keras.Sequential(
        [
            keras.Input((64,)),
            dsr.SparseDense(hidden, sparsity=sparsity, mask_seed=seed, activation="relu", name="hidden", dtype=dtype),
            dsr.SparseDense(10, sparsity=sparsity, mask_seed=seed + 1, name="classes", dtype=dtype),
        ]
    )


def compiled(model: keras.Model, optimizer="adam", jit_compile=None, **settings) -> keras.Model:
    """The model, compiled for the digits; without XLA on TensorFlow, where it takes longer than these models to train.

    On JAX that is what users run, and a step that is not compiled takes one operation after another.
    """
    jit_compile = keras.backend.backend() == "jax" if jit_compile is None else jit_compile
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=jit_compile, **settings)
    return model


def fit(model: keras.Model, *callbacks, batches: int = 6, epochs: int = 1, **settings) -> keras.callbacks.History:
    """Fit `batches` batches of 32 digits an epoch, in their order."""
    images, classes = digits()
    settings = {"batch_size": 32, "shuffle": False, "verbose": 0, **settings}
    return model.fit(
        images[: 32 * batches], classes[: 32 * batches], epochs=epochs, callbacks=list(callbacks), **settings
    )


def values(variable) -> np.ndarray:
    """A copy of a variable (or tensor) as a numpy array."""
    return np.array(keras.ops.convert_to_numpy(variable))


def bits(array) -> bytes:
    """What is compared where equality must be of every bit: -0.0 is not 0.0, and NaN equals itself."""
    return values(array).tobytes()


def state_bits(model: keras.Model) -> list[bytes]:
    """Every variable of a model and of its optimizer, bit for bit."""
    optimizer = getattr(model, "optimizer", None)
    return [bits(variable) for variable in [*model.variables, *(optimizer.variables if optimizer else [])]]


def fill_dead(layer, value: float) -> None:
    """Store a value at the pruned positions of a layer, where no network and no file may see it."""
    kernel, mask = values(layer.variable_of("kernel")), values(layer.kernel_mask)
    kernel[~mask] = value
    layer.variable_of("kernel").assign(kernel)


def int32(value):
    """A number or numbers as an int32 tensor of the backend."""
    return keras.ops.convert_to_tensor(value, "int32")


def dtype_of(tensor) -> str:
    """The name of the dtype of a tensor or array of any backend."""
    return keras.backend.standardize_dtype(tensor.dtype)


def program(function, jit_compile: bool | None = None):
    """A function of tensors as one compiled program of the backend; on torch, which has none here, as it is."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False, jit_compile=jit_compile)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


def gradient_of(function, variable):
    """The gradient of a scalar function without arguments with respect to a Keras variable that it reads."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            result = function()
        return tape.gradient(result, variable.value)
    if keras.backend.backend() == "jax":
        import jax

        def of_value(value):
            with keras.StatelessScope([(variable, value)]):
                return function()

        return jax.grad(of_value)(variable.value)
    import torch

    return torch.autograd.grad(function(), variable.value)[0]


def active_counts(model: keras.Model) -> list[int]:
    return [weight.count() for weight in dsr.sparse_weights(model)]


@contextlib.contextmanager
def shapes_only():
    """In this block variables have shapes and no values, and take no memory."""
    pending = "uninitialized_variables"  # Keras would give them values when the next scope of its kind ends
    before = list(global_state.get_global_attribute(pending, []))
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        global_state.set_global_attribute(pending, before)
