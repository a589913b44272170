"""Movement pruning: what moves towards zero while it is trained goes, however large it is."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_dsr.methods.base import Decision, Method, MethodInputs, PrunedTraining
from keras_dsr.methods.gradual_pruning import GradualPruning, pruning_of
from keras_dsr.methods.growth import refuse_groups
from keras_dsr.ops.masking import mask_weights
from keras_dsr.ops.selection import MAX_KEY, select_smallest, signed_bits


@dataclasses.dataclass(frozen=True)
class MovementPruning(Method):
    """Movement pruning (Sanh, Wolf & Rush, NeurIPS 2020, arXiv 2005.07683, eq. 3 and section 4), for fine-tuning.

    Each weight has a score, S <- S - w * g at each update, with the gradient g of what the network sees: it rises while
    the weight moves away from zero. The weights with the largest scores stay, as many as the schedule of
    `GradualPruning` says. The scores of pruned weights go on (straight-through), and so a pruned weight may come back,
    with the value that it had; it is not trained meanwhile (what momentum it had dies out). Of slices and blocks the
    mean of the scores counts.

    In the paper scores change at every step: `Reallocate(..., period=1)`. With a longer period the steps between
    updates are left out. The product is of the gradient of a step and the weight after it. Start from sparse layers of
    `sparsity=0` with pretrained weights. The number of active units is **not** conserved.

    Args:
        final_sparsity: float in [0, 1), of each tensor at the end.
        begin_step, end_step: ints, of the pruning, in optimizer steps. Scores add up from the first update on.

    Example:

    >>> method = keras_dsr.methods.MovementPruning(final_sparsity=0.9, begin_step=200, end_step=2_000)
    >>> model.fit(x, y, epochs=3, callbacks=[keras_dsr.Reallocate(method, period=1)])
    """

    final_sparsity: float = 0.9
    begin_step: int = 0
    end_step: int = 10_000

    gradient_decay: ClassVar[float | None] = 0.0
    pruned_training: ClassVar[PrunedTraining | None] = PrunedTraining(0.0, "zeros")

    def __post_init__(self):
        self._pruning  # noqa: B018 (it checks its arguments, which are ours)

    @property
    def _pruning(self) -> GradualPruning:
        return pruning_of("MovementPruning", 0.0, self.final_sparsity, self.begin_step, self.end_step)

    def init(self, inputs: MethodInputs) -> dict:
        """The scores, as the layers hold them, at first 0.

        Raises:
            ValueError: a pattern whose groups each have a number of their own.
        """
        refuse_groups(inputs, "MovementPruning selects in a tensor as a whole", "Use GradualPruning")
        scores = inputs.retained.get("scores") or [ops.zeros(mask.shape, "float32") for mask in inputs.masks]
        return {"scores": scores, "pruned": ops.zeros((), "int32")}

    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        """Add to the scores, and prune to the schedule. `state["pruned"]` comes back as the number of units pruned."""
        scores = [
            score - _product(weight, gradient)
            for score, weight, gradient in zip(state["scores"], inputs.weights, inputs.gradients or ())
        ]
        goals = ops.stack([self._pruning.goal(size, self.final_sparsity, inputs.step) for size in inputs.sizes])
        goals = ops.where(inputs.step >= self.begin_step, goals, inputs.count(inputs.active))
        keys = inputs.segments.join([_keys(score, of) for score, of in zip(scores, inputs.units)])
        chosen = select_smallest(MAX_KEY - keys, inputs.segments.holds_entry(), goals, inputs.segments)
        kept = inputs.active & chosen
        pruned = ops.sum(inputs.count(inputs.active)) - ops.sum(inputs.count(kept))
        return Decision(kept, chosen & ~inputs.active, trained=chosen), {"scores": scores, "pruned": pruned}


def _product(weight, gradient):
    """w * g, 0 where it is not finite."""
    product = ops.cast(weight, "float32") * ops.cast(gradient, "float32")
    return mask_weights(product, ops.isfinite(product))


def _keys(score, units):
    """Integer keys in the order of the mean scores of the units, in `[0, MAX_KEY]`."""
    above, below = (units.magnitudes(ops.maximum(sign * score, 0)) for sign in (1, -1))
    return signed_bits(above - below)
