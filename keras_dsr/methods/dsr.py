"""DSR: prune by one adaptive global threshold, grow back in proportion to the survivors, keep the total exact."""

import dataclasses
import math
from typing import ClassVar

from keras import ops

from keras_dsr.arguments import is_number, is_one_of, is_whole
from keras_dsr.methods.base import View
from keras_dsr.methods.growth import check_growth, grow, regrown, taken_in_all
from keras_dsr.ops.apportionment import share_proportionally
from keras_dsr.ops.patterns import unit_magnitudes, unit_mask
from keras_dsr.ops.randomness import StepSeed
from keras_dsr.ops.selection import count_true, largest, value_of_rank

SMALLEST, LARGEST = 2.0**-100, 2.0**100  # thresholds


@dataclasses.dataclass(frozen=True)
class DSR:
    """Dynamic sparse reparameterization (Mostafa & Wang, ICML 2019, arXiv 1902.05967, Algorithm 1).

    Each update prunes the active weights below the threshold H (one survives in every tensor), doubles or halves H to
    steer the number pruned towards `target`, shares that number among the tensors in proportion to their survivors, and
    grows each share at random among the places that were dead before. The total number of units never changes.

    Args:
        target: How many to prune and regrow in an update. An int counts units (weights; slices at kernel granularity);
            a float in (0, 1) is a fraction of the active ones.
        initial_threshold: float, H before the first update, positive: 1e-3 in the paper. It can only double from one
            update to the next, and moves nothing in a short training if it is far too small. `"auto"`: the first update
            begins with the H that prunes `target` units.
        tolerance: float in [0, 1), delta of the paper: H stays as it is while the number pruned is within
            `(1 ± tolerance) * target`.
        growth: what a grown weight starts from: `"zeros"`, or `"initializer"`, a value drawn by the layer's kernel
            initializer.

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.DSR(target=600), period=100)
    """

    target: int | float = 0.1
    initial_threshold: float | str = "auto"
    tolerance: float = 0.1
    growth: str = "zeros"

    conserves: ClassVar[bool] = True
    every_step: ClassVar[bool] = False
    gradient_decay: ClassVar[float | None] = None
    grows_compact: ClassVar[bool] = True

    def __post_init__(self):
        _check_target(self.target)
        is_auto = is_one_of(self.initial_threshold, ("auto",))
        if not is_auto and not (is_number(self.initial_threshold) and SMALLEST <= self.initial_threshold <= LARGEST):
            raise ValueError(
                "DSR(initial_threshold=...) must be a positive number, from 2**-100 to 2**100, from which H doubles "
                "and halves, or 'auto': what prunes the target at first. "
                f"Received: initial_threshold={self.initial_threshold!r}"
            )
        if not is_number(self.tolerance) or not 0 <= self.tolerance < 1:
            raise ValueError(
                f"DSR(tolerance=...) must be in [0, 1), the accepted relative error of the number pruned. "
                f"Received: tolerance={self.tolerance!r}"
            )
        check_growth(self.growth, "DSR")

    def init(self, view: View) -> dict:
        """H before the first update, and nothing pruned yet.

        Raises:
            ValueError: `target` is a number that the model can never prune.
        """
        active = sum(int(count_true(unit_mask(mask, axes))) for mask, axes in zip(view.masks, view.unit_axes))
        if is_whole(self.target) and self.target > active - len(view.masks):
            raise ValueError(
                f"DSR(target=...) must leave one active unit in each of the {len(view.masks)} tensors: at most "
                f"{active - len(view.masks)} of the {active} active ones. Received: target={self.target}"
            )
        threshold = 0.0 if self.initial_threshold == "auto" else self.initial_threshold  # 0: it is yet to be found
        return {"threshold": ops.convert_to_tensor(threshold, "float32"), "pruned": ops.zeros((), "int32")}

    def update(self, view: View, state: dict, seed: int) -> tuple[list, list, dict]:
        """One reallocation. `state["pruned"]` comes back as K, the number of units pruned (and grown)."""
        active = [unit_mask(mask, axes) for mask, axes in zip(view.masks, view.unit_axes)]
        magnitudes = [unit_magnitudes(weight, axes) for weight, axes in zip(view.weights, view.unit_axes)]
        active_counts = ops.stack([count_true(units) for units in active])
        threshold = state["threshold"]
        if self.initial_threshold == "auto":
            first = lambda: self._first_threshold(magnitudes, active, ops.sum(active_counts))  # noqa: E731
            threshold = ops.cond(threshold > 0, lambda: threshold, first)
        survivors = prune(magnitudes, active, threshold)

        survivor_counts = ops.stack([count_true(units) for units in survivors])
        pruned = ops.sum(active_counts) - ops.sum(survivor_counts)

        threshold = adapt(threshold, pruned, *self._accepted(ops.sum(active_counts)))

        taken, capacities = taken_in_all(active, survivors, view.places)
        shares = share_proportionally(pruned, survivor_counts, capacities)
        seeds = [StepSeed(seed, index, view.step, "dsr.grow") for index in range(len(active))]
        born = grow(taken, shares, seeds, view.places)
        weights, masks = regrown(view, survivors, born, self.growth, seed, "dsr.value")
        return weights, masks, {"threshold": threshold, "pruned": pruned}

    def _first_threshold(self, magnitudes: list, active: list, active_total):
        """The H below which `target` of the active units lie (those of equal magnitude together), a float32 scalar."""
        if is_whole(self.target):
            goal = ops.cast(self.target, "int32")
        else:
            goal = ops.cast(ops.round(self.target * ops.cast(active_total, "float32")), "int32")
        return ops.clip(value_of_rank(magnitudes, active, goal), SMALLEST, LARGEST)

    def _accepted(self, active_total):
        """The smallest and the largest number pruned that leave H as it is, as int32."""
        low, high = 1 - self.tolerance, 1 + self.tolerance
        if is_whole(self.target):  # rounded first: 1.1 * 600 is a little above 660 in floating point
            return math.ceil(round(low * self.target, 6)), math.floor(round(high * self.target, 6))
        active_total = ops.cast(active_total, "float32")
        accepted = ops.ceil(active_total * (low * self.target)), ops.floor(active_total * (high * self.target))
        return tuple(ops.cast(bound, "int32") for bound in accepted)


def prune(magnitudes: list, active: list, threshold) -> list:
    """Step 1: the survivors, the active units of magnitude at least `threshold`; where none is, the largest alone.

    Args:
        magnitudes: list of float32 tensors, non-negative.
        active: list of bool tensors of the same shapes, each with at least one true entry.
        threshold: float32 scalar, H.

    Returns:
        A list of bool tensors of the same shapes. Ties for the largest go to the first place.
    """
    survivors = [units & (magnitude >= threshold) for magnitude, units in zip(magnitudes, active)]

    def keep_largest():
        return [
            ops.where(ops.any(kept), kept, largest(magnitude, units))
            for magnitude, units, kept in zip(magnitudes, active, survivors)
        ]

    none_died_out = ops.all(ops.stack([count_true(kept) for kept in survivors]) > 0)
    return list(ops.cond(none_died_out, lambda: survivors, keep_largest))


def adapt(threshold, pruned, fewest, most):
    """Step 2: H halves when more than `most` units were pruned and doubles when fewer than `fewest` were.

    H stays within `[SMALLEST, LARGEST]`, where halving and doubling are exact and can be undone.
    """
    factor = ops.where(pruned > most, 0.5, ops.where(pruned < fewest, 2.0, 1.0))
    return ops.clip(threshold * ops.cast(factor, "float32"), SMALLEST, LARGEST)


def _check_target(target):
    positive_count = is_whole(target) and target > 0
    fraction = is_number(target) and 0 < target < 1
    if not positive_count and not fraction:
        raise ValueError(
            "DSR(target=...) must be a positive int (a number of weights, or of slices at kernel granularity) or a "
            f"float in (0, 1) (a fraction of the active ones). Received: target={target!r}"
        )
