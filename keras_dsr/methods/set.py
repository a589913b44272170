"""SET: in each tensor drop the weights closest to zero, and grow as many at random in the same tensor."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_dsr.arguments import is_one_of
from keras_dsr.methods.base import Decision, Method, MethodInputs
from keras_dsr.methods.dropping import check_fraction, drop_smallest, rounded_fraction
from keras_dsr.methods.growth import check_growth, grow_at_random, taken_in_each
from keras_dsr.ops.selection import ordered_bits, select_smallest
from keras_dsr.schedules import Schedule, by_step

RULES = ("magnitude", "signed")


@dataclasses.dataclass(frozen=True)
class SET(Method):
    """Sparse evolutionary training (Mocanu et al. 2018, Nature Communications 9:2383, arXiv 1707.04780, Algorithm 1).

    Each update drops, in every tensor, the fraction zeta of the active weights that lies closest to zero, and grows as
    many at random in the same tensor: each tensor keeps its number of weights.

    Args:
        fraction: float in (0, 1), zeta: the fraction of the active units of a tensor that is dropped, rounded to a
            whole number; one always stays. Or a schedule of it (`keras_dsr.schedules`).
        rule: `"magnitude"` drops those of smallest |w|, as Mostafa & Wang (2019) do. `"signed"` is the original's: the
            smallest positive weights and the largest negative ones, the fraction of each separately (zeros count as
            positive); with single weights only.
        growth: what a grown weight starts from: `"zeros"`, or `"initializer"`, a value drawn by the layer's kernel
            initializer (as in the original).

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.SET(fraction=0.3), period=100)
    """

    fraction: float | Schedule = 0.3
    rule: str = "magnitude"
    growth: str = "zeros"

    conserves: ClassVar[bool] = True

    def __post_init__(self):
        check_fraction(self.fraction, "SET")
        if not is_one_of(self.rule, RULES):
            raise ValueError(
                "SET(rule=...) must be 'magnitude' (the smallest |w|) or 'signed' (the smallest positive and the "
                f"largest negative weights, separately). Received: rule={self.rule!r}"
            )
        check_growth(self.growth, "SET")

    def init(self, inputs: MethodInputs) -> dict:
        """Nothing dropped yet.

        Raises:
            ValueError: `rule="signed"` with slices or blocks, which have no sign.
        """
        if self.rule == "signed" and not all(units.are_single for units in inputs.units):
            raise ValueError(
                "SET(rule='signed') needs pattern='element': a slice or a block has no sign. "
                "Use rule='magnitude', or build the layers with pattern='element'."
            )
        return {"pruned": ops.zeros((), "int32")}

    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        """One reallocation. `state["pruned"]` comes back as the number of units dropped (and grown)."""
        dropped = self._dropped(inputs)
        kept, counts = inputs.active & ~dropped, inputs.count(dropped)
        grown = grow_at_random(inputs, taken_in_each(inputs, kept, counts), counts, "set.grow", kept)
        return Decision(kept, grown, self.growth), {"pruned": ops.sum(counts)}

    def _dropped(self, inputs: MethodInputs):
        fraction = by_step(self.fraction)(inputs.step)
        if self.rule == "magnitude":
            return drop_smallest(inputs, fraction)
        below = inputs.segments.join([weight < 0 for weight in inputs.weights])
        negative, positive = inputs.active & below, inputs.active & ~below
        minus_size, plus_size = inputs.count(negative), inputs.count(positive)
        minus, plus = (rounded_fraction(fraction, size) for size in (minus_size, plus_size))
        most = minus_size + plus_size - 1  # one stays: a positive one, or a negative one if there is no other
        plus = ops.minimum(plus, ops.maximum(most - minus, 0))
        minus = ops.minimum(minus, most - plus)
        keys = ordered_bits(inputs.magnitudes)
        return select_smallest(keys, negative, minus, inputs.segments) | select_smallest(
            keys, positive, plus, inputs.segments
        )
