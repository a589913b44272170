"""Cuts some values of one weight inside a `with` block, and restores the model exactly at its end."""

import contextlib
from collections.abc import Callable, Iterator

import keras
import numpy as np
from keras import ops

from keras_dsr.backend.keras_slots import has_value
from keras_dsr.backend.keras_training import forget_values_in_between
from keras_dsr.ops.masking import mask_weights


@contextlib.contextmanager
def kept_whole(model: keras.Model) -> Iterator[None]:
    """A model has all its values after the block, also if an evaluation in it ended by an error or an interrupt.

    On JAX, Keras takes the values out of the variables while it evaluates, and does not put them back where it is
    interrupted. Those that are missing then become what they were before the block.

    Args:
        model: a built and compiled Keras model.
    """
    if keras.backend.backend() != "jax":
        yield
        return
    variables = [*model.variables, *model.metrics_variables]
    before = [np.array(ops.convert_to_numpy(variable)) for variable in variables]  # device buffers may be donated
    try:
        yield
    except BaseException:
        forget_values_in_between(model)
        for variable, value in zip(variables, before):
            if not has_value(variable):
                variable.assign(value)
        raise


@contextlib.contextmanager
def trial(variable: keras.Variable) -> Iterator[Callable[[np.ndarray], None]]:
    """Inside the block a variable may be cut, by one mask after another; after it the variable is as it was.

    That holds of every bit (NaN, -0.0, any dtype), and also if the block ends by an error or an interrupt. Only values
    are assigned, so no compiled function of the model is traced again.

    Args:
        variable: a Keras variable of any float dtype.

    Yields:
        A function of a bool mask of the variable's shape: the variable becomes what it was before the block where the
        mask is true, and 0 elsewhere.

    Raises:
        ValueError: a mask of another shape. The variable is as it was before that call.

    Example:

    >>> with trial(layer.kernel) as keep_only:
    ...     keep_only(np.abs(kernel) > 0.1)
    ...     model.evaluate(x, y)
    """
    before = ops.copy(ops.convert_to_tensor(variable))  # not by way of numpy, which has no bfloat16 on some backends

    def keep_only(mask: np.ndarray) -> None:
        mask = np.asarray(mask, dtype=bool)
        if mask.shape != tuple(variable.shape):
            raise ValueError(
                f"A mask of {variable.path!r} must have its shape, {tuple(variable.shape)}. Received: shape "
                f"{mask.shape}. Draw the mask from the values of this variable."
            )
        variable.assign(mask_weights(before, mask))

    try:
        yield keep_only
    finally:
        variable.assign(before)
