"""Methods that move weights while they train, and keep their number."""

import dataclasses
import math

import keras

from keras_dsr import Reallocate, methods
from keras_dsr.arguments import is_whole
from train.experiment.pattern import pattern_of
from train.methods.base import Marks, Method, Plan


@dataclasses.dataclass(frozen=True)
class Moving(Method):
    """A method that moves weights now and then.

    Attributes:
        period: steps between reallocations, by epoch.
    """

    moves = True
    has_period = True
    period: Marks = ((0, 100),)

    def periods(self, plan: Plan) -> list[tuple[int, int]]:
        return plan.periods(self.period)

    def reallocate(self, plan: Plan, method: methods.Method) -> Reallocate:
        """The callback, for what decides."""
        return Reallocate(method, period=self.periods(plan), stop_at=plan.stop_at, seed=plan.settings.seed)


@dataclasses.dataclass(frozen=True)
class DSR(Moving):
    """The method of Mostafa & Wang, ICML 2019 (arXiv 1902.05967), its threshold from 1e-3 on.

    Attributes:
        target: how many weights to move in a reallocation; an int, or a float in (0, 1), a fraction of the active.
        kernel_target: the same of slices of convolutions; None: `target`.
    """

    has_target = True
    target: int | float = 0.1
    kernel_target: int | None = None

    def default_target(self, sparsity: float, pattern: str) -> int | float:
        if pattern == "kernel" and self.kernel_target:
            return self.kernel_target
        block = pattern_of(pattern)
        if isinstance(block, tuple) and is_whole(self.target):  # it counts weights
            return max(1, int(self.target) // math.prod(block))
        return self.target

    def callback(self, plan: Plan) -> Reallocate:
        return self.reallocate(plan, methods.DSR(target=plan.settings.target, initial_threshold=1e-3))


@dataclasses.dataclass(frozen=True)
class SET(DSR):
    """The method of Mocanu et al. (arXiv 1707.04780), as the authors of DSR compare it.

    Attributes:
        fractions: the fraction of the weights that moves, by sparsity, where the paper gives it. Elsewhere and of
            slices as many move as `target` says.
    """

    fractions: tuple[tuple[float, float], ...] = ()

    def default_target(self, sparsity: float, pattern: str) -> int | float:
        otherwise = super().default_target(sparsity, pattern)
        return dict(self.fractions).get(sparsity, otherwise) if pattern == "element" else otherwise

    def callback(self, plan: Plan) -> Reallocate:
        target = plan.settings.target
        units = sum(each.active_units() for each in plan.weights)
        if target >= units:
            raise ValueError(f"--target must be below the {units:,.0f} that there are. Received: --target={target}")
        return self.reallocate(plan, methods.SET(fraction=target if target < 1 else target / units))


@dataclasses.dataclass(frozen=True)
class RigL(Moving):
    """The method of Evci et al., ICML 2020 (arXiv 1911.11134).

    Attributes:
        fraction: the fraction of each tensor that moves in the first reallocation.
        ends: the fraction of the training after which none moves.
        relative_to_output: whether it grows by gradients relative to those of their output.
        min_salient: the part of an output's weights that must be salient, of `--pattern=fan_in`: SRigL
            (arXiv 2305.02299); None: whatever is.
    """

    kernels = "wrapped"
    fraction: float = 0.3
    ends: float = 0.75
    relative_to_output: bool = False
    min_salient: float | None = None

    def callback(self, plan: Plan) -> Reallocate:
        method = methods.RigL(self.fraction, plan.step_at(self.ends), self.relative_to_output, self.min_salient)
        return self.reallocate(plan, method)


@dataclasses.dataclass(frozen=True)
class MEST(Moving):
    """The method of Yuan et al., NeurIPS 2021 (arXiv 2110.14032), its elastic mutation.

    Attributes:
        fraction, ends: as `RigL`.
    """

    fraction: float = 0.3
    ends: float = 0.75

    def callback(self, plan: Plan) -> Reallocate:
        return self.reallocate(plan, methods.MEST(self.fraction, end_step=plan.step_at(self.ends)))


@dataclasses.dataclass(frozen=True)
class CHTs(Moving):
    """The soft rule of Cannistraci-Hebb training, of Zhang et al., NeurIPS 2025 (arXiv 2501.19107), of dense layers.

    Attributes:
        fraction: of each tensor that is removed and grown.
        removal: `"magnitude"` or `"relative_importance"`.
        ends: the fraction of the training after which the choice is no softer than at its end.
    """

    fraction: float = 0.3
    removal: str = "magnitude"
    ends: float = 0.75

    def callback(self, plan: Plan) -> Reallocate:
        return self.reallocate(plan, methods.CHTs(self.fraction, self.removal, end_step=plan.step_at(self.ends)))


@dataclasses.dataclass(frozen=True)
class SNFS(Method):
    """The method of Dettmers & Zettlemoyer (arXiv 1907.04840): once an epoch of the recipe, its fraction falling to 0.

    Attributes:
        relative_to_output: as `RigL`.
    """

    kernels = "wrapped"
    moves = True
    has_period = True
    relative_to_output: bool = False

    def periods(self, plan: Plan) -> list[tuple[int, int]]:
        return plan.periods(((0, plan.steps_of_recipe),))

    def callback(self, plan: Plan) -> Reallocate:
        method = methods.SNFS(end_step=plan.step_at(1.0), relative_to_output=self.relative_to_output)
        return Reallocate(method, period=self.periods(plan), stop_at=plan.stop_at, seed=plan.settings.seed)


@dataclasses.dataclass(frozen=True)
class DeepR(Method):
    """The method of Bellec et al., ICLR 2018 (arXiv 1711.05136), at every step, without weight decay.

    Attributes:
        temperatures: of its noise, by epoch.
        l1: the L1 penalty, outside of the optimizer.
        learning_rate: eta, of its noise and of that penalty.
        l1_in_gradient: an L1 penalty that goes through the optimizer, its rate and momentum, as the authors of DSR have
            it.
    """

    moves = True
    every_step = True
    temperatures: Marks = ((0, 1e-5),)
    l1: float = 1e-5
    learning_rate: float = 0.01
    l1_in_gradient: float = 0.0

    def regularizer(self, weight_decay: float) -> keras.regularizers.Regularizer | None:
        return keras.regularizers.L1(self.l1_in_gradient) if self.l1_in_gradient else None

    def callback(self, plan: Plan) -> Reallocate:
        temperature = plan.at(self.temperatures, plan.steps)
        method = methods.DeepR(temperature=temperature, l1=self.l1, learning_rate=self.learning_rate)
        return Reallocate(method, stop_at=plan.stop_at, seed=plan.settings.seed)
