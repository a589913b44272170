"""A function of tensors as one compiled program of the backend."""

from collections.abc import Callable

import keras


def compiled_program(read: Callable[[], tuple], decide: Callable) -> Callable:
    """`given -> decide(given, *read())` as one compiled program of the backend (plain on torch)."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # It reads the variables itself: to hand it a hundred tensors takes longer than to decide for a small network.
        return tf.function(lambda given: decide(given, *read()), autograph=False)
    if backend == "jax":
        import jax

        program = jax.jit(decide)
        return lambda given: program(given, *read())
    if backend == "torch":
        import torch

        return torch.no_grad()(lambda given: decide(given, *read()))
    raise RuntimeError(f"keras_dsr reallocates on tensorflow, jax and torch. Received: backend={backend!r}")
