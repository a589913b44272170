"""Static: the mask that a network starts with never changes."""

import dataclasses
from typing import ClassVar

from keras_dsr.methods.base import View
from keras_dsr.ops.masking import mask_weights


@dataclasses.dataclass(frozen=True)
class Static:
    """Static sparse training: the random mask of the first step is the mask of the last.

    The baseline of Mostafa & Wang (ICML 2019, arXiv 1902.05967, section 4). A model with sparse layers that is trained
    without a callback does the same; `Static` is there to be passed where a method is asked for.

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.Static())
    """

    conserves: ClassVar[bool] = True
    every_step: ClassVar[bool] = False
    gradient_decay: ClassVar[float | None] = None
    grows_compact: ClassVar[bool] = True

    def init(self, view: View) -> dict:
        """Nothing to remember."""
        return {}

    def update(self, view: View, state: dict, seed: int) -> tuple[list, list, dict]:
        """The masks as they are."""
        weights = [mask_weights(weight, mask) for weight, mask in zip(view.weights, view.masks)]
        return weights, list(view.masks), state
