"""What can be done while a backend traces a step, and what cannot."""

import contextlib

import keras

from keras_dsr.backend.distribution import replicas


def outside_traces() -> contextlib.AbstractContextManager:
    """Where variables are made and assigned at once. TensorFlow's `fit` builds optimizers while it traces a step."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.init_scope()


def is_eager() -> bool:
    """Whether what is computed here can be looked at."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.executing_eagerly() and replicas() == 1
    return backend == "torch"


def writes_in_branches() -> bool:
    """Whether variables can be assigned to in the branches of a conditional."""
    backend = keras.backend.backend()
    return backend == "torch" or (backend == "tensorflow" and replicas() == 1)
