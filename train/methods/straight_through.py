"""Methods that train weights which the network does not see."""

import dataclasses

from keras_dsr import Reallocate, methods
from train.methods.base import Marks, Plan
from train.methods.moving import Moving


@dataclasses.dataclass(frozen=True)
class StraightThrough(Moving):
    """Magnitude pruning with a straight-through gradient (of N:M patterns SR-STE, arXiv 2102.04010).

    Attributes:
        decay: of weights that the network does not see.
        relative_to_output: whether it selects by |w| relative to those of their output.
    """

    period: Marks = ((0, 10),)
    decay: float = 0.0
    relative_to_output: bool = False

    def callback(self, plan: Plan) -> Reallocate:
        method = methods.StraightThrough(self.decay, relative_to_output=self.relative_to_output)
        return self.reallocate(plan, method)


@dataclasses.dataclass(frozen=True)
class TopKAST(Moving):
    """The method of Jayakumar et al., NeurIPS 2020 (arXiv 2106.03517).

    Attributes:
        trained: how many times as many weights are trained as the network sees.
        decay: of those that it does not see.
        relative_to_output: as `StraightThrough`.
    """

    period: Marks = ((0, 10),)
    trained: float = 2.0
    decay: float = 0.0
    relative_to_output: bool = False

    def callback(self, plan: Plan) -> Reallocate:
        backward_sparsity = max(0.0, 1 - self.trained * (1 - plan.settings.sparsity))
        method = methods.TopKAST(backward_sparsity, self.decay, relative_to_output=self.relative_to_output)
        return self.reallocate(plan, method)
