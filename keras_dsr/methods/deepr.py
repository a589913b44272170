"""DeepR: a random walk in which a weight dies where it would change its sign, and another is grown at random."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar

import keras
from keras import ops

from keras_dsr.arguments import check_steps, checked_pairs, is_function, is_number
from keras_dsr.methods.base import Decision, Method, MethodInputs
from keras_dsr.methods.growth import grow_at_random, grow_none, taken_in_each
from keras_dsr.ops.randomness import StepSeed
from keras_dsr.schedules import by_step


@dataclasses.dataclass(frozen=True)
class DeepR(Method):
    """Deep rewiring (Bellec, Kappel, Maass & Legenstein, ICLR 2018, arXiv 1711.05136, Algorithm 1).

    Every position has a sign s that never changes; a weight w = s * theta is active while theta >= 0. At every step,
    after the optimizer's, each active theta moves by -eta * l1 + sqrt(2 * eta * T) * N(0, 1). Those below zero die, and
    as many pruned positions of the same tensor, chosen at random, become active with theta = 0: each tensor keeps its
    number of weights.

    In compact storage the sign of a position is drawn anew each time that a weight is grown there.

    It acts after every step of the optimizer: `period=1`, no `steps_per_execution`, pattern `"element"`.

    Args:
        temperature: T, the strength of the noise: a number of at least 0, `(step, T)` pairs, each in force from that
            step on, or a function of the step (an int32 scalar tensor).
        l1: float of at least 0, alpha of the paper: the L1 penalty. (Weight decay is better left out beside it.)
        learning_rate: eta of the noise and of the penalty; None: the optimizer's at that step.

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.DeepR(temperature=[(0, 1e-5), (10_000, 1e-8)]), period=1)
    """

    temperature: float | Sequence[tuple[int, float]] | Callable = 1e-5
    l1: float = 1e-5
    learning_rate: float | None = None

    conserves: ClassVar[bool] = True
    every_step: ClassVar[bool] = True

    def __post_init__(self):
        for name in ("l1", "learning_rate"):
            value = getattr(self, name)
            if not _is_non_negative(value) and not (name == "learning_rate" and value is None):
                raise ValueError(f"DeepR({name}=...) must be a number of at least 0. Received: {name}={value!r}")
        temperature = self.temperature
        pairs = temperature if isinstance(temperature, Sequence) and len(temperature) else [(0, temperature)]
        is_schedule = all(isinstance(pair, Sequence) and len(pair) == 2 and _is_non_negative(pair[1]) for pair in pairs)
        if is_function(temperature):
            return
        if not is_schedule:
            raise ValueError(
                "DeepR(temperature=...) must be a number of at least 0, (step, temperature) pairs, or a function of "
                f"the step. Received: temperature={temperature!r}"
            )
        check_steps([step for step, _ in checked_pairs(pairs, "DeepR", "temperature")], "DeepR", "temperature", pairs)

    def init(self, inputs: MethodInputs) -> dict:
        """The sign of every position: that of its weight where one is active, else what it was, at first at random.

        Raises:
            ValueError: slices or blocks, or a model with no learning rate and none given.
        """
        if not all(units.are_single for units in inputs.units):
            raise ValueError(
                "DeepR needs pattern='element': single weights change their signs, not slices or blocks. "
                "Build the layers with pattern='element'."
            )
        if self.learning_rate is None and bool(ops.isnan(inputs.learning_rate)):
            raise ValueError(
                "DeepR(learning_rate=None) takes the optimizer's, and this model has none or several. "
                "Compile it with one optimizer, or pass DeepR(learning_rate=0.01)."
            )
        before = inputs.retained.get("signs") or [ops.zeros(mask.shape, "int8") for mask in inputs.masks]
        signs = []
        for index, (weight, mask) in enumerate(zip(inputs.weights, inputs.masks)):
            drawn = _signs(weight.shape, StepSeed(0, index, 0, "deepr.sign"))
            sign = ops.where(before[index] == 0, drawn, before[index])
            # A weight that another method or optimizer has moved since keeps its own sign.
            own = ops.cast(ops.sign(weight), "int8")
            signs.append(ops.where(mask & (own != 0), own, sign))
        return {"signs": signs, "pruned": ops.zeros((), "int32")}

    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        """One step of the walk. `state["pruned"]` comes back as the number of weights pruned (and grown)."""
        eta = inputs.learning_rate if self.learning_rate is None else self.learning_rate
        eta = ops.cast(eta, "float32")
        temperature = ops.cast(by_step(self.temperature)(inputs.step), "float32")
        scale = ops.sqrt(2 * eta * temperature)
        weights, kept = [], []
        for weight, mask, sign, seed in zip(inputs.weights, inputs.masks, state["signs"], inputs.seeds("deepr.noise")):
            noise = keras.random.normal(weight.shape, seed=seed)
            sign = ops.cast(sign, "float32")
            theta = sign * ops.cast(weight, "float32") - eta * self.l1 + scale * noise
            # Judged as it is stored: in float16 a small theta may round to zero, which is active.
            moved = ops.cast(sign * theta, weight.dtype)
            weights.append(moved)
            kept.append(mask & (sign * ops.cast(moved, "float32") >= 0))
        kept = inputs.segments.join(kept)
        counts = inputs.count(inputs.active) - inputs.count(kept)
        grown = ops.cond(  # with a low temperature most steps prune nothing
            ops.sum(counts) > 0,
            lambda: grow_at_random(inputs, taken_in_each(inputs, kept, counts), counts, "deepr.grow", kept),
            lambda: grow_none(inputs),
        )
        return Decision(kept, grown, weights=weights), {"pruned": ops.sum(counts)}

    def state_of_grown(self, inputs: MethodInputs, index: int, positions) -> dict:
        """The signs, drawn at random."""
        return {"signs": _signs(ops.shape(positions), inputs.seed_of(index, "deepr.sign"))}


def _signs(shape, seed: StepSeed):
    """-1 or 1 with equal probability, int8."""
    return ops.cast(ops.where(keras.random.uniform(shape, seed=seed) < 0.5, -1, 1), "int8")


def _is_non_negative(value) -> bool:
    return is_number(value) and value >= 0
