"""Methods that prune before training, by what weights are worth then."""

import dataclasses

from train.methods.base import Method


@dataclasses.dataclass(frozen=True)
class AtInitialization(Method):
    """Masks of `keras_dsr.masks_at_initialization`, which stay.

    Attributes:
        worth: its `method`, such as `"snip"`.
        examples: int, how many of the training set it looks at.
    """

    kernels = "scored"
    worth: str = "snip"
    examples: int = 1000
