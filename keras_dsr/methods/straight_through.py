"""Straight-through training: all weights are trained, and the network sees the largest of them."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_dsr.arguments import check_flag, is_one_of
from keras_dsr.methods.base import Decision, Method, MethodInputs, PrunedTraining
from keras_dsr.methods.dropping import SCOPES
from keras_dsr.methods.growth import grow_where_largest, relative_to_output
from keras_dsr.ops.selection import MAX_KEY, largest, ordered_bits, select_smallest


@dataclasses.dataclass(frozen=True)
class StraightThrough(Method):
    """Magnitude pruning with a straight-through gradient; with N:M patterns SR-STE.

    The network sees the largest weights, as many as the budget has, and 0 in the place of the others. The gradient of
    what it sees trains all of them, also those that it does not see, so that they grow or shrink and may come back:
    with step size a, w <- w - a * (g + decay * w), where the decay is of weights that are not seen alone (Zhou et al.,
    ICLR 2021, arXiv 2102.04010, eq. 9; without it, Bengio et al. 2013, arXiv 1308.3432). Each update selects anew.

    All weights have values and slots, which masked layers store beside the network and no file for others holds: the
    network is sparse at every step, training is not.

    Args:
        decay: float, at least 0, lambda_w of the paper: 2e-4 there for N:M. It steadies what is selected.
        relative_to_output: bool, whether the largest are those of the largest |w| over the root mean square of their
            output's, for networks with batch norm at high sparsity (see `RigL`).
        scope: `"tensor"`, each tensor keeps its number of units; `"global"`, the largest of the whole network are
            selected, one at least in each tensor.
        start: what the weights begin with that the network does not see at first: `"initializer"`, a draw by the
            layer's initializer, as in a dense network; `"zeros"`, for a network that was trained sparse before.

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.StraightThrough(decay=2e-4), period=10)
    """

    decay: float = 0.0
    scope: str = "tensor"
    start: str = "initializer"
    relative_to_output: bool = False

    conserves: ClassVar[bool] = True

    def __post_init__(self):
        PrunedTraining.checked(self.decay, self.start, "StraightThrough")
        check_flag(self.relative_to_output, "StraightThrough", "relative_to_output")
        if not is_one_of(self.scope, SCOPES):
            raise ValueError(f"StraightThrough(scope=...) must be 'tensor' or 'global'. Received: scope={self.scope!r}")

    @property
    def across(self) -> bool:  # type: ignore[override]  # of the class elsewhere, here of an argument
        """Whether the number of a tensor may change."""
        return self.scope == "global"

    @property
    def pruned_training(self) -> PrunedTraining:  # type: ignore[override]  # of the class elsewhere, here of arguments
        """All pruned weights are trained."""
        return PrunedTraining(self.decay, self.start)

    def init(self, inputs: MethodInputs) -> dict:
        """Nothing moved yet."""
        return {"pruned": ops.zeros((), "int32")}

    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        """One selection. `state["pruned"]` comes back as the number of units that are not seen any more."""
        chosen = self._largest(inputs)
        kept = inputs.active & chosen
        pruned = ops.sum(inputs.count(inputs.active)) - ops.sum(inputs.count(kept))
        return Decision(kept, chosen & ~inputs.active), {"pruned": pruned}

    def _largest(self, inputs: MethodInputs):
        """The units of the largest magnitudes, as many as are active, a joined bool tensor."""
        counts, exists = inputs.count(inputs.active), inputs.segments.holds_entry()
        scores = relative_to_output(inputs, inputs.magnitudes) if self.relative_to_output else inputs.magnitudes
        if self.scope == "tensor":
            return largest_units(inputs, counts, scores)
        first = largest(scores, exists, inputs.segments)
        rest = ops.reshape(ops.sum(counts) - len(inputs.names), (1,))
        keys = MAX_KEY - ordered_bits(scores)
        return first | select_smallest(keys, exists & ~first, rest, inputs.segments.joined())


def largest_units(inputs: MethodInputs, counts, scores):
    """In each tensor as many units as asked for, active or not, of the largest scores, ties by position.

    Of a pattern with groups each group has as many as are active in it, whatever `counts` says.

    Args:
        inputs: what the update was given.
        counts: int32 tensor of shape `(tensors,)`.
        scores: joined float tensor, non-negative.

    Returns:
        A joined bool tensor.
    """
    nowhere, none = ~inputs.segments.holds_entry(), ops.zeros_like(inputs.active)
    return grow_where_largest(inputs, nowhere, counts, scores, kept=none).units
