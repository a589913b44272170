"""DSR: prune by one adaptive global threshold, grow back in proportion to the survivors, keep the total exact."""

import dataclasses
import math
from typing import ClassVar

from keras import ops

from keras_dsr.arguments import is_number, is_one_of, is_whole
from keras_dsr.methods.base import Decision, Method, MethodInputs
from keras_dsr.methods.growth import check_growth, grow_at_random, taken_in_all
from keras_dsr.ops.apportionment import share_proportionally
from keras_dsr.ops.segments import Segments
from keras_dsr.ops.selection import largest, value_of_rank

SMALLEST, LARGEST = 2.0**-100, 2.0**100  # thresholds


@dataclasses.dataclass(frozen=True)
class DSR(Method):
    """Dynamic sparse reparameterization (Mostafa & Wang, ICML 2019, arXiv 1902.05967, Algorithm 1).

    Each update prunes the active weights below the threshold H (one survives in every tensor), doubles or halves H to
    steer the number pruned towards `target`, shares that number among the tensors in proportion to their survivors, and
    grows each share at random among the positions that were pruned before. The total number of units never changes.

    Args:
        target: How many to prune and regrow in an update. An int counts units (weights, slices or blocks);
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
    across: ClassVar[bool] = True

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

    def init(self, inputs: MethodInputs) -> dict:
        """H before the first update, and nothing pruned yet.

        Raises:
            ValueError: `target` is a number that the model can never prune.
        """
        active, tensors = int(ops.sum(inputs.count(inputs.active))), len(inputs.names)
        if is_whole(self.target) and self.target > active - tensors:
            raise ValueError(
                f"DSR(target=...) must leave one active unit in each of the {tensors} tensors: at most "
                f"{active - tensors} of the {active} active ones. Received: target={self.target}"
            )
        threshold = 0.0 if self.initial_threshold == "auto" else self.initial_threshold  # 0: it is yet to be found
        return {"threshold": ops.convert_to_tensor(threshold, "float32"), "pruned": ops.zeros((), "int32")}

    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        """One reallocation. `state["pruned"]` comes back as K, the number of units pruned (and grown)."""
        active_total = ops.sum(inputs.count(inputs.active))
        threshold = state["threshold"]
        if self.initial_threshold == "auto":
            first = lambda: self._first_threshold(inputs, active_total)  # noqa: E731
            threshold = ops.cond(threshold > 0, lambda: threshold, first)
        survivors = prune(inputs.magnitudes, inputs.active, threshold, inputs.segments)

        survivor_counts = inputs.count(survivors)
        pruned = active_total - ops.sum(survivor_counts)

        threshold = adapt(threshold, pruned, *self._accepted(active_total))

        taken, capacities = taken_in_all(inputs, survivors)
        shares = share_proportionally(pruned, survivor_counts, capacities)
        grown = grow_at_random(inputs, taken, shares, "dsr.grow")
        return Decision(survivors, grown, self.growth), {"threshold": threshold, "pruned": pruned}

    def _first_threshold(self, inputs: MethodInputs, active_total):
        """The H below which `target` of the active units lie (those of equal magnitude together), a float32 scalar."""
        if is_whole(self.target):
            goal = ops.cast(self.target, "int32")
        else:
            goal = ops.cast(ops.round(self.target * ops.cast(active_total, "float32")), "int32")
        return ops.clip(value_of_rank(inputs.magnitudes, inputs.active, goal), SMALLEST, LARGEST)

    def _accepted(self, active_total):
        """The smallest and the largest number pruned that leave H as it is, as int32."""
        low, high = 1 - self.tolerance, 1 + self.tolerance
        if is_whole(self.target):  # rounded first: 1.1 * 600 is a little above 660 in floating point
            return math.ceil(round(low * self.target, 6)), math.floor(round(high * self.target, 6))
        active_total = ops.cast(active_total, "float32")
        accepted = ops.ceil(active_total * (low * self.target)), ops.floor(active_total * (high * self.target))
        return tuple(ops.cast(bound, "int32") for bound in accepted)


def prune(magnitudes, active, threshold, segments: Segments):
    """Step 1: the survivors, the active units of magnitude at least `threshold`; where none is, the largest alone.

    Args:
        magnitudes: joined float32 tensor, non-negative.
        active: joined bool tensor, with at least one true entry in each tensor.
        threshold: float32 scalar, H.
        segments: how they are joined.

    Returns:
        A joined bool tensor. Ties for the largest go to the first position.
    """
    survivors = active & (magnitudes >= threshold)
    died_out = segments.count(survivors) == 0
    return ops.cond(
        ops.any(died_out),
        lambda: survivors | (segments.spread(died_out) & largest(magnitudes, active, segments)),
        lambda: survivors,
    )


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
            "DSR(target=...) must be a positive int (a number of weights, slices or blocks) or a "
            f"float in (0, 1) (a fraction of the active ones). Received: target={target!r}"
        )
