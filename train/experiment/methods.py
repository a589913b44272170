"""The methods of training that a run can use, by name: how the network is built, and what moves its weights."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras

from keras_dsr import DSDCallback, Reallocate, methods, sensitivity
from keras_dsr.ops.initial_masks import active_units
from keras_dsr.weights.sparse_weights import SparseWeight
from train.recipes import Recipe
from train.recipes.recipe import Marks

PRUNINGS = 20  # of "compressed", as in the paper
EXAMPLES = 5000  # of the training set, on which sensitivity is measured
DEEPR_LEARNING_RATE = 0.01  # eta of its noise and its penalty, likewise


class Plan(NamedTuple):
    """What a callback is made from.

    Attributes:
        recipe: the recipe.
        settings: resolved `Settings`.
        steps: int, steps in an epoch.
        weights: the sparse weights of the network.
        data: the data set, a `train.data.in_memory.Data`, for a method that looks at examples.
    """

    recipe: Recipe
    settings: object
    steps: int
    weights: Sequence[SparseWeight]
    data: object = None

    @property
    def stretch(self) -> float:
        """Epochs of this run in one epoch of the recipe's schedule."""
        return self.settings.epochs / (self.recipe.epochs * METHODS[self.settings.method].rounds)


@dataclasses.dataclass(frozen=True)
class Method:
    """How a method trains a network.

    Attributes:
        kernels: what the kernels are that the paper makes sparse: `"dense"`; `"thin"`, dense in a thinner network of
            the same size in bytes; `"tied"`, of shared values (HashedNet); `"sparse"`; `"full"`, sparse layers that
            begin with every weight; `"wrapped"`, stock layers that a `SparseOptimizer` keeps sparse.
        callback: from a `Plan` to the callback that changes masks; None: none does.
        has_target: whether the user says how many weights move in a reallocation.
        every_step: whether the callback acts at every step.
        rounds: int, how many times a run goes through the recipe's learning rates.
        has_phases: whether it goes through them in each phase of DSD instead.
        lasts: whether it trains `recipe.static_lasts` times as long, to be a fair rival.
        weight_decay: whether it has the recipe's weight decay.
    """

    kernels: str
    callback: Callable[[Plan], keras.callbacks.Callback] | None = None
    has_target: bool = False
    every_step: bool = False
    rounds: int = 1
    has_phases: bool = False
    lasts: bool = False
    weight_decay: bool = True

    @property
    def sized(self) -> bool:
        """Whether a sparsity says how large the network is."""
        return self.kernels != "dense"

    @property
    def has_slices(self) -> bool:
        """Whether whole slices of a convolution can take the place of single weights."""
        return self.kernels in ("sparse", "full") and not self.every_step

    @property
    def has_distribution(self) -> bool:
        """Whether layers begin with shares of the budget."""
        return self.kernels in ("sparse", "wrapped")

    def epochs(self, recipe: Recipe) -> int:
        """The epochs of a run by the recipe."""
        if self.has_phases:
            return sum(recipe.dsd.lengths)
        return recipe.epochs * self.rounds * (recipe.static_lasts if self.lasts else 1)

    def passes(self, recipe: Recipe, epochs: int) -> list[float]:
        """The lengths, in epochs of a run, of its passes through the recipe's learning rates."""
        if self.has_phases:
            return phase_lengths(recipe, epochs)
        return [epochs / self.rounds] * self.rounds


def _dsr(plan: Plan) -> Reallocate:
    return _reallocate(plan, methods.DSR(target=plan.settings.target, initial_threshold=1e-3), plan.recipe.period)


def _set(plan: Plan) -> Reallocate:
    target = plan.settings.target
    units = sum(weight.count() / math.prod(weight.shape[axis] for axis in weight.unit_axes) for weight in plan.weights)
    if target >= units:
        raise ValueError(f"--target must be below the {units:,.0f} that there are. Received: --target={target}")
    return _reallocate(plan, methods.SET(fraction=target if target < 1 else target / units), plan.recipe.period)


def _rigl(plan: Plan) -> Reallocate:
    end = max(1, round(plan.recipe.rigl_ends * plan.settings.epochs * plan.steps))
    return _reallocate(plan, methods.RigL(plan.recipe.rigl_fraction, end), plan.recipe.rigl_period)


def _snfs(plan: Plan) -> Reallocate:
    """Once an epoch, as in its paper, its fraction falling to 0 at the end of training."""
    return _reallocate(plan, methods.SNFS(end_step=plan.settings.epochs * plan.steps), ((0, plan.steps),))


def _reallocate(plan: Plan, method, marks: Marks) -> Reallocate:
    period = {}
    for start, steps in marks:
        period.setdefault(round(start * plan.stretch), steps)  # a short run may squeeze several marks into one epoch
    return Reallocate(method, period=list(period.items()), stop_at=_stop_at(plan), seed=plan.settings.seed)


def _deepr(plan: Plan) -> Reallocate:
    temperature = {}
    for start, value in plan.recipe.temperatures:
        temperature.setdefault(round(start * plan.stretch * plan.steps), value)
    method = methods.DeepR(temperature=list(temperature.items()), l1=plan.recipe.l1, learning_rate=DEEPR_LEARNING_RATE)
    return Reallocate(method, stop_at=_stop_at(plan), seed=plan.settings.seed)


def _stop_at(plan: Plan) -> int:
    given = plan.settings.stop_at
    by_recipe = 0.95 * plan.recipe.epochs if plan.recipe.stop_at is None else plan.recipe.stop_at
    return round(by_recipe * plan.stretch) if given is None else given


def _compressed(plan: Plan) -> Reallocate:
    """Dense for the first round; in the second 20 prunings while the learning rate is high, and retraining after it."""
    period = pruning_period(plan.recipe, plan.settings.epochs, plan.steps)
    begin = round(plan.settings.epochs / METHODS["compressed"].rounds * plan.steps)
    method = methods.GradualPruning(
        final_sparsity=compressed_sparsities(
            [weight.size for weight in plan.weights], plan.settings.sparsity, plan.recipe.last_kernel_at_most
        ),
        begin_step=begin,
        end_step=min(begin + PRUNINGS * period, plan.settings.epochs * plan.steps),  # of a short run, its end
        schedule=plan.recipe.pruning_schedule,
    )
    return Reallocate(method, period=period, seed=plan.settings.seed)


def phase_lengths(recipe: Recipe, epochs: int) -> list[int]:
    """The lengths of the phases of DSD in a run, in whole epochs: at least one each, else in the recipe's proportion.

    Args:
        recipe: the recipe.
        epochs: int, of the run, at least the number of phases.
    """
    lengths = recipe.dsd.lengths
    ends = [0]
    for index in range(len(lengths)):
        end = round(epochs * sum(lengths[: index + 1]) / sum(lengths))
        ends.append(min(max(end, ends[-1] + 1), epochs - (len(lengths) - 1 - index)))
    return [end - start for start, end in itertools.pairwise(ends)]


def _dsd(plan: Plan, cut: str = "magnitude") -> DSDCallback:
    phases, settings = plan.recipe.dsd, plan.settings
    *lengths, _ = phase_lengths(plan.recipe, settings.epochs)
    sparsities = [settings.sparsity * sparsity / phases.sparsities[0] for sparsity in phases.sparsities]
    return DSDCallback(
        sparsity=[_by_sensitivity(plan, sparsity) for sparsity in sparsities] if phases.by_sensitivity else sparsities,
        dense_epochs=lengths[0::2],
        sparse_epochs=lengths[1::2],
        final_learning_rate_factor=phases.final_factor,
        sparse_learning_rate_factor=phases.sparse_factor,
        cut=cut,
        seed=settings.seed,
        verbose=0,
    )


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


def pruning_period(recipe: Recipe, epochs: int, steps: int) -> int:
    """Steps between two prunings of "compressed": 20 of them while the second round has its first learning rate.

    Args:
        recipe: the recipe.
        epochs: int, of the run.
        steps: int, steps in an epoch.
    """
    stretch = epochs / (recipe.epochs * METHODS["compressed"].rounds)
    return max(1, round(recipe.learning_rates[1][0] * stretch * steps / PRUNINGS))


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


METHODS = {
    "dense": Method("dense"),
    "thin": Method("thin", lasts=True),
    "hashed": Method("tied"),
    "static": Method("sparse", lasts=True),
    "set": Method("sparse", _set, has_target=True),
    "deepr": Method("sparse", _deepr, every_step=True, weight_decay=False),
    "dsr": Method("sparse", _dsr, has_target=True),
    "rigl": Method("wrapped", _rigl),
    "snfs": Method("wrapped", _snfs),
    "compressed": Method("full", _compressed, rounds=2),
    "dsd": Method("full", _dsd, has_phases=True),
    "dsd_random": Method("full", functools.partial(_dsd, cut="random"), has_phases=True),
}
