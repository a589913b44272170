"""CHTs: weights are removed by chance, small ones sooner, and grown where the topology of their layer is dense."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_dsr.arguments import is_one_of
from keras_dsr.methods.base import Decision, Grown, Method, MethodInputs
from keras_dsr.methods.dropping import check_end_step, check_fraction, rounded_fraction
from keras_dsr.methods.growth import taken_in_each
from keras_dsr.ops.randomness import random_keys
from keras_dsr.ops.selection import select_smallest, signed_bits
from keras_dsr.ops.units import SINGLE
from keras_dsr.schedules import Schedule, by_step

REMOVALS = ("magnitude", "relative_importance")
_LATE = 1e30  # beyond every number of a race
_RANGE = 2.0**31


@dataclasses.dataclass(frozen=True)
class CHTs(Method):
    """The soft rule of Cannistraci-Hebb training (Zhang, Zhao, Wu, Muscoloni & Cannistraci, NeurIPS 2025,
    arXiv 2501.19107, eq. 1 to 3), without gradients.

    Each update keeps, in every tensor, the part that is not removed by chance: without replacement, with probabilities
    in proportion to worth ** (d / (1 - d)), where d rises from 0.5 to 0.75. Then it grows as many by chance, in
    proportion to their CH2-L3n score: with z the neighbours on paths of three links from the input to the output, the
    sum over z of (1 + their links among these neighbours) / (1 + their links to others). Where nothing leads from an
    input to an output the score is 0, and only if no others are left such positions are grown, uniformly. Each tensor
    keeps its number of weights.

    For matrices (dense layers, projections of attention) of single weights. An update multiplies the masks of a layer
    of n inputs and m outputs with themselves: n * m * (n + m) multiplications twice, and matrices of n * n and m * m.
    (Their initial topology, and the removal of neurons that have lost all inputs or outputs, are not part of it.)

    Args:
        fraction: float in (0, 1), zeta: of the active weights of a tensor, that is removed; one stays. Or a schedule of
            it (`keras_dsr.schedules`).
        removal: `"magnitude"`, the worth is |w|; `"relative_importance"`, |w| / sum of |w| of its input + |w| / sum of
            |w| of its output.
        end_step: int, positive, in optimizer steps, where d reaches 0.75.

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.CHTs(fraction=0.3, end_step=10_000), period=100)
    """

    fraction: float | Schedule = 0.3
    removal: str = "magnitude"
    end_step: int = 25_000

    conserves: ClassVar[bool] = True

    def __post_init__(self):
        check_fraction(self.fraction, "CHTs")
        check_end_step(self.end_step, "CHTs")
        if not is_one_of(self.removal, REMOVALS):
            raise ValueError(
                f"CHTs(removal=...) must be 'magnitude' or 'relative_importance'. Received: removal={self.removal!r}"
            )

    def init(self, inputs: MethodInputs) -> dict:
        """Nothing moved yet.

        Raises:
            ValueError: a tensor that is no matrix of single weights, or is in compact storage.
        """
        for index, (name, of, outputs) in enumerate(zip(inputs.names, inputs.units, inputs.outputs, strict=True)):
            if outputs is None or outputs.view[0] > 1 or of != SINGLE or index in inputs.positions:
                what = "is in compact storage" if index in inputs.positions else "is no matrix of single weights"
                raise ValueError(
                    f"CHTs grows by the topology of a layer, as a matrix of inputs by outputs, and {name!r} {what}. "
                    "Give it dense layers alone, as in Reallocate({keras.layers.Dense: CHTs()}), with "
                    "pattern='element' and storage='masked', or use SET."
                )
        return {"pruned": ops.zeros((), "int32")}

    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        """One reallocation. `state["pruned"]` comes back as the number of weights removed (and grown)."""
        softness = 0.5 + 0.25 * ops.minimum(ops.cast(inputs.step, "float32") / self.end_step, 1.0)
        active = inputs.count(inputs.active)
        counts = ops.minimum(rounded_fraction(by_step(self.fraction)(inputs.step), active), active - 1)
        keys = _race(inputs, self._worth(inputs), softness / (1 - softness), "chts.keep")
        kept = select_smallest(keys, inputs.active, active - counts, inputs.segments)
        masks = zip(inputs.segments.split(kept), inputs.outputs)
        scores = inputs.segments.join(
            [ops.reshape(of.unfold(_scores(of.fold(m)), m.shape), m.shape) for m, of in masks]
        )
        keys = _race(inputs, scores, 1.0, "chts.grow")
        grown = select_smallest(keys, ~taken_in_each(inputs, kept, counts), counts, inputs.segments)
        return Decision(kept, Grown(grown, {})), {"pruned": ops.sum(counts)}

    def _worth(self, inputs: MethodInputs):
        if self.removal == "magnitude":
            return inputs.magnitudes
        worth = []
        for tensor, mask, of in zip(
            inputs.segments.split(inputs.magnitudes), inputs.segments.split(inputs.active), inputs.outputs
        ):
            size = of.fold(ops.where(mask, tensor, 0.0))
            sums = [ops.maximum(ops.sum(size, axis=axis, keepdims=True), 1e-37) for axis in (0, 1)]
            worth.append(of.unfold(size / sums[0] + size / sums[1], tensor.shape))
        return inputs.segments.join(worth)


def _scores(mask):
    """The CH2-L3n score of each pair of an output and an input, of shape `(outputs, inputs)`."""
    links = ops.cast(mask, "float32")
    of_outputs, of_inputs = _share_inside(links), _share_inside(ops.transpose(links))
    # The sum over the outputs that are linked to the input, and over the inputs that are linked to the output.
    return ops.matmul(of_outputs, links) + ops.transpose(ops.matmul(of_inputs, ops.transpose(links)))


def _share_inside(links):
    """For each pair of nodes of one side: what the second is worth as a neighbour on the paths that begin at the first.

    Its links inside are those to neighbours of the first; of the others one is that to the end of the path.

    Returns:
        A float tensor of shape `(nodes, nodes)`, 0 where they have no neighbour in common.
    """
    inside = ops.matmul(links, ops.transpose(links))
    outside = ops.maximum(ops.sum(links, axis=1) - inside - 1, 0)
    return ops.where(inside > 0, (1 + inside) / (1 + outside), 0.0)


def _race(inputs: MethodInputs, worth, exponent, purpose: str):
    """Integer keys of which the smallest are a sample without replacement, in proportion to worth ** exponent.

    The times of independent exponential clocks, by their logarithms (Efraimidis & Spirakis 2006). What is worth nothing
    comes last, in random order.
    """
    draws = ops.cast(random_keys(inputs.segments, inputs.seeds(purpose)), "float32")
    uniform = (draws + 0.5) / _RANGE
    times = ops.log(-ops.log(uniform)) - exponent * ops.log(ops.maximum(worth, 1e-37))
    return signed_bits(ops.where(worth > 0, times, _LATE * (1 + uniform)))
