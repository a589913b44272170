"""A budget that grows or shrinks by plan, under any method that moves weights."""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_dsr.methods.base import Decision, Grown, Method, MethodInputs, check_method
from keras_dsr.methods.growth import grow_at_random, grow_where_largest
from keras_dsr.ops.apportionment import share_proportionally
from keras_dsr.ops.selection import ordered_bits, select_smallest
from keras_dsr.schedules import Schedule


@dataclasses.dataclass(frozen=True)
class DensitySchedule(Method):
    """Another method, with a budget that follows a schedule: exactly so many units are active after each update.

    The density at the step of an update, times the number of all units, is the number of active ones, rounded. What is
    above it is pruned first, in each tensor a part in proportion to its active units, those of the smallest magnitude;
    then the method decides among those that are left; then what is missing is grown, in proportion to the active units
    again: where gradients are largest if the method has them, where stored values are if it trains pruned weights, else
    at random. One unit stays in each tensor.

    Args:
        method: a method that conserves, such as `SET` or `DSR`.
        density: a schedule that stays in (0, 1]: `keras_dsr.schedules.cubic(0.5, 0.1, steps=5_000)`.

    Example:

    >>> density = keras_dsr.schedules.cosine(0.3, 0.05, steps=8_000)
    >>> method = keras_dsr.methods.DensitySchedule(keras_dsr.methods.SET(0.3), density)
    >>> keras_dsr.Reallocate(method, period=100)
    """

    method: Method
    density: Schedule

    conserves: ClassVar[bool] = False
    across: ClassVar[bool] = True

    def __post_init__(self):
        check_method(self.method, "DensitySchedule")
        if not self.method.conserves:
            raise ValueError(
                "DensitySchedule(method=...) must be a method that keeps the number of weights, which the schedule "
                f"changes then, such as SET, DSR, RigL or StraightThrough. Received: method={self.method!r}"
            )
        if not isinstance(self.density, Schedule):
            raise ValueError(
                "DensitySchedule(density=...) must be a schedule, such as keras_dsr.schedules.cubic(0.5, 0.1, "
                f"steps=5_000). Received: density={self.density!r}"
            )
        if self.density.values[0] <= 0 or self.density.values[1] > 1:
            raise ValueError(
                "DensitySchedule(density=...) must stay in (0, 1] at every step. Received: "
                f"density={self.density!r}, which goes from {self.density.start:g} to {self.density.end:g}"
            )

    @property
    def every_step(self) -> bool:  # type: ignore[override]
        """As the method."""
        return self.method.every_step

    @property
    def gradient_decay(self) -> float | None:  # type: ignore[override]
        """As the method."""
        return self.method.gradient_decay

    @property
    def pruned_training(self):  # type: ignore[override]
        """As the method."""
        return self.method.pruned_training

    def init(self, inputs: MethodInputs) -> dict:
        """As the method.

        Raises:
            ValueError: compact storage.
        """
        for index in inputs.positions:
            raise ValueError(
                f"DensitySchedule changes the number of weights, and {inputs.names[index]!r} is in compact storage, "
                "which has room for as many as there are. Build the layer with storage='masked'."
            )
        return self.method.init(inputs)

    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        """Prune to the schedule, let the method decide, grow to the schedule."""
        goal, counts = self._goal(inputs), inputs.count(inputs.active)
        fewer = ops.minimum(goal, ops.sum(counts)) - len(inputs.sizes)
        stay = 1 + share_proportionally(fewer, counts, counts - 1)
        above = select_smallest(ordered_bits(inputs.magnitudes), inputs.active, counts - stay, inputs.segments)
        decision, state = self.method.update(_without(inputs, above), state)

        grown = decision.grown.units if isinstance(decision.grown, Grown) else decision.grown
        grown = ops.zeros_like(inputs.active) if grown is None else grown & inputs.segments.holds_entry()
        active = (decision.kept & inputs.active & ~above) | grown
        now = inputs.count(active)
        free = ops.convert_to_tensor(inputs.sizes, "int32") - now
        missing = share_proportionally(ops.maximum(goal - ops.sum(now), 0), now, free)
        was_active = inputs.active | active
        has_room = ops.convert_to_tensor(inputs.sizes, "int32") - inputs.count(was_active) >= missing
        freed = was_active & inputs.segments.spread(has_room)  # not where one was just pruned, if there is room
        more = self._grown(inputs, active | freed, missing)
        if "pruned" in state:
            stay = decision.kept & inputs.active & ~above
            state = {**state, "pruned": ops.sum(counts) - ops.sum(inputs.count(stay))}
        return decision._replace(grown=Grown(grown | more.units, {})), state

    def _goal(self, inputs: MethodInputs):
        """The number of all active units at this step, an int32 scalar, at least one for each tensor."""
        total, tensors = sum(inputs.sizes), len(inputs.sizes)
        low, high = (max(tensors, round(value * total)) for value in self.density.values)
        goal = ops.clip(ops.cast(ops.round(self.density(inputs.step) * total), "int32"), low, high)
        if self.density.last is None:
            return goal
        # float32 counts to 2**24 only: the last number is exact.
        return ops.where(inputs.step >= self.density.last, max(tensors, round(self.density.end * total)), goal)

    def _grown(self, inputs: MethodInputs, taken, counts) -> Grown:
        if self.pruned_training is not None:
            return grow_where_largest(inputs, taken, counts, inputs.magnitudes)
        if self.gradient_decay is not None:
            return grow_where_largest(inputs, taken, counts)
        return grow_at_random(inputs, taken, counts, "density.grow")


def _without(inputs: MethodInputs, pruned) -> MethodInputs:
    """The inputs with some units pruned."""
    active = inputs.active & ~pruned
    units = zip(inputs.segments.split(active), inputs.units, inputs.masks)
    return dataclasses.replace(inputs, active=active, masks=[of.mask(one, mask.shape) for one, of, mask in units])
