"""Where the variables that belong to a weight are made when a model lies on several devices."""

import contextlib
from collections.abc import Callable, Iterator

import keras


def strategy_of(weight: keras.Variable) -> contextlib.AbstractContextManager:
    """The scope of the `tf.distribute.Strategy` that a weight was made in, for variables that are made later.

    `fit` and its callbacks run outside of it. Does nothing inside the scope of a strategy, or where there is none.
    """
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    strategy = getattr(weight._value, "distribute_strategy", None)
    return contextlib.nullcontext() if strategy is None or tf.distribute.has_strategy() else strategy.scope()


def replicas() -> int:
    """How many replicas of a `tf.distribute.Strategy` take a step together: their gradients add up to the whole."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


class Initial:
    """A function of a shape and a dtype as an initializer that JAX can compile, as Keras does for large variables that
    `keras.distribution` spreads. (It compiles the initializer's `__call__`, and a plain function's cannot be.)
    """

    def __init__(self, function: Callable):
        self._function = function

    def __call__(self, shape, dtype=None):
        return self._function(shape, dtype)


def layout_beside(weight: keras.Variable, shape: tuple[int, ...]) -> keras.distribution.TensorLayout | None:
    """The layout of `keras.distribution` for a variable that belongs to a weight: split as the weight is, or whole.

    A `LayoutMap` knows variables by their paths, and a pattern for kernels would miss their masks.

    Args:
        weight: a Keras variable.
        shape: of the variable that belongs to it: split if it is the weight's, else on each device in full.

    Returns:
        A layout, or None where nothing is distributed.
    """
    layout = getattr(weight, "_layout", None)
    distribution = keras.distribution.distribution()
    if layout is None and distribution is not None:  # of a weight that has no value yet: it will get this one
        layout = distribution.get_variable_layout(weight)
    if layout is None or tuple(shape) == tuple(weight.shape):
        return layout
    return keras.distribution.TensorLayout([None] * len(shape), layout.device_mesh)


@contextlib.contextmanager
def on_this_process() -> Iterator[None]:
    """Inside the block variables are made without `keras.distribution`, so that one process of many can make them."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def stand_in(weight: keras.Variable) -> keras.Variable:
    """For a weight that `keras.distribution` has spread, a variable like it on this process alone, all zeros."""
    if getattr(weight, "_layout", None) is None:
        return weight
    with on_this_process():
        return keras.Variable("zeros", shape=weight.shape, dtype=weight.dtype, name=weight.name)
