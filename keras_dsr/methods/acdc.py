"""AC/DC: compressed and dense phases in turn, and a compressed one at the end."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_dsr.arguments import LARGEST_STEP, is_number, is_one_of, is_whole
from keras_dsr.methods.base import Decision, Method, MethodInputs
from keras_dsr.methods.dropping import SCOPES, pruned_to, pruned_to_total
from keras_dsr.ops.selection import ordered_bits


@dataclasses.dataclass(frozen=True)
class ACDC(Method):
    """Alternating compressed and decompressed training (Peste, Iofinova, Vladu & Alistarh, NeurIPS 2021,
    arXiv 2106.12379, Algorithm 1).

    A network trains dense until `begin_step`. Then compressed and dense phases of `phase` steps follow in turn. When a
    compressed one begins the largest weights stay, the others are cut and the mask is fixed; when a dense one begins
    all weights are active again, those that were cut from 0 on, with slots that start over. From `end_step` on it is
    compressed for good. The number of active units is **not** conserved. Start from sparse layers of `sparsity=0`.

    Args:
        sparsity: float in [0, 1), of the compressed phases.
        begin_step: int, the optimizer step at which the first compressed phase begins.
        phase: int, the length of a phase in steps. 5 epochs in the paper.
        end_step: int, from which on it is compressed for good: in the paper the last 15 of 100 epochs. Let training go
            on for a `period` beyond.
        scope: `"global"`, the largest of the whole network stay, one in each tensor, as in the paper; `"tensor"`, each
            tensor has the sparsity, as the paper's 2:4.

    Example:

    >>> keras_dsr.Reallocate(keras_dsr.methods.ACDC(0.9, begin_step=1_000, phase=500, end_step=8_000), period=100)
    """

    sparsity: float = 0.9
    begin_step: int = 1_000
    phase: int = 500
    end_step: int = 8_000
    scope: str = "global"

    conserves: ClassVar[bool] = False

    def __post_init__(self):
        if not is_number(self.sparsity) or not 0 <= self.sparsity < 1:
            raise ValueError(
                "ACDC(sparsity=...) must be a float in [0, 1), the share of weights that is zero in compressed phases. "
                f"Received: sparsity={self.sparsity!r}"
            )
        steps = self.begin_step, self.phase, self.end_step
        are_steps = all(is_whole(step) and is_number(step) and step <= LARGEST_STEP for step in steps)
        if not are_steps or self.begin_step < 0 or self.phase < 1 or self.end_step < self.begin_step:
            raise ValueError(
                "ACDC(begin_step=..., phase=..., end_step=...) needs ints with 0 <= begin_step <= end_step and "
                "phase >= 1, counted in optimizer steps. Received: "
                f"begin_step={self.begin_step!r}, phase={self.phase!r}, end_step={self.end_step!r}"
            )
        if not is_one_of(self.scope, SCOPES):
            raise ValueError(f"ACDC(scope=...) must be 'tensor' or 'global'. Received: scope={self.scope!r}")

    @property
    def across(self) -> bool:  # type: ignore[override]  # of the class elsewhere, here of an argument
        """Whether tensors prune each other's part."""
        return self.scope == "global"

    def init(self, inputs: MethodInputs) -> dict:
        """Nothing cut yet.

        Raises:
            ValueError: a weight is in compact storage, or a sparsity that a pattern cannot have.
        """
        for index in inputs.positions:
            raise ValueError(
                f"ACDC restores all weights of a tensor, and {inputs.names[index]!r} is in compact storage, which has "
                "no room for them. Build the layer with storage='masked', or use DSR or SET."
            )
        self._numbers(inputs)
        return {"pruned": ops.zeros((), "int32")}

    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        """Cut, restore, or leave as it is. `state["pruned"]` comes back as the number of units cut."""
        keys, active, numbers = ordered_bits(inputs.magnitudes), inputs.count(inputs.active), self._numbers(inputs)
        is_compressed = self.is_compressed(inputs.step)
        if self.scope == "global":
            goal = ops.where(is_compressed, sum(numbers), ops.sum(active))
            dropped = pruned_to_total(inputs, goal, keys)
        else:
            dropped = pruned_to(inputs, ops.where(is_compressed, ops.convert_to_tensor(numbers, "int32"), active), keys)
        kept = inputs.active & ~dropped
        restored = inputs.segments.holds_entry() & ~inputs.active & ~is_compressed
        return Decision(kept, restored), {"pruned": ops.sum(inputs.count(dropped))}

    def is_compressed(self, step):
        """Whether a step lies in a compressed phase, a bool scalar."""
        turn = (step - self.begin_step) // self.phase
        return (step >= self.begin_step) & ((turn % 2 == 0) | (step >= self.end_step))

    def _numbers(self, inputs: MethodInputs) -> list[int]:
        """The active units of each tensor in a compressed phase; of all together their sum counts."""
        return [of.number_at(size, self.sparsity) for of, size in zip(inputs.units, inputs.sizes)]
