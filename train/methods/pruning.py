"""Compressed: train dense, then prune gradually while training as long again (Zhu & Gupta, arXiv 1710.01878)."""

import dataclasses
from collections.abc import Sequence

from keras_dsr import Reallocate, methods
from keras_dsr.ops.initial_masks import active_units
from train.methods.base import Marks, Method, Plan

PRUNINGS = 20  # as in the paper of DSR


@dataclasses.dataclass(frozen=True)
class Compressed(Method):
    """Dense for the first round; in the second 20 prunings while the learning rate is high, and retraining after it.

    Attributes:
        schedule: `"polynomial"` (cubic) or `"exponential"`.
        last_kernel_at_most: a sparsity above which the last kernel is not cut; None: cut as the others.
    """

    kernels = "full"
    rounds = 2
    schedule: str = "polynomial"
    last_kernel_at_most: float | None = None

    def periods(self, plan: Plan) -> list[tuple[int, int]]:
        high = plan.recipe.learning_rates[1][0] * plan.stretch * plan.steps
        return [(0, max(1, round(high / PRUNINGS)))]

    def callback(self, plan: Plan) -> Reallocate:
        epochs, steps = plan.settings.epochs, plan.steps
        ((_, period),) = self.periods(plan)
        begin = round(epochs / self.rounds * steps)
        sizes = [weight.size for weight in plan.weights]
        method = methods.GradualPruning(
            final_sparsity=compressed_sparsities(sizes, plan.settings.sparsity, self.last_kernel_at_most),
            begin_step=begin,
            end_step=min(begin + PRUNINGS * period, epochs * steps),  # of a short run, its end
            schedule=self.schedule,
        )
        return Reallocate(method, period=period, seed=plan.settings.seed)


@dataclasses.dataclass(frozen=True)
class GraNet(Method):
    """Gradual pruning with regeneration, of Liu et al., NeurIPS 2021 (arXiv 2106.10404), from a dense network.

    Attributes:
        period: steps between updates, by epoch.
        ends: the fraction of the training after which the number stays.
        fraction: of what is left that is dropped and grown at first.
        scope: `"global"` or `"tensor"`, whose smallest weights are pruned.
    """

    kernels = "full"
    has_period = True
    period: Marks = ((0, 100),)
    ends: float = 0.5
    fraction: float = 0.5
    scope: str = "global"

    def periods(self, plan: Plan) -> list[tuple[int, int]]:
        return plan.periods(self.period)

    def callback(self, plan: Plan) -> Reallocate:
        method = methods.GraNet(
            final_sparsity=plan.settings.sparsity,
            end_step=plan.step_at(self.ends),
            fraction=self.fraction,
            scope=self.scope,
        )
        return Reallocate(method, period=self.periods(plan), seed=plan.settings.seed)


@dataclasses.dataclass(frozen=True)
class ACDC(Method):
    """The method of Peste et al., NeurIPS 2021 (arXiv 2106.12379), at the end compressed for good.

    Attributes:
        begins, ends: the fractions of the training before which it is dense, and after which it is compressed.
        phases: int, how many phases, compressed and dense in turn, there are between them; odd, so that the last one is
            compressed.
        scope: as `GraNet`.
    """

    kernels = "full"
    begins: float = 0.1
    ends: float = 0.75
    phases: int = 13
    scope: str = "global"

    def _phase(self, plan: Plan) -> int:
        return max(1, (plan.step_at(self.ends) - plan.step_at(self.begins)) // self.phases)

    def periods(self, plan: Plan) -> list[tuple[int, int]]:
        return [(0, plan.steps)]

    def callback(self, plan: Plan) -> Reallocate:
        method = methods.ACDC(
            plan.settings.sparsity,
            begin_step=plan.step_at(self.begins),
            phase=self._phase(plan),
            end_step=plan.step_at(self.ends),
            scope=self.scope,
        )
        return Reallocate(method, period=self.periods(plan), seed=plan.settings.seed)


@dataclasses.dataclass(frozen=True)
class Movement(Method):
    """Movement pruning, of Sanh et al., NeurIPS 2020 (arXiv 2005.07683), from a dense network; made for fine-tuning.

    Attributes:
        begins, ends: the fractions of the training between which the number falls.
    """

    kernels = "full"
    every_step = True
    begins: float = 0.1
    ends: float = 0.75

    def callback(self, plan: Plan) -> Reallocate:
        begin = plan.step_at(self.begins)
        method = methods.MovementPruning(plan.settings.sparsity, begin, max(begin + 1, plan.step_at(self.ends)))
        return Reallocate(method, period=1, seed=plan.settings.seed)


def compressed_sparsities(sizes: Sequence[int], sparsity: float, last_at_most: float | None) -> tuple[float, ...]:
    """The final sparsity of each kernel under "compressed".

    Args:
        sizes: the number of positions of each kernel.
        sparsity: float in [0, 1), of all of them together.
        last_at_most: the last kernel is cut to no more than this, and the others share what is left; None: all alike.
    """
    if last_at_most is None or sparsity <= last_at_most:
        return (sparsity,) * len(sizes)
    budget = sum(active_units(size, sparsity) for size in sizes)
    others = budget - active_units(sizes[-1], last_at_most)
    return (*(1 - others / sum(sizes[:-1]),) * (len(sizes) - 1), last_at_most)
