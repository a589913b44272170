"""SNFS: drop the smallest weights, and share their number among the tensors by the momentum of what they have."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_dsr.arguments import check_flag, is_number
from keras_dsr.methods.base import Decision, Method, MethodInputs
from keras_dsr.methods.dropping import annealed, check_end_step, check_fraction, drop_smallest
from keras_dsr.methods.growth import check_relative_to_output, grow_where_largest, relative_to_output, taken_in_all
from keras_dsr.ops.apportionment import LARGEST_TOTAL, share_proportionally
from keras_dsr.ops.masking import mask_weights
from keras_dsr.schedules import Schedule

_EXACT = 2**24  # float32 counts to here
_SMALLEST, _LARGEST = 1e-37, 3e38  # what float32 holds without loss


@dataclasses.dataclass(frozen=True)
class SNFS(Method):
    """Sparse momentum, "sparse networks from scratch" (Dettmers & Zettlemoyer 2019, arXiv 1907.04840, Algorithm 1).

    Momentum is the moving average of the loss's gradient. Each update drops, in every tensor, a fraction of the active
    units, those of smallest magnitude; shares the number dropped among the tensors in proportion to the mean |momentum|
    of the units that were active; and grows each share where |momentum| is largest among the positions that were pruned
    before, at weight 0. The total number of units never changes.

    At step t the fraction is fraction / 2 * (1 + cos(pi * t / end_step)); from `end_step` on nothing moves. A
    moving average is kept for every position; layers in compact storage refuse that.

    Args:
        fraction: float in (0, 1), the prune rate p of the paper: the fraction of the active units of a tensor that is
            dropped at step 0, rounded to a whole number; one always stays. Or a
            schedule of it (`keras_dsr.schedules`), in the place of the cosine.
        end_step: int, positive, in optimizer steps: as a rule, that at which training ends.
        momentum: float in [0, 1), the decay of the moving average.
        relative_to_output: bool, as that of `RigL`, where a tensor grows; what is shared among tensors does not change.

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.SNFS(fraction=0.5, end_step=25_000), period=500)
    """

    fraction: float | Schedule = 0.5
    end_step: int = 25_000
    momentum: float = 0.9
    relative_to_output: bool = False

    conserves: ClassVar[bool] = True
    across: ClassVar[bool] = True

    def __post_init__(self):
        check_fraction(self.fraction, "SNFS")
        check_end_step(self.end_step, "SNFS")
        check_flag(self.relative_to_output, "SNFS", "relative_to_output")
        if not is_number(self.momentum) or not 0 <= self.momentum < 1:
            raise ValueError(
                "SNFS(momentum=...) must be a float in [0, 1): the decay of the moving average of the gradients "
                f"(0: the last gradient alone). Received: momentum={self.momentum!r}"
            )

    @property
    def gradient_decay(self) -> float:  # type: ignore[override]  # of the class elsewhere, here of an argument
        """The decay of the gradients that `update` is to be given: `momentum`."""
        return float(self.momentum)

    def init(self, inputs: MethodInputs) -> dict:
        """Nothing dropped yet."""
        if self.relative_to_output:
            check_relative_to_output(inputs, "SNFS")
        return {"pruned": ops.zeros((), "int32")}

    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        """One reallocation. `state["pruned"]` comes back as the number of units dropped (and grown)."""
        dropped = drop_smallest(inputs, annealed(self.fraction, inputs.step, self.end_step))
        kept, pruned = inputs.active & ~dropped, ops.sum(inputs.count(dropped))
        taken, capacities = taken_in_all(inputs, kept)
        shares = share_proportionally(pruned, contributions(inputs), capacities)
        scores = relative_to_output(inputs, inputs.gradient_magnitudes) if self.relative_to_output else None
        grown = grow_where_largest(inputs, taken, shares, scores)
        return Decision(kept, grown), {"pruned": pruned}


def contributions(inputs: MethodInputs):
    """The mean momentum of each tensor's active units, scaled to integers for `share_proportionally`.

    Returns:
        An int32 tensor of shape `(tensors,)` with a sum below `LARGEST_TOTAL`, at least 1 each: where all others are
        full, a tensor without momentum takes the rest.
    """
    of_active = inputs.segments.split(mask_weights(inputs.gradient_magnitudes, inputs.active))
    sums = ops.stack([ops.sum(momentum) for momentum in of_active])
    means = sums / ops.cast(inputs.count(inputs.active), "float32")
    means = ops.minimum(means, _LARGEST)
    relative = means / ops.maximum(ops.max(means), _SMALLEST)
    return 1 + ops.cast(ops.round(relative * (min(_EXACT, LARGEST_TOTAL // len(of_active)) - 2)), "int32")
