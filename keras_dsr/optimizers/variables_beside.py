"""What an optimizer keeps beside a trainable variable: placed, split over devices and named as that one."""

import keras
from keras import ops

from keras_dsr.backend.distribution import Initial, layout_beside, strategy_of
from keras_dsr.layers.record import RECORD_SHAPE, Record


def add_like(
    optimizer: keras.optimizers.Optimizer,
    variable: keras.Variable,
    name: str,
    dtype: str,
    value=None,
    aggregation: str = "none",
) -> keras.Variable:
    """Add a variable of the shape of a trainable one to an optimizer: zeros, or the value given."""
    # It starts as it should be: an assignment would be lost in a traced scope.
    given = Initial(lambda shape, dtype: ops.convert_to_tensor(value, dtype))
    with strategy_of(variable):
        return optimizer.add_variable(
            shape=variable.shape,
            initializer="zeros" if value is None else given,
            dtype=dtype,
            aggregation=aggregation,
            layout=layout_beside(variable, variable.shape),
            name=_name(variable, name),
        )


def add_record(optimizer: keras.optimizers.Optimizer, variable: keras.Variable, record: Record) -> keras.Variable:
    """Add the variable to an optimizer that holds what is remembered of the mask of a trainable one."""
    given = Initial(lambda shape, dtype: ops.convert_to_tensor(record.array(), dtype))
    layout = layout_beside(variable, RECORD_SHAPE)
    return optimizer.add_variable(
        RECORD_SHAPE, initializer=given, dtype="int32", layout=layout, name=_name(variable, "record")
    )


def _name(variable: keras.Variable, what: str) -> str:
    return f"{variable.path.replace('/', '_')}_{what}"
