"""GraNet: gradual pruning, in which some of what is left is dropped too and grown where the gradient is largest."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_dsr.methods.base import Decision, Grown, Method, MethodInputs
from keras_dsr.methods.dropping import annealed, check_fraction, drop_smallest
from keras_dsr.methods.gradual_pruning import GradualPruning, pruning_of
from keras_dsr.methods.growth import grow_where_largest
from keras_dsr.schedules import Schedule


@dataclasses.dataclass(frozen=True)
class GraNet(Method):
    """Gradual pruning with zero-cost neuroregeneration (Liu et al., NeurIPS 2021, arXiv 2106.10404, Algorithm 1).

    Each update prunes as `GradualPruning` does. Then it drops, in every tensor, a fraction of the units that are left,
    those of smallest magnitude, and grows as many where the gradient is largest, as `RigL` does: the number of active
    units is that of the schedule. From `end_step` on nothing is pruned or moved.

    Args:
        initial_sparsity: float in [0, 1), 0 in dense-to-sparse training, 0.5 in the paper's sparse-to-sparse training.
        final_sparsity: float in [0, 1), at least the initial one.
        begin_step, end_step: ints, of the pruning, in optimizer steps.
        fraction: float in (0, 1), of what is left that is dropped and grown at step 0; it falls along half a cosine to
            0 at `end_step`. 0.5 in the paper. Or a
            schedule of it (`keras_dsr.schedules`), in the place of the cosine.
        scope: `"global"`, the smallest of the whole network are pruned, one stays in each tensor; `"tensor"`, every
            tensor has the sparsity of the schedule.

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.GraNet(0.5, 0.9, end_step=8_000), period=100)
    """

    initial_sparsity: float = 0.0
    final_sparsity: float = 0.9
    begin_step: int = 0
    end_step: int = 10_000
    fraction: float | Schedule = 0.5
    scope: str = "global"

    gradient_decay: ClassVar[float | None] = 0.0

    def __post_init__(self):
        check_fraction(self.fraction, "GraNet")
        self._pruning  # noqa: B018 (it checks its arguments, which are ours)

    @property
    def _pruning(self) -> GradualPruning:
        steps = self.begin_step, self.end_step
        return pruning_of("GraNet", self.initial_sparsity, self.final_sparsity, *steps, scope=self.scope)

    @property
    def across(self) -> bool:  # type: ignore[override]  # of the class elsewhere, here of an argument
        """Whether tensors prune each other's part."""
        return self.scope == "global"

    def init(self, inputs: MethodInputs) -> dict:
        """Nothing pruned yet."""
        return self._pruning.init(inputs)

    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        """One update. `state["pruned"]` comes back as the number of units pruned or dropped that did not stay."""
        pruned, _ = self._pruning.update(inputs, state)
        left = dataclasses.replace(inputs, active=inputs.active & pruned.kept)
        dropped = drop_smallest(left, annealed(self.fraction, inputs.step, self.end_step))
        survivors = left.active & ~dropped
        chosen = grow_where_largest(left, survivors, inputs.count(dropped), kept=survivors)
        again = inputs.active & chosen.units
        grown = Grown(chosen.units & ~inputs.active, chosen.positions)
        gone = ops.sum(inputs.count(inputs.active)) - ops.sum(inputs.count(survivors | again))
        return Decision(survivors | again, grown), {"pruned": gone}
