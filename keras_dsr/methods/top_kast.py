"""Top-KAST: the network sees the largest weights, and a larger set of them is trained."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_dsr.arguments import check_flag, is_number
from keras_dsr.methods.base import Decision, Method, MethodInputs, PrunedTraining
from keras_dsr.methods.growth import refuse_groups, relative_to_output
from keras_dsr.methods.straight_through import largest_units


@dataclasses.dataclass(frozen=True)
class TopKAST(Method):
    """Top-K always sparse training (Jayakumar, Pascanu, Rae, Osindero & Elsen, NeurIPS 2020, arXiv 2106.03517).

    Each update selects in every tensor the units of the largest magnitudes: as many as its budget are active, the set A
    that the network sees, and a larger number, the set B that contains them, is trained, by the gradient of what the
    network sees (eq. 2 and 3 there). The others stay as they are. Until the first update all are trained. (Masked
    layers hold all weights and their gradients, so this spares neither memory nor time here.)

    Args:
        backward_sparsity: float in [0, 1), the fraction of a tensor that is not in B, rounded to whole units. It must
            not be above the sparsity of a tensor.
        decay: float, at least 0: the weight decay of what is in B and not in A, which the paper's exploration penalty
            makes larger than that of A, by one over the density.
        start, relative_to_output: as `StraightThrough`.

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.TopKAST(backward_sparsity=0.8), period=100)
    """

    backward_sparsity: float = 0.5
    decay: float = 0.0
    start: str = "initializer"
    relative_to_output: bool = False

    conserves: ClassVar[bool] = True

    def __post_init__(self):
        if not is_number(self.backward_sparsity) or not 0 <= self.backward_sparsity < 1:
            raise ValueError(
                "TopKAST(backward_sparsity=...) must be a float in [0, 1): the fraction of each tensor that is not "
                f"trained. Received: backward_sparsity={self.backward_sparsity!r}"
            )
        check_flag(self.relative_to_output, "TopKAST", "relative_to_output")
        PrunedTraining.checked(self.decay, self.start, "TopKAST")

    @property
    def pruned_training(self) -> PrunedTraining:  # type: ignore[override]  # of the class elsewhere, here of arguments
        """Those of B are trained; until the first update all."""
        return PrunedTraining(self.decay, self.start)

    def init(self, inputs: MethodInputs) -> dict:
        """Nothing moved yet.

        Raises:
            ValueError: B would be smaller than A, or a pattern has groups.
        """
        refuse_groups(inputs, "TopKAST selects in a tensor as a whole", "Use StraightThrough")
        active = ops.convert_to_numpy(inputs.count(inputs.active))
        for name, size, count in zip(inputs.names, inputs.sizes, active):
            if self._trained(size) < count:
                raise ValueError(
                    f"TopKAST(backward_sparsity=...) must leave at least the {count:,} units of {name!r} that are "
                    f"active, of {size:,}. Received: backward_sparsity={self.backward_sparsity!r}, which leaves "
                    f"{self._trained(size):,}"
                )
        return {"pruned": ops.zeros((), "int32")}

    def _trained(self, size: int) -> int:
        return max(1, round((1 - self.backward_sparsity) * size))

    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        """One selection. `state["pruned"]` comes back as the number of units that are not seen any more."""
        counts = inputs.count(inputs.active)
        scores = relative_to_output(inputs, inputs.magnitudes) if self.relative_to_output else inputs.magnitudes
        numbers = ops.convert_to_tensor([self._trained(size) for size in inputs.sizes], "int32")
        chosen, trained = (largest_units(inputs, number, scores) for number in (counts, numbers))
        kept = inputs.active & chosen
        pruned = ops.sum(counts) - ops.sum(inputs.count(kept))
        return Decision(kept, chosen & ~inputs.active, trained=trained), {"pruned": pruned}
