"""What a run knows of a method of training: how the network is built, for how long, and what moves its weights."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import keras

from keras_dsr.arguments import is_whole
from keras_dsr.weights.sparse_weight import SparseWeight

if TYPE_CHECKING:
    from train.data.in_memory import Data
    from train.experiment.settings import Settings
    from train.recipes import Recipe

# `(epoch, value)` pairs: each value holds from that epoch on, of the recipe's own schedule.
Marks = tuple[tuple[float, float], ...]


class Plan(NamedTuple):
    """What a callback is made from.

    Attributes:
        recipe: the recipe.
        settings: resolved `Settings`.
        steps: int, steps in an epoch.
        data: the data set.
        weights: the sparse weights of the network, once it is built.
    """

    recipe: "Recipe"
    settings: "Settings"
    steps: int
    data: "Data"
    weights: Sequence[SparseWeight] = ()

    @property
    def method(self) -> "Method":
        """The method of the run, with the recipe's numbers."""
        return self.recipe.method(self.settings.method)

    @property
    def stretch(self) -> float:
        """Epochs of this run in one epoch of the recipe's schedule."""
        return self.settings.epochs / (self.recipe.epochs * self.method.rounds)

    @property
    def steps_of_recipe(self) -> int:
        """Steps in an epoch of the recipe's own."""
        return max(1, self.data.train_examples // self.recipe.batch_size)

    @property
    def pace(self) -> float:
        """Steps of this run in one step of the recipe's schedule."""
        return self.stretch * self.steps / self.steps_of_recipe

    @property
    def stop_at(self) -> int:
        """The epoch of the last reallocation."""
        if self.settings.stop_at is not None:
            return self.settings.stop_at
        by_recipe = 0.95 * self.recipe.epochs if self.recipe.stop_at is None else self.recipe.stop_at
        return round(by_recipe * self.stretch)

    def step_at(self, share: float) -> int:
        """The step at which this share of the training is over, at least 1."""
        return max(1, round(share * self.settings.epochs * self.steps))

    def at(self, marks: Marks, steps: int = 1) -> list[tuple[int, float]]:
        """The marks by epoch of this run (or by step, given the steps of an epoch)."""
        values: dict[int, float] = {}
        for start, value in marks:  # a short run may squeeze several into one epoch, of which the first counts
            values.setdefault(round(start * self.stretch * steps), value)
        return list(values.items())

    def periods(self, marks: Marks) -> list[tuple[int, int]]:
        """Steps between reallocations by epoch of this run, of which a short one has as many as the recipe's own.

        Args:
            marks: those of the recipe.
        """
        asked = self.settings.period
        if is_whole(asked):
            return [(0, asked)]
        pace = 1.0 if asked == "recipe" else self.pace
        return [(epoch, max(1, round(period * pace))) for epoch, period in self.at(marks)]


@dataclasses.dataclass(frozen=True)
class Method:
    """How a method trains a network. The fields of a subclass are the numbers that a recipe sets.

    Attributes:
        kernels: what the kernels are that the paper makes sparse: `"dense"`; `"thin"`, dense in a thinner network of
            the same size in bytes; `"tied"`, of shared values (HashedNet); `"sparse"`; `"full"`, sparse layers that
            begin with every weight; `"wrapped"`, stock layers that a `SparseOptimizer` keeps sparse; `"scored"`, sparse
            where stock layers' first weights are worth most.
        has_target: whether the user says how many weights move in a reallocation.
        has_period: whether the user may say how many steps lie between reallocations.
        moves: whether it moves weights, until `stop_at`.
        every_step: whether its callback acts at every step.
        rounds: int, how many times a run goes through the recipe's learning rates.
        has_phases: whether it goes through them in each of its phases instead, and has no budget to keep.
    """

    kernels: ClassVar[str] = "sparse"
    has_target: ClassVar[bool] = False
    has_period: ClassVar[bool] = False
    moves: ClassVar[bool] = False
    every_step: ClassVar[bool] = False
    rounds: ClassVar[int] = 1
    has_phases: ClassVar[bool] = False

    def numbers(self) -> dict:
        """What a run is resumed with, for its config.json."""
        return dataclasses.asdict(self)

    @property
    def sized(self) -> bool:
        """Whether a sparsity says how large the network is."""
        return self.kernels != "dense"

    @property
    def has_units(self) -> bool:
        """Whether slices or blocks can take the place of single weights, or patterns say where they lie."""
        return self.kernels in ("sparse", "full", "wrapped", "scored") and not self.every_step

    @property
    def has_distribution(self) -> bool:
        """Whether layers begin with fractions of the budget."""
        return self.kernels in ("sparse", "wrapped")

    @property
    def least_epochs(self) -> int:
        """The epochs of the shortest run."""
        return 1

    def sparsity(self, recipe: "Recipe") -> float:
        """The sparsity of a run by the recipe."""
        return recipe.sparsity if self.sized else 0.0

    def epochs(self, recipe: "Recipe") -> int:
        """The epochs of a run by the recipe."""
        return recipe.epochs * self.rounds

    def passes(self, epochs: int) -> list[float]:
        """The lengths of the passes through the recipe's learning rates, in epochs of a run of that many."""
        return [epochs / self.rounds] * self.rounds

    def default_target(self, sparsity: float, pattern: str) -> int | float | None:
        """How much moves in a reallocation where the user does not say it; None if `has_target` is false."""
        return None

    def regularizer(self, weight_decay: float) -> keras.regularizers.Regularizer | None:
        """What adds to the gradient of the kernels.

        Args:
            weight_decay: of the recipe.
        """
        # PyTorch's weight decay, which the paper uses, is the gradient of half the squared norm; L2 has no half.
        return keras.regularizers.L2(weight_decay / 2) if weight_decay else None

    def periods(self, plan: Plan) -> list[tuple[int, int]]:
        """Steps between its callback's actions, by epoch; none if it acts at every step or never."""
        return []

    def callback(self, plan: Plan) -> keras.callbacks.Callback | None:
        """The callback that changes the masks; None if none does."""
        return None
