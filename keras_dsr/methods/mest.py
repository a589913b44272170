"""MEST: drop what is small in weight and gradient, grow at random, perhaps before it is known what must go."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_dsr.arguments import is_number
from keras_dsr.methods.base import Decision, Method, MethodInputs
from keras_dsr.methods.dropping import annealed, check_end_step, check_fraction, rounded_fraction
from keras_dsr.methods.growth import grow_at_random, refuse_groups, taken_in_each
from keras_dsr.ops.masking import mask_weights
from keras_dsr.ops.selection import ordered_bits, select_smallest
from keras_dsr.schedules import Schedule


@dataclasses.dataclass(frozen=True)
class MEST(Method):
    """Memory-economic sparse training (Yuan et al., NeurIPS 2021, arXiv 2110.14032), with elastic mutation.

    Each update drops, in every tensor, the fraction of the active units whose |w| + weight * |g| is smallest, with the
    gradient g of the last step, and grows as many at random: each tensor keeps its number of units.

    With the soft memory bound (EM&S in the paper) the fraction is grown first, beyond the budget, and trained until the
    next update drops as many, old or new, of which it is then known what they are worth. The budget is exact right
    before each growth, and for good from `end_step` on; until then a tensor has at most `1 + fraction` times as much.

    At step t the fraction is fraction / 2 * (1 + cos(pi * t / end_step)).

    Args:
        fraction: float in (0, 1), of a tensor's budget, rounded to whole units; one always stays. Or a
            schedule of it (`keras_dsr.schedules`), in the place of the cosine.
        gradient_weight: number of at least 0, lambda of the paper: how much the gradient counts.
        soft_bound: bool, whether growth comes before it is dropped.
        end_step: int, positive, in optimizer steps. With the soft bound let training go on for a `period` beyond it, or
            what is above the budget stays.

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.MEST(fraction=0.3, soft_bound=True, end_step=8_000), period=500)
    """

    fraction: float | Schedule = 0.3
    gradient_weight: float = 0.01
    soft_bound: bool = False
    end_step: int = 25_000

    gradient_decay: ClassVar[float | None] = 0.0

    def __post_init__(self):
        check_fraction(self.fraction, "MEST")
        check_end_step(self.end_step, "MEST")
        if not is_number(self.gradient_weight) or self.gradient_weight < 0:
            raise ValueError(
                "MEST(gradient_weight=...) must be a number of at least 0: how much a gradient counts beside a weight. "
                f"Received: gradient_weight={self.gradient_weight!r}"
            )
        if not isinstance(self.soft_bound, bool):
            raise ValueError(
                "MEST(soft_bound=...) must be True or False: whether weights are grown beyond the budget before others "
                f"are dropped. Received: soft_bound={self.soft_bound!r}"
            )

    @property
    def conserves(self) -> bool:  # type: ignore[override]  # of the class elsewhere, here of an argument
        """Whether the number is the same after every update."""
        return not self.soft_bound

    def init(self, inputs: MethodInputs) -> dict:
        """What is beyond the budget, as the layers hold it, at first nothing.

        Raises:
            ValueError: `soft_bound` with a pattern whose groups each have a number of their own.
        """
        if not self.soft_bound:
            return {"pruned": ops.zeros((), "int32")}
        why = "MEST(soft_bound=True) grows beyond the number of weights for a while"
        refuse_groups(inputs, why, "Use soft_bound=False")
        beyond = inputs.retained.get("beyond") or [ops.zeros(mask.shape, "int8") for mask in inputs.masks]
        return {"beyond": beyond, "pruned": ops.zeros((), "int32")}

    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        """One update. `state["pruned"]` comes back as the number of units dropped."""
        fraction = annealed(self.fraction, inputs.step, self.end_step)
        active = inputs.count(inputs.active)
        if self.soft_bound:
            marked = [
                of.active(mask & (held > 0)) for of, mask, held in zip(inputs.units, inputs.masks, state["beyond"])
            ]
            excess = inputs.count(inputs.segments.join(marked))
            to_drop, to_grow = excess, rounded_fraction(fraction, active - excess)
        else:
            to_drop = ops.minimum(rounded_fraction(fraction, active), active - 1)
            to_grow = to_drop
        dropped = select_smallest(ordered_bits(self._worth(inputs)), inputs.active, to_drop, inputs.segments)
        kept = inputs.active & ~dropped
        grown = grow_at_random(inputs, taken_in_each(inputs, kept, to_grow), to_grow, "mest.grow", kept)
        report = {"pruned": ops.sum(to_drop)}
        if self.soft_bound:
            report["beyond"] = [
                ops.cast(of.mask(units, mask.shape), "int8")
                for of, units, mask in zip(inputs.units, inputs.segments.split(grown.units), inputs.masks)
            ]
        return Decision(kept, grown), report

    def _worth(self, inputs: MethodInputs):
        """|w| + weight * |g| of each unit, joined; what is no number counts as 0."""
        worth = inputs.magnitudes + self.gradient_weight * inputs.gradient_magnitudes
        return mask_weights(worth, worth >= 0)

    def state_of_grown(self, inputs: MethodInputs, index: int, positions) -> dict:
        """They are beyond the budget."""
        return {"beyond": ops.ones(ops.shape(positions), "int8")} if self.soft_bound else {}
