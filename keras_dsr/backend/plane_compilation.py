"""Whether the loops over planes can be compiled here, and what is said while they are."""

import contextlib
import functools
import logging
import threading

import keras
import numpy as np


@functools.lru_cache(maxsize=1)
def kernels():
    """The module of the loops, which needs numba."""
    from keras_dsr.backend import plane_kernels

    return plane_kernels


_COMPILED: set = set()


@contextlib.contextmanager
def announced(*which):
    """Says what takes so long, if the first of its kind takes more than a second."""
    if which in _COMPILED:
        yield
        return
    _COMPILED.add(which)
    timer = threading.Timer(1.0, _say, [f"Compiling sparse products for {which[1]}, once on this machine."])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _say(text: str) -> None:
    if keras.config.is_interactive_logging_enabled():
        print(text, flush=True)
    else:
        logging.getLogger("keras_dsr").info(text)


@functools.lru_cache(maxsize=1)
def is_available() -> bool:
    """Whether numba is there and compiles. If not, says so once."""
    try:
        starts, order = kernels().grouped(np.zeros(1, "int64"), 1)
        numbers = np.ones(8, "float32")
        kernels().product(0, 1, starts, order, numbers, numbers, np.empty_like(numbers), 8, 8, ((),) * 8)
    except Exception as error:  # whatever numba or its compiler raises
        logging.getLogger("keras_dsr").info(
            "Layers in compact storage use the slower products of %s, and convolutions make their dense kernel in "
            "every step, as numba does not work (%s). Install it: pip install keras-dsr[fast]",
            keras.backend.backend(),
            error,
        )
        return False
    return True
