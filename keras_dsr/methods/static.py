"""Static: the mask that a network starts with never changes."""

import dataclasses
from typing import ClassVar

from keras_dsr.methods.base import Decision, Method, MethodInputs


@dataclasses.dataclass(frozen=True)
class Static(Method):
    """Static sparse training: the random mask of the first step is the mask of the last.

    The baseline of Mostafa & Wang (ICML 2019, arXiv 1902.05967, section 4). A model with sparse layers that is trained
    without a callback does the same; `Static` is there to be passed where a method is asked for.

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.Static())
    """

    conserves: ClassVar[bool] = True

    def init(self, inputs: MethodInputs) -> dict:
        """Nothing to remember."""
        return {}

    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        """The masks as they are."""
        return Decision(inputs.active), state
