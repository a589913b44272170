"""Gradual pruning: a dense network loses its smallest weights little by little, while it trains."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import cast

from keras import ops

from keras_dsr.arguments import LARGEST_STEP, is_number, is_one_of, is_whole
from keras_dsr.methods.base import Decision, Method, MethodInputs
from keras_dsr.methods.dropping import SCOPES, pruned_to, pruned_to_total
from keras_dsr.ops.selection import ordered_bits
from keras_dsr.ops.sparsity_distributions import sparsities_by_name

SCHEDULES = ("polynomial", "exponential")


@dataclasses.dataclass(frozen=True)
class GradualPruning(Method):
    """Gradual magnitude pruning (Zhu & Gupta 2017, arXiv 1710.01878, eq. 1).

    Each update prunes the smallest active units until the sparsity is that of the schedule at this step:
    s(t) = s_f + (s_i - s_f) * (1 - t) ** power, with t going from 0 at `begin_step` to 1 at `end_step`. Nothing grows:
    the number of active units is **not** conserved, it falls from that of the initial to that of the final sparsity.
    Start from sparse layers of `sparsity=0`. After `end_step` the mask stays.

    Args:
        initial_sparsity: float in [0, 1), s_i.
        final_sparsity: float in [0, 1), s_f, at least s_i; or one such number a sparse weight, in the order of
            the model; or a mapping from the names of sparse weights to such numbers (s_i for those that it leaves out),
            as `keras_dsr.sensitivity(...).choose(...)` returns.
        begin_step: int, the optimizer step before which nothing is pruned.
        end_step: int, above `begin_step`: the first update at or after it reaches the final sparsity, so let training
            go on for a `period` beyond.
        power: positive number, 3 in the paper: pruning is fast at first, and slow at the end.
        schedule: `"polynomial"`, as above; `"exponential"`, the density 1 - s falls by the same factor in equal times
            (`power` is not used), as Mostafa & Wang (2019) prune ResNet-50.
        scope: `"tensor"`, every tensor has the sparsity of the schedule; `"global"`, the smallest units go wherever
            they are, and only the total follows the schedule; one stays in each tensor.

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.GradualPruning(final_sparsity=0.9, end_step=5_000), period=100)
    """

    initial_sparsity: float = 0.0
    final_sparsity: float | Sequence[float] | Mapping[str, float] = 0.9
    begin_step: int = 0
    end_step: int = 10_000
    power: float = 3
    schedule: str = "polynomial"
    scope: str = "tensor"

    def __post_init__(self):
        named = isinstance(self.final_sparsity, Mapping)
        finals = list(self.final_sparsity.values()) if named else self._finals([""])
        numbers_are_fine = all(_is_sparsity(value) for value in (self.initial_sparsity, *finals)) and len(finals)
        names_are_fine = not named or all(isinstance(name, str) for name in self.final_sparsity)
        if not (numbers_are_fine and names_are_fine) or min(finals) < self.initial_sparsity:
            raise ValueError(
                "GradualPruning(initial_sparsity=..., final_sparsity=...) needs "
                "0 <= initial_sparsity <= final_sparsity < 1, the shares of weights that are zero at the beginning and "
                "at the end (the latter may be a sequence, one number a sparse weight, or a mapping from names to "
                "numbers). Received: "
                f"initial_sparsity={self.initial_sparsity!r}, final_sparsity={self.final_sparsity!r}"
            )
        steps = (self.begin_step, self.end_step)
        are_steps = all(is_whole(step) and is_number(step) for step in steps) and steps[0] <= LARGEST_STEP
        if not are_steps or not 0 <= steps[0] < steps[1]:
            raise ValueError(
                "GradualPruning(begin_step=..., end_step=...) needs ints with 0 <= begin_step < end_step, counted in "
                "optimizer steps. Received: "
                f"begin_step={self.begin_step!r}, end_step={self.end_step!r}"
            )
        if not is_number(self.power) or self.power <= 0:
            raise ValueError(f"GradualPruning(power=...) must be a positive number. Received: power={self.power!r}")
        for name, known in (("schedule", SCHEDULES), ("scope", SCOPES)):
            if not is_one_of(getattr(self, name), known):
                raise ValueError(
                    f"GradualPruning({name}=...) must be {known[0]!r} or {known[1]!r}. "
                    f"Received: {name}={getattr(self, name)!r}"
                )
        if self.scope == "global" and not is_number(self.final_sparsity):
            raise ValueError(
                "GradualPruning(scope='global') has one final_sparsity for all tensors together. "
                f"Received: final_sparsity={self.final_sparsity!r}"
            )

    def init(self, inputs: MethodInputs) -> dict:
        """Nothing pruned yet.

        Raises:
            ValueError: `final_sparsity` is a sequence of another length than the model has sparse weights, or names one
                that the model does not have; or one that a pattern cannot have.
        """
        self._finals(inputs.names)
        if isinstance(self.final_sparsity, Sequence) and len(self.final_sparsity) != len(inputs.names):
            raise ValueError(
                f"GradualPruning(final_sparsity=...) must have one number for each of the {len(inputs.names)} sparse "
                f"weights of the model, or be one number. Received {len(self.final_sparsity)}: {self.final_sparsity!r}"
            )
        for of, size, final in zip(inputs.units, inputs.sizes, self._finals(inputs.names)):
            of.number_at(size, final)
        return {"pruned": ops.zeros((), "int32")}

    @property
    def across(self) -> bool:  # type: ignore[override]  # of the class elsewhere, here of an argument
        """Whether tensors prune each other's part."""
        return self.scope == "global"

    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        """Prune what is above the schedule at this step. `state["pruned"]` comes back as the number of units pruned."""
        keys, is_time = ordered_bits(inputs.magnitudes), inputs.step >= self.begin_step
        if self.scope == "global":
            goal = self.goal(sum(inputs.sizes), cast(float, self.final_sparsity), inputs.step)
            dropped = pruned_to_total(inputs, ops.where(is_time, goal, sum(inputs.sizes)), keys)
        else:
            finals = self._finals(inputs.names)
            goals = ops.stack([self.goal(size, final, inputs.step) for size, final in zip(inputs.sizes, finals)])
            dropped = pruned_to(inputs, ops.where(is_time, goals, inputs.count(inputs.active)), keys)
        return Decision(inputs.active & ~dropped), {"pruned": ops.sum(inputs.count(dropped))}

    def _finals(self, names: Sequence[str]) -> Sequence[float]:
        """The final sparsity of each tensor."""
        if isinstance(self.final_sparsity, Sequence):
            return self.final_sparsity
        return sparsities_by_name(self.final_sparsity, names, self.initial_sparsity, "GradualPruning")

    def goal(self, size: int, final_sparsity: float, step):
        """How many of `size` units are active at a step by the schedule, as an int32 scalar, at least 1."""
        done = ops.cast(step - self.begin_step, "float32") / (self.end_step - self.begin_step)
        done = ops.clip(done, 0.0, 1.0)
        first, last = 1 - self.initial_sparsity, 1 - final_sparsity
        if self.schedule == "exponential":
            density = first * (last / first) ** done
        else:
            density = last + (first - last) * (1 - done) ** self.power
        goal = ops.cast(ops.round(density * size), "int32")
        # float32 rounds otherwise than the layers do, and counts to 2**24 only: the last number is exact, and the
        # goal is never below it on the way.
        final = max(1, round(last * size))
        return ops.where(done >= 1, final, ops.maximum(goal, final))


def pruning_of(owner: str, *arguments, **settings) -> GradualPruning:
    """The pruning that is a part of another method; an argument that is refused is refused in its name."""
    try:
        return GradualPruning(*arguments, **settings)
    except ValueError as error:
        raise ValueError(str(error).replace("GradualPruning(", f"{owner}(")) from None


def _is_sparsity(value) -> bool:
    return is_number(value) and 0 <= value < 1
