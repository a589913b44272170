"""The list of callbacks that a `fit` calls: Keras makes it and tells no callback of it."""

import inspect
from collections.abc import Callable
from typing import Any

import keras


class EpochLogs(keras.callbacks.Callback):
    """Adds to the logs of an epoch what another callback has to say, before the callbacks that read them."""

    def __init__(self, of: keras.callbacks.Callback, add: Callable[[int, dict | None], None]):
        super().__init__()
        self.of = of
        self._add = add

    def on_epoch_end(self, epoch, logs=None):
        self._add(epoch, logs)


def log_before_others(callback: keras.callbacks.Callback, add: Callable[[int, dict | None], None]) -> bool:
    """Have the list that is calling a callback call `add` at the end of each epoch before all that is listed there.

    Every callback of a list gets one and the same dict of logs, in the order of the list, so that a logger sees only
    what callbacks before it have put there. What is called first is called beside the user's callbacks, and none of
    these is changed or moved.

    Args:
        callback: the one whose hook calls this.
        add: a function of the epoch and its logs.

    Returns:
        Whether it will be called so; not where the hook was called by something else than a Keras list of callbacks.
    """
    called_by = _calling_list(callback)
    if called_by is None:
        return False
    others = [one for one in called_by.callbacks if not (isinstance(one, EpochLogs) and one.of is callback)]
    place = sum(isinstance(one, EpochLogs) for one in others)
    # A new list: the old one is being gone through.
    called_by.callbacks = [*others[:place], EpochLogs(callback, add), *others[place:]]
    return True


def _calling_list(callback: keras.callbacks.Callback) -> keras.callbacks.CallbackList | None:
    frame = inspect.currentframe()
    while frame is not None:
        owner: Any = frame.f_locals.get("self")
        if issubclass(type(owner), keras.callbacks.CallbackList) and any(one is callback for one in owner.callbacks):
            return owner
        frame = frame.f_back
    return None
