"""The methods of training that a run can use, by name."""

from collections.abc import Callable
from typing import NamedTuple

import keras

import keras_dsr as dsr
from train.recipes import Recipe


class Method(NamedTuple):
    """How a method trains a network.

    Attributes:
        sparse: whether the network is built with sparse layers.
        callback: from (recipe, target, epochs, seed) to the callback that moves weights; None: none are moved.
    """

    sparse: bool
    callback: Callable[[Recipe, int | float, int, int], keras.callbacks.Callback] | None = None

    @property
    def moves(self) -> bool:
        """Whether it moves weights, and so has a `target`."""
        return self.callback is not None


def _dsr(recipe: Recipe, target: int | float, epochs: int, seed: int) -> dsr.DSRCallback:
    stretch = epochs / recipe.epochs
    period = {}
    for start, steps in recipe.period:
        period.setdefault(round(start * stretch), steps)  # a short run may squeeze several marks into one epoch
    return dsr.DSRCallback(
        target=target, period=list(period.items()), stop_at=round(recipe.stop_at * stretch), seed=seed
    )


METHODS = {
    "dense": Method(sparse=False),
    "static": Method(sparse=True),
    "dsr": Method(sparse=True, callback=_dsr),
}
