"""SET: in each tensor drop the weights closest to zero, and grow as many at random in the same tensor."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_dsr.arguments import is_one_of
from keras_dsr.methods.base import View
from keras_dsr.methods.dropping import check_fraction, drop_smallest, rounded_share
from keras_dsr.methods.growth import check_growth, grow, regrown, taken_in_each
from keras_dsr.ops.patterns import unit_mask
from keras_dsr.ops.randomness import StepSeed
from keras_dsr.ops.selection import count_true, ordered_bits, select_smallest

RULES = ("magnitude", "signed")


@dataclasses.dataclass(frozen=True)
class SET:
    """Sparse evolutionary training (Mocanu et al. 2018, Nature Communications 9:2383, arXiv 1707.04780, Algorithm 1).

    Each update drops, in every tensor, the fraction zeta of the active weights that lies closest to zero, and grows as
    many at random in the same tensor: each tensor keeps its number of weights.

    Args:
        fraction: float in (0, 1), zeta: the share of the active units of a tensor that is dropped, rounded to a whole
            number; one always stays.
        rule: `"magnitude"` drops those of smallest |w|, as Mostafa & Wang (2019) do. `"signed"` is the original's: the
            smallest positive weights and the largest negative ones, the fraction of each separately (zeros count as
            positive); at element granularity only.
        growth: what a grown weight starts from: `"zeros"`, or `"initializer"`, a value drawn by the layer's kernel
            initializer (as in the original).

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.SET(fraction=0.3), period=100)
    """

    fraction: float = 0.3
    rule: str = "magnitude"
    growth: str = "zeros"

    conserves: ClassVar[bool] = True
    every_step: ClassVar[bool] = False
    gradient_decay: ClassVar[float | None] = None
    grows_compact: ClassVar[bool] = True

    def __post_init__(self):
        check_fraction(self.fraction, "SET")
        if not is_one_of(self.rule, RULES):
            raise ValueError(
                "SET(rule=...) must be 'magnitude' (the smallest |w|) or 'signed' (the smallest positive and the "
                f"largest negative weights, separately). Received: rule={self.rule!r}"
            )
        check_growth(self.growth, "SET")

    def init(self, view: View) -> dict:
        """Nothing dropped yet.

        Raises:
            ValueError: `rule="signed"` with slices, which have no sign.
        """
        if self.rule == "signed" and any(view.unit_axes):
            raise ValueError(
                "SET(rule='signed') needs granularity 'element': a slice of a kernel has no sign. "
                "Use rule='magnitude', or build the layers with granularity='element'."
            )
        return {"pruned": ops.zeros((), "int32")}

    def update(self, view: View, state: dict, seed: int) -> tuple[list, list, dict]:
        """One reallocation. `state["pruned"]` comes back as the number of units dropped (and grown)."""
        active = [unit_mask(mask, axes) for mask, axes in zip(view.masks, view.unit_axes)]
        dropped = self._dropped(view, active)
        survivors = [units & ~drop for units, drop in zip(active, dropped)]
        counts = ops.stack([count_true(drop) for drop in dropped])
        taken = taken_in_each(active, survivors, counts, view.places)
        seeds = [StepSeed(seed, index, view.step, "set.grow") for index in range(len(active))]
        born = grow(taken, counts, seeds, view.places)
        weights, masks = regrown(view, survivors, born, self.growth, seed, "set.value")
        return weights, masks, {"pruned": ops.sum(counts)}

    def _dropped(self, view: View, active: list) -> list:
        if self.rule == "magnitude":
            return drop_smallest(view, active, self.fraction)
        negative = [units & (weight < 0) for weight, units in zip(view.weights, active)]
        positive = [units & ~below for units, below in zip(active, negative)]
        sizes = [ops.stack([count_true(units) for units in group]) for group in (negative, positive)]
        minus, plus = (rounded_share(self.fraction, size) for size in sizes)
        most = sum(sizes) - 1  # one stays: a positive one, or a negative one if there is no other
        plus = ops.minimum(plus, ops.maximum(most - minus, 0))
        minus = ops.minimum(minus, most - plus)
        keys = [ordered_bits(ops.abs(weight)) for weight in view.weights]
        chosen = select_smallest(keys * 2, negative + positive, ops.concatenate([minus, plus]))
        return [below | above for below, above in zip(chosen[: len(active)], chosen[len(active) :])]
