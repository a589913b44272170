"""Dense-sparse-dense training (Han et al., ICLR 2017, arXiv 1607.04381)."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import ClassVar

import keras

from keras_dsr import DSDCallback, sensitivity
from train.methods.base import Method, Plan

EXAMPLES = 5000  # of the training set, on which sensitivity is measured


@dataclasses.dataclass(frozen=True)
class DSD(Method):
    """The learning rates of the recipe are gone through in each phase, times its factor.

    Attributes:
        sparsities: of the sparse phase of each round.
        dense: epochs of the dense phase before each of them, not of the recipe's schedule.
        sparse: epochs of each of them.
        final: epochs of the last dense phase.
        sparse_factor: on the learning rates in sparse phases.
        final_factor: on the learning rates, each time that cut weights are restored, for all that follows.
        by_sensitivity: whether each weight gets a sparsity of its own, by what cutting it costs, with these for all of
            them together.
    """

    kernels = "full"
    has_phases = True
    cut: ClassVar[str] = "magnitude"
    sparsities: tuple[float, ...] = (0.5,)
    dense: tuple[int, ...] = (20,)
    sparse: tuple[int, ...] = (10,)
    final: int = 10
    sparse_factor: float = 1.0
    final_factor: float = 0.1
    by_sensitivity: bool = False

    @property
    def lengths(self) -> tuple[int, ...]:
        """Epochs of every phase, in their order."""
        rounds = zip(self.dense, self.sparse, strict=True)
        return (*(length for pair in rounds for length in pair), self.final)

    @property
    def least_epochs(self) -> int:
        return len(self.lengths)

    def sparsity(self, recipe) -> float:
        return self.sparsities[0]

    def epochs(self, recipe) -> int:
        return sum(self.lengths)

    def passes(self, epochs: int) -> list[int]:
        """The lengths of the phases in a run: whole epochs, at least one each, else in the recipe's proportion."""
        lengths = self.lengths
        ends = [0]
        for index in range(len(lengths)):
            end = round(epochs * sum(lengths[: index + 1]) / sum(lengths))
            ends.append(min(max(end, ends[-1] + 1), epochs - (len(lengths) - 1 - index)))
        return [end - start for start, end in itertools.pairwise(ends)]

    def callback(self, plan: Plan) -> DSDCallback:
        settings = plan.settings
        *lengths, _ = self.passes(settings.epochs)
        sparsities: list = [settings.sparsity * sparsity / self.sparsities[0] for sparsity in self.sparsities]
        if self.by_sensitivity:
            sparsities = [_by_sensitivity(plan, sparsity) for sparsity in sparsities]
        return DSDCallback(
            sparsity=sparsities,
            dense_epochs=lengths[0::2],
            sparse_epochs=lengths[1::2],
            final_learning_rate_factor=self.final_factor,
            sparse_learning_rate_factor=self.sparse_factor,
            cut=self.cut,
            seed=settings.seed,
            verbose=0,
        )


@dataclasses.dataclass(frozen=True)
class DSDRandom(DSD):
    """The same, with weights cut at random."""

    cut = "random"


def dsd(**numbers) -> dict[str, Method]:
    """Both, for a recipe, by the same numbers."""
    return {"dsd": DSD(**numbers), "dsd_random": DSDRandom(**numbers)}


def _by_sensitivity(plan: Plan, total: float) -> Callable[[keras.Model], dict[str, float]]:
    """What gives each weight its fraction of the zeros, by what cutting it costs on examples of the training set."""

    def chosen(model):
        settings = plan.settings
        steps = min(plan.steps, math.ceil(EXAMPLES / settings.batch_size))
        examples = plan.data.train(settings.seed, settings.batch_size, steps, 0, 1).cache()
        sparse = {weight.name for weight in plan.weights}
        others = [variable.path for variable in model.trainable_variables if variable.path not in sparse]
        return sensitivity(model, examples, exclude=others, verbose=0).choose(total=total)

    return chosen
