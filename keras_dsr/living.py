"""Objects that are alive: what nothing in Keras leads to is found there."""

import gc


def alive(kind: type) -> list:
    """Every object of a kind that there is in this process."""
    # A layer does not know the models that it lies in, nor a variable its optimizers: the garbage collector knows all
    # objects. By their types, for `isinstance` would run code of objects that stand in for others; 0.06 s for 450,000.
    objects = gc.get_objects()
    kinds = {one for one in set(map(type, objects)) if issubclass(one, kind)}
    return [found for found in objects if type(found) in kinds]
