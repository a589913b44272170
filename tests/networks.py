"""Small networks on the digits of scikit-learn, and how the tests look into them."""

import functools

import keras
import numpy as np
from sklearn import datasets

import keras_dsr as dsr


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 images of 64 pixels in [0, 1], float32, and their classes."""
    images, classes = datasets.load_digits(return_X_y=True)
    return (images / 16).astype("float32"), classes.astype("int32")


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


def compiled(model: keras.Model, optimizer="adam", jit_compile=False, **settings) -> keras.Model:
    """The model, compiled for the digits; without XLA, which takes longer to compile than these models to train."""
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
    """Store a value at the dead places of a layer, where no network and no file may see it."""
    kernel, mask = values(layer.variable_of("kernel")), values(layer.kernel_mask)
    kernel[~mask] = value
    layer.variable_of("kernel").assign(kernel)


def active_counts(model: keras.Model) -> list[int]:
    return [weight.count() for weight in dsr.sparse_weights(model)]
