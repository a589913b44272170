"""Objects that are alive: what nothing in Keras leads to is found there."""

import gc
from collections.abc import Iterable


def alive(*of: type) -> list:
    """Every object of some classes, or of those derived from them, that there is in this process."""
    # A layer does not know the models that it lies in, nor a variable its optimizers: the garbage collector knows all
    # objects. By their types, for `isinstance` would run code of objects that stand in for others; 0.09 s for 450,000.
    # (`gc.get_referrers(*kinds)` takes half of that, and was seen to crash the process.)
    kinds = _with_subclasses(of)
    return [found for found in gc.get_objects() if type(found) in kinds]


def _with_subclasses(kinds: Iterable[type]) -> set[type]:
    found, unseen = set(kinds), list(kinds)
    while unseen:
        new = set(type.__subclasses__(unseen.pop())) - found
        found |= new
        unseen += new
    return found
