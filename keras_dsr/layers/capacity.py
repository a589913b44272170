"""For how many weights a layer in compact storage has room, as reallocation may move weights to it from others."""

import math
import numbers

from keras_dsr.arguments import is_number, is_whole

CAPACITY = 1.5


def check_capacity(capacity: int | float, owner: str) -> int | float:
    """Return the capacity, or raise `ValueError` if it is neither a multiple of at least 1 nor a positive int."""
    if not (is_number(capacity) or is_whole(capacity)) or capacity < 1:
        raise ValueError(
            f"{owner}(capacity=...) must be a float of at least 1, a multiple of the weights that the layer starts "
            f"with, or an int, a number of weights. Received: capacity={capacity!r}"
        )
    return int(capacity) if isinstance(capacity, numbers.Integral) else float(capacity)


def room_for(
    capacity: int | float | None,
    count: int,
    places: int,
    owner: str,
    layer: str = "the layer",
    unit_size: int = 1,
) -> int:
    """For how many weights a layer that starts with `count` has room, or raise `ValueError` if for fewer than that.

    It is room for whole units, each of `unit_size` weights.
    """
    capacity = CAPACITY if capacity is None else capacity
    if isinstance(capacity, numbers.Integral):
        size = int(capacity) // unit_size * unit_size
    else:
        size = math.ceil(capacity * count / unit_size) * unit_size
    if size < count:
        raise ValueError(
            f"{owner}(capacity=...) must have room for the {count:,} weights that {layer} starts with. "
            f"Received: capacity={capacity!r}"
        )
    return min(size, places)
