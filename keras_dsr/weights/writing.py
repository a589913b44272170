"""Writing variables as a whole: an interrupt does not leave masks and weights that do not belong together."""

from collections.abc import Callable
from typing import Any

import keras

ATTEMPTS = 10  # to finish what is interrupted, if the interrupts do not end


def write_all(writes: list[tuple[keras.Variable, Any]]) -> None:
    """Assign each variable its value."""

    def write():
        for variable, value in writes:
            variable.assign(value)

    finish(write, "A reallocation could not be written: masks and weights may not belong together.")


def finish(assign_all: Callable[[], None], failure: str) -> None:
    """Run what assigns variables, again if it is interrupted, before the interrupt goes on its way.

    Raises:
        RuntimeError: each of `ATTEMPTS` attempts was interrupted; `failure` says what that leaves.
    """
    interrupt = None
    for _ in range(ATTEMPTS):
        try:
            assign_all()
            break
        except BaseException as error:
            interrupt = interrupt or error
    else:
        raise RuntimeError(
            f"{failure} Each of {ATTEMPTS} attempts was interrupted. Load the model from a checkpoint."
        ) from interrupt
    if interrupt is not None:
        raise interrupt
