"""DSD: a dense network is cut once, trains sparse, and becomes dense again."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import cast

from keras import ops

from keras_dsr.arguments import check_steps, checked_pairs
from keras_dsr.methods.base import Decision, Method, MethodInputs
from keras_dsr.methods.dropping import pruned_to
from keras_dsr.ops.initial_masks import check_mask
from keras_dsr.ops.randomness import random_keys
from keras_dsr.ops.selection import ordered_bits
from keras_dsr.ops.sparsity_distributions import check_sparsities, sparsities_by_name

Sparsity = float | Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class DSD(Method):
    """The masks of dense-sparse-dense training (Han et al., ICLR 2017, arXiv 1607.04381, Algorithm 1).

    Each update brings every tensor to the sparsity of the schedule at this step. Where that is 0, all its weights are
    active again, those that were cut with the value 0 (the dense phases). Elsewhere its smallest active units are cut
    until the sparsity is reached, and then it stays as it is (the sparse phase): no weight moves, and none is restored
    before the sparsity is 0 again. The number of active units is **not** conserved.

    `keras_dsr.DSDCallback` is the whole of DSD: it also says when, and scales the learning rate.

    Args:
        sparsity: float in [0, 1), the fraction of each tensor that is zero; or a mapping from the names of sparse
            weights to such numbers (0 for those that it leaves out), as `keras_dsr.sensitivity(...).choose(...)`
            returns; or
            `(step, sparsity)` pairs of either, each in force from that step on, the first from step 0.
        cut: `"magnitude"`, the smallest go, as in the paper; `"random"`, any go, its ablation.

    Raises:
        ValueError: a sparsity or `cut` out of range; when training begins, a name that the model does not have.

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.DSD([(0, 0.0), (3_000, 0.5), (6_000, 0.0)]), period=100)
    """

    sparsity: Sparsity | Sequence[tuple[int, Sparsity]] = 0.3
    cut: str = "magnitude"

    def __post_init__(self):
        check_mask(self.cut, "DSD", argument="cut")
        pairs = checked_pairs(self._pairs(), "DSD", "sparsity", "a number, a mapping from names to numbers, or ")
        check_steps([step for step, _ in pairs], "DSD", "sparsity", self.sparsity)
        for _, sparsity in pairs:
            check_sparsities(sparsity, "DSD")

    def init(self, inputs: MethodInputs) -> dict:
        """Nothing cut yet.

        Raises:
            ValueError: `sparsity` names a weight that the model does not have, or a weight is in compact storage.
        """
        for index in inputs.positions:
            raise ValueError(
                f"DSD restores all weights of a tensor, and {inputs.names[index]!r} is in compact storage, which has "
                "no room for them. Build the layer with storage='masked', or use DSR, SET, DeepR, GradualPruning or "
                "Static."
            )
        for _, sparsity in self._pairs():
            sparsities_by_name(sparsity, inputs.names, 0.0, "DSD")
        self._goals(inputs)
        return {"pruned": ops.zeros((), "int32")}

    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        """Cut, restore, or leave as it is. `state["pruned"]` comes back as the number of units cut."""
        goals = self._goals(inputs)
        if self.cut == "random":
            keys = random_keys(inputs.segments, inputs.seeds("cut"))
        else:
            keys = ordered_bits(inputs.magnitudes)
        dropped = pruned_to(inputs, goals, keys)
        is_dense = inputs.segments.spread(goals == ops.convert_to_tensor(inputs.segments.sizes, "int32"))
        kept, restored = inputs.active & ~dropped, is_dense & ~inputs.active
        return Decision(kept, restored), {"pruned": ops.sum(inputs.count(dropped))}

    def _pairs(self) -> Sequence:
        is_schedule = isinstance(self.sparsity, Sequence) and not isinstance(self.sparsity, (str, bytes))
        return cast(Sequence, self.sparsity) if is_schedule else [(0, self.sparsity)]

    def _goals(self, inputs: MethodInputs):
        """How many units of each tensor are active at this step, an int32 tensor of shape `(tensors,)`."""
        goals = None
        for step, sparsity in self._pairs():
            shares = sparsities_by_name(sparsity, inputs.names, 0.0, "DSD")
            numbers = [of.number_at(size, share) for of, size, share in zip(inputs.units, inputs.sizes, shares)]
            later = ops.convert_to_tensor(numbers, "int32")
            goals = later if goals is None else ops.where(inputs.step >= step, later, goals)
        return goals
