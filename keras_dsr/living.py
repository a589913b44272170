"""Objects that are alive: what nothing in Keras leads to is found there."""

import gc


def alive(kind: type) -> list:
    """Every object of a class, or of one derived from it, that there is in this process."""
    # A layer does not know the models that it lies in, nor a variable its optimizers: but an object refers to its
    # class, and the garbage collector finds what refers to something. 0.04 s among 450,000 objects; all of them in a
    # list take 0.11 s.
    kinds = _with_subclasses(kind)
    return [found for found in gc.get_referrers(*kinds) if type(found) in kinds]


def _with_subclasses(kind: type) -> set[type]:
    found, unseen = {kind}, [kind]
    while unseen:
        new = set(type.__subclasses__(unseen.pop())) - found
        found |= new
        unseen += new
    return found
