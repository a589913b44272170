"""DSD: a dense network is cut once, trains sparse, and becomes dense again."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from keras import ops

from keras_dsr.arguments import check_steps, checked_pairs
from keras_dsr.methods.base import View
from keras_dsr.ops.initial_masks import active_units, check_mask
from keras_dsr.ops.masking import mask_weights
from keras_dsr.ops.patterns import unit_magnitudes, unit_mask, weight_mask
from keras_dsr.ops.randomness import StepSeed, random_keys
from keras_dsr.ops.selection import count_true, ordered_bits, select_smallest
from keras_dsr.ops.sparsity_distributions import check_sparsities, sparsities_by_name

Sparsity = float | Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class DSD:
    """The masks of dense-sparse-dense training (Han et al., ICLR 2017, arXiv 1607.04381, Algorithm 1).

    Each update brings every tensor to the sparsity of the schedule at this step. Where that is 0, all its weights are
    active again, those that were cut with the value 0 (the dense phases). Elsewhere its smallest active units are cut
    until the sparsity is reached, and then it stays as it is (the sparse phase): no weight moves, and none is restored
    before the sparsity is 0 again. The number of active units is **not** conserved.

    `keras_dsr.DSDCallback` is the whole of DSD: it also says when, and scales the learning rate.

    Args:
        sparsity: float in [0, 1), the share of each tensor that is zero; or a mapping from the names of sparse weights
            to such numbers (0 for those that it leaves out), as `keras_dsr.sensitivity(...).choose(...)` returns; or
            `(step, sparsity)` pairs of either, each in force from that step on, the first from step 0.
        cut: `"magnitude"`, the smallest go, as in the paper; `"random"`, any go, its ablation.

    Raises:
        ValueError: a sparsity or `cut` out of range; when training begins, a name that the model does not have.

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.DSD([(0, 0.0), (3_000, 0.5), (6_000, 0.0)]), period=100)
    """

    sparsity: Sparsity | Sequence[tuple[int, Sparsity]] = 0.3
    cut: str = "magnitude"

    conserves: ClassVar[bool] = False
    every_step: ClassVar[bool] = False
    gradient_decay: ClassVar[float | None] = None

    def __post_init__(self):
        check_mask(self.cut, "DSD", argument="cut")
        pairs = checked_pairs(self._pairs(), "DSD", "sparsity", "a number, a mapping from names to numbers, or ")
        check_steps([step for step, _ in pairs], "DSD", "sparsity", self.sparsity)
        for _, sparsity in pairs:
            check_sparsities(sparsity, "DSD")

    def init(self, view: View) -> dict:
        """Nothing cut yet.

        Raises:
            ValueError: `sparsity` names a weight that the model does not have.
        """
        for _, sparsity in self._pairs():
            sparsities_by_name(sparsity, view.names, 0.0, "DSD")
        return {"pruned": ops.zeros((), "int32")}

    def update(self, view: View, state: dict, seed: int) -> tuple[list, list, dict]:
        """Cut, restore, or leave as it is. `state["pruned"]` comes back as the number of units cut."""
        active = [unit_mask(mask, axes) for mask, axes in zip(view.masks, view.unit_axes)]
        sizes = [math.prod(units.shape) for units in active]
        goals = self._goals(view, sizes)
        counts = ops.stack([count_true(units) for units in active])
        dropped = select_smallest(self._keys(view, active, seed), active, ops.maximum(counts - goals, 0))
        kept = [
            weight_mask(units & ~drop | (goals[index] == sizes[index]), weight.shape)
            for index, (units, drop, weight) in enumerate(zip(active, dropped, view.weights))
        ]
        # What a dead place stores was never part of the network: a restored weight starts at 0.
        weights = [mask_weights(weight, mask & keep) for weight, mask, keep in zip(view.weights, view.masks, kept)]
        return weights, kept, {"pruned": sum(count_true(drop) for drop in dropped)}

    def _pairs(self) -> Sequence:
        is_schedule = isinstance(self.sparsity, Sequence) and not isinstance(self.sparsity, (str, bytes))
        return self.sparsity if is_schedule else [(0, self.sparsity)]

    def _goals(self, view: View, sizes: list[int]):
        """How many units of each tensor are active at this step, an int32 tensor of shape `(tensors,)`."""
        goals = None
        for step, sparsity in self._pairs():
            shares = sparsities_by_name(sparsity, view.names, 0.0, "DSD")
            later = ops.convert_to_tensor([active_units(size, share) for size, share in zip(sizes, shares)], "int32")
            goals = later if goals is None else ops.where(view.step >= step, later, goals)
        return goals

    def _keys(self, view: View, active: list, seed: int) -> list:
        """What decides which units are cut: those of the smallest keys."""
        if self.cut == "random":
            return [random_keys(units.shape, StepSeed(seed, i, view.step, "cut")) for i, units in enumerate(active)]
        return [ordered_bits(unit_magnitudes(weight, axes)) for weight, axes in zip(view.weights, view.unit_axes)]
