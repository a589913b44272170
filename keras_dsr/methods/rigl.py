"""RigL: in each tensor drop the smallest weights, and grow as many where the gradient is largest."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_dsr.arguments import check_flag, is_number
from keras_dsr.methods.ablation import ablate, check_fan_in
from keras_dsr.methods.base import Decision, Grown, Method, MethodInputs
from keras_dsr.methods.dropping import annealed, check_end_step, check_fraction, drop_smallest
from keras_dsr.methods.growth import check_relative_to_output, grow_where_largest, relative_to_output
from keras_dsr.schedules import Schedule


@dataclasses.dataclass(frozen=True)
class RigL(Method):
    """The rigged lottery (Evci, Gale, Menick, Castro & Elsen, ICML 2020, arXiv 1911.11134, Algorithm 1).

    Each update drops, in every tensor, a fraction of the active units, those of smallest magnitude, and grows as many
    where the magnitude of the loss's gradient is largest, at weight 0: each tensor keeps its number of units. A unit
    that was just dropped may be grown at once; then it stays as it was, with its weight.

    At step t the fraction is fraction / 2 * (1 + cos(pi * t / end_step)); from `end_step` on nothing moves. The
    gradients are those of the last step, at pruned positions too.

    Args:
        fraction: float in (0, 1), alpha of the paper: the fraction of the active units of a tensor that is dropped at
            step 0, rounded to a whole number; one always stays. Or a
            schedule of it (`keras_dsr.schedules`), in the place of the cosine.
        end_step: int, positive, T_end of the paper: in optimizer steps. 25,000 of 32,000 there.
        relative_to_output: bool, whether each gradient is divided by the root mean square of those of its output. By
            gradients as they are (the paper's rule) a narrow network with batch norm, at high sparsity, can end with
            nearly all of its weights at a few outputs.
        min_salient: float in (0, 1), gamma_sal of SRigL (Lasby, Golubeva, Evci, Nica & Ioannou, ICLR 2024, arXiv
            2305.02299, section 3), 0.3 there; only with the pattern `"fan_in"`. An output of which fewer weights are
            salient than this part of the fan-in (its largest ones that stay, and the pruned ones that would grow if
            outputs did not matter) loses all its weights, for good; the others have a larger fan-in then. Only as
            many outputs go as make it larger by a whole number; what is left of the division (less than the weights
            of one output) is lost, so that the number of weights may fall a little, and never rises. None: no output
            is ablated.

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.RigL(fraction=0.3, end_step=25_000), period=100)
    """

    fraction: float | Schedule = 0.3
    end_step: int = 25_000
    relative_to_output: bool = False
    min_salient: float | None = None

    gradient_decay: ClassVar[float | None] = 0.0

    def __post_init__(self):
        check_fraction(self.fraction, "RigL")
        check_end_step(self.end_step, "RigL")
        check_flag(self.relative_to_output, "RigL", "relative_to_output")
        if self.min_salient is not None and not (is_number(self.min_salient) and 0 < self.min_salient < 1):
            raise ValueError(
                "RigL(min_salient=...) must be a float in (0, 1), such as 0.3: outputs of which a smaller part of the "
                f"weights is salient are ablated; or None. Received: min_salient={self.min_salient!r}"
            )

    @property
    def conserves(self) -> bool:  # type: ignore[override]
        """Whether no output is ablated."""
        return self.min_salient is None

    def init(self, inputs: MethodInputs) -> dict:
        """Nothing moved yet."""
        if self.relative_to_output:
            check_relative_to_output(inputs, "RigL")
        if self.min_salient is not None:
            check_fan_in(inputs, "RigL(min_salient=...)")
        return {"pruned": ops.zeros((), "int32")}

    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        """One reallocation. `state["pruned"]` comes back as the number of units pruned (and grown).

        Units that were dropped and grown in the same position are not among them: they never left.
        """
        dropped = drop_smallest(inputs, annealed(self.fraction, inputs.step, self.end_step))
        survivors, counts = inputs.active & ~dropped, inputs.count(dropped)
        scores = relative_to_output(inputs, inputs.gradient_magnitudes) if self.relative_to_output else None
        if self.min_salient is not None:
            scores = inputs.gradient_magnitudes if scores is None else scores
            kept, grown = ablate(inputs, survivors, counts, scores, self.min_salient)
            again = inputs.active & grown
            moved = ops.sum(inputs.count(inputs.active)) - ops.sum(inputs.count(kept | again))
            return Decision(kept | again, grown & ~inputs.active), {"pruned": moved}
        chosen = grow_where_largest(inputs, survivors, counts, scores, kept=survivors)
        again = inputs.active & chosen.units
        grown = Grown(chosen.units & ~inputs.active, chosen.positions)
        return Decision(survivors | again, grown), {"pruned": ops.sum(counts) - ops.sum(inputs.count(again))}
