"""For how many weights a layer in compact storage has room, as reallocation may move weights to it from others."""

import math
import numbers

CAPACITY = 1.5


def check_capacity(capacity: int | float, owner: str) -> int | float:
    """Return the capacity, or raise `ValueError` if it is neither a multiple of at least 1 nor a positive int."""
    is_number = isinstance(capacity, numbers.Real) and not isinstance(capacity, bool)
    if not is_number or not 1 <= capacity < math.inf:
        raise ValueError(
            f"{owner}(capacity=...) must be a float of at least 1, a multiple of the weights that the layer starts "
            f"with, or an int, a number of weights. Received: capacity={capacity!r}"
        )
    return int(capacity) if isinstance(capacity, numbers.Integral) else float(capacity)


def room_for(capacity: int | float | None, count: int, places: int, owner: str) -> int:
    """For how many weights a layer that starts with `count` has room, or raise `ValueError` if for fewer than that."""
    capacity = CAPACITY if capacity is None else capacity
    size = int(capacity) if isinstance(capacity, numbers.Integral) else math.ceil(capacity * count)
    if size < count:
        raise ValueError(
            f"{owner}(capacity=...) must have room for the {count:,} weights that the layer starts with. "
            f"Received: capacity={capacity!r}"
        )
    return min(size, places)
