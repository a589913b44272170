"""What layers need when their variables are made, and when some are added later."""

import contextlib
import random
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def unlocked(layer: keras.layers.Layer) -> Iterator[None]:
    """Inside the block variables can be added to, and taken from, a built layer."""
    layer._tracker.unlock()
    try:
        yield
    finally:
        layer._tracker.lock()


def drawn_seed(seed: int | None) -> int:
    """The seed, or one from Python's random numbers for None."""
    return random.randint(1, 10**9) if seed is None else seed
