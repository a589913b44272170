"""RigL: in each tensor drop the smallest weights, and grow as many where the gradient is largest."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_dsr.methods.base import View
from keras_dsr.methods.dropping import annealed, check_end_step, check_fraction, drop_smallest
from keras_dsr.methods.growth import gradient_magnitudes, grow_where_largest, regrown
from keras_dsr.ops.patterns import unit_mask
from keras_dsr.ops.selection import count_true


@dataclasses.dataclass(frozen=True)
class RigL:
    """The rigged lottery (Evci, Gale, Menick, Castro & Elsen, ICML 2020, arXiv 1911.11134, Algorithm 1).

    Each update drops, in every tensor, a fraction of the active units, those of smallest magnitude, and grows as many
    where the magnitude of the loss's gradient is largest, at weight 0: each tensor keeps its number of units. A unit
    that was just dropped may be grown at once; then it stays as it was, with its weight.

    At step t the fraction is fraction / 2 * (1 + cos(pi * t / end_step)); from `end_step` on nothing moves. The
    gradients are those of the last step; only `SparseOptimizer` sees them at dead places.

    Args:
        fraction: float in (0, 1), alpha of the paper: the share of the active units of a tensor that is dropped at
            step 0, rounded to a whole number; one always stays.
        end_step: int, positive, T_end of the paper: in optimizer steps. 25,000 of 32,000 there.

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.RigL(fraction=0.3, end_step=25_000), period=100)
    """

    fraction: float = 0.3
    end_step: int = 25_000

    conserves: ClassVar[bool] = True
    every_step: ClassVar[bool] = False
    gradient_decay: ClassVar[float | None] = 0.0

    def __post_init__(self):
        check_fraction(self.fraction, "RigL")
        check_end_step(self.end_step, "RigL")

    def init(self, view: View) -> dict:
        """Nothing moved yet."""
        return {"pruned": ops.zeros((), "int32")}

    def update(self, view: View, state: dict, seed: int) -> tuple[list, list, dict]:
        """One reallocation. `state["pruned"]` comes back as the number of units that died (and were born).

        Units that were dropped and grown in the same place are not among them: they never left.
        """
        active = [unit_mask(mask, axes) for mask, axes in zip(view.masks, view.unit_axes)]
        dropped = drop_smallest(view, active, annealed(self.fraction, view.step, self.end_step))
        survivors = [units & ~drop for units, drop in zip(active, dropped)]
        counts = ops.stack([count_true(drop) for drop in dropped])
        grown = grow_where_largest(survivors, counts, gradient_magnitudes(view))

        kept = [survived | (units & new) for survived, units, new in zip(survivors, active, grown)]
        born = [new & ~units for new, units in zip(grown, active)]
        weights, masks = regrown(view, kept, born, "zeros", seed, "")
        return weights, masks, {"pruned": ops.sum(ops.stack([count_true(new) for new in born]))}
