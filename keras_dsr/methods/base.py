"""The contract of a method: what it is given, what it decides, and what it says of itself."""

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple

from keras import ops

from keras_dsr.arguments import is_number, is_one_of
from keras_dsr.ops.masking import mask_weights
from keras_dsr.ops.randomness import StepSeed
from keras_dsr.ops.segments import Segments


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodInputs:
    """What a method decides from: all sparse weights of a reallocation, as tensors.

    What is pruned and grown as a whole is a unit: a weight, a slice or a block. The units of all tensors are
    joined in one tensor of shape `(rows, WIDTH)`, so that an operation works on the whole network; `segments` counts
    them by tensor, and splits and joins (see `ops.segments`). A tensor in compact storage has the units that it has
    room for in place of all units of the dense tensor (of slices, one row each), and nothing else differs.

    Attributes:
        step: int32 scalar, the optimizer's steps since training with this method began.
        seed: int, the seed of the run.
        segments: `Segments`, how the units are joined.
        active: joined bool tensor, the units that are active.
        magnitudes: joined float32 tensor, the mean |w| of each unit. None for `init`.
        gradient_magnitudes: joined float32 tensor, the mean |m| of each unit (of `gradients`); what is not finite
            counts as 0. None for `init`, and for a method whose `gradient_decay` is None.
        learning_rate: float32 scalar, of the next step; NaN where a model has no optimizer or several.
        names: list of strings, the paths of the weights, such as `"dense/kernel"`.
        sizes: list of ints, the number of units of each dense tensor.
        weights: list of float tensors as they are stored, in which an entry that is not active may hold anything.
        masks: list of bool tensors of the same shapes, true where a weight is active.
        gradients: list of float tensors of the same shapes, the moving average m <- decay * m + (1 - decay) * g of the
            loss's gradients, also where a weight is pruned; None for a method whose `gradient_decay` is None.
        units: list of `ops.units.Units`, what each tensor is made of.
        positions: dict; for the index of each tensor in compact storage the positions of its units among those of the
            dense tensor, of shape `(room,)`, increasing where they are active.
        candidates: dict; for the index of each tensor in compact storage, for a method that needs gradients: where they
            are largest among the positions without a unit, `(positions, magnitudes)` of shapes `(room,)`; a position
            `ops.positions.nowhere()` is none.
        outputs: list of `ops.units.FanIn`, how the units of each tensor belong to outputs; None for a tensor that is no
            matrix and holds none.
        retained: dict; for `init` alone: the lists that the layers hold, by name; one that they do not hold is absent.
    """

    step: Any
    seed: int
    segments: Segments
    active: Any
    magnitudes: Any
    gradient_magnitudes: Any
    learning_rate: Any
    names: list
    sizes: list
    weights: list
    masks: list
    gradients: list | None
    units: list
    positions: dict
    candidates: dict = dataclasses.field(default_factory=dict)
    outputs: list = dataclasses.field(default_factory=list)
    retained: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, *, weights, masks, units, gradients, for_init: bool = False, **others) -> "MethodInputs":
        """The inputs for these weights and masks; `gradients` is a list of tensors of their shapes, or None."""
        segments = Segments([of.shape(mask.shape) for mask, of in zip(masks, units)])

        def magnitudes(tensors):
            return segments.join([of.magnitudes(tensor) for tensor, of in zip(tensors, units)])

        finite = [mask_weights(gradient, ops.isfinite(gradient)) for gradient in gradients or [] if not for_init]
        return cls(
            segments=segments,
            active=segments.join([of.active(mask) for mask, of in zip(masks, units)]),
            magnitudes=None if for_init else magnitudes(weights),
            gradient_magnitudes=magnitudes(finite) if finite else None,
            weights=weights,
            masks=masks,
            gradients=gradients,
            units=units,
            **others,
        )

    def count(self, units):
        """How many of the given units (a joined bool tensor) each tensor has, int32 of shape `(tensors,)`."""
        return self.segments.count(units)

    def seed_of(self, index: int, purpose: str) -> StepSeed:
        """A seed of `keras.random` for a tensor, which depends on run, tensor, step and purpose alone."""
        return StepSeed(self.seed, index, self.step, purpose)

    def seeds(self, purpose: str) -> list[StepSeed]:
        """The seed of each tensor, as `seed_of`."""
        return [self.seed_of(index, purpose) for index in range(len(self.weights))]


class Grown(NamedTuple):
    """Units that are grown, as `grow_at_random` and `grow_where_largest` choose them.

    Attributes:
        units: joined bool tensor; in tensors in compact storage of the units that there were.
        positions: dict; for the index of each tensor in compact storage a list of positions (see `ops.positions`),
            increasing, none of a unit that is kept.
    """

    units: Any
    positions: dict


class Decision(NamedTuple):
    """What a reallocation does.

    Attributes:
        kept: joined bool tensor, the active units that stay; what is true elsewhere is not. All other active units are
            pruned.
        grown: `Grown`, or a joined bool tensor, the units that become active, none of those kept; None: none.
        start: what a grown weight starts from: `"zeros"`, or `"initializer"`, a value drawn by the layer's initializer.
            One that is pruned in this very update starts at 0.
        weights: list of tensors, new values of the weights, in the place of `MethodInputs.weights`; None: the same.
        trained: for a method that trains pruned weights, joined bool tensor, the units that are trained from now on,
            beside those that are active; None: all.
    """

    kept: Any
    grown: Any = None
    start: str = "zeros"
    weights: list | None = None
    trained: Any = None


class PrunedTraining(NamedTuple):
    """How pruned weights are trained.

    Attributes:
        decay: number of at least 0, their weight decay, a part of their gradient.
        start: what they begin with: `"initializer"`, a draw by the layer's initializer, or `"zeros"`.
    """

    decay: float
    start: str

    @classmethod
    def checked(cls, decay: float, start: str, owner: str) -> "PrunedTraining":
        """The arguments `decay` and `start` of a method; `ValueError` if one is out of range."""
        if not is_number(decay) or decay < 0:
            raise ValueError(
                f"{owner}(decay=...) must be a number of at least 0: the weight decay of what is trained and not seen, "
                f"such as 2e-4. Received: decay={decay!r}"
            )
        if not is_one_of(start, ("initializer", "zeros")):
            raise ValueError(f"{owner}(start=...) must be 'initializer' or 'zeros'. Received: start={start!r}")
        return cls(float(decay), start)


class Method(abc.ABC):
    """The base of all methods: which weights are pruned, and which are grown.

    A method is a frozen dataclass of its arguments with two pure functions, `init` and `update`. They are compiled
    together with all that follows from the decision, so they use `keras.ops` on what they are given.

    Attributes:
        conserves: whether the total number of active units is the same after every update, which is checked.
        across: whether a tensor may have more or fewer units afterwards, as others have fewer or more. A pattern whose
            groups each have a number of their own (`"2:4"`, `"fan_in"`) is refused then.
        every_step: whether it must act after every step of the optimizer, which is checked.
        gradient_decay: None if it needs no gradients, else the decay in [0, 1) of their moving average (0: the
            gradient of the last step alone). `SparseOptimizer` and layers with masks keep it; layers in compact storage
            only that of the last step, and refuse another decay.
        pruned_training: how pruned weights are trained: they have values, which the gradient of the zeros trains that
            the network sees in their place (straight-through). The values stay when a weight is pruned, and are what a
            grown one starts from; `MethodInputs.weights` has them. Only in layers with masks. None: they are not.
    """

    conserves: ClassVar[bool] = False
    across: ClassVar[bool] = False
    every_step: ClassVar[bool] = False
    gradient_decay: ClassVar[float | None] = None
    pruned_training: ClassVar["PrunedTraining | None"] = None

    @abc.abstractmethod
    def init(self, inputs: MethodInputs) -> dict:
        """The state when training begins.

        Returns:
            A dict of scalars and of lists. `"threshold"` (float32, positive) and every list (one tensor of the shape of
            the stored weights for each) are saved with the layers: `inputs.retained` has the lists that they hold, and
            what is returned replaces them. Other scalars are a report of the last update.
        """

    @abc.abstractmethod
    def update(self, inputs: MethodInputs, state: dict) -> tuple[Decision, dict]:
        """One reallocation.

        Args:
            inputs: what it decides from, at the present step.
            state: as `init` or the last update returned it.

        Returns:
            The decision, and the state; a list that is left out stays as it is.
        """

    def state_of_grown(self, inputs: MethodInputs, index: int, positions) -> dict:
        """What the lists of the state begin with where weights are grown in tensor `index`, in compact storage.

        There a position has nothing while it is pruned. (In masked storage it keeps what it had.)

        Args:
            inputs: what the update was given.
            index: int, which tensor it is.
            positions: int tensor of one dimension, where weights are grown.

        Returns:
            A dict of tensors of the shape of `positions`; a list that is left out begins with zeros.
        """
        return {}


def check_method(method: Any, owner: str) -> None:
    """Raise `TypeError` if this is no method, `ValueError` if what it says of itself is out of range.

    Args:
        method: what was given.
        owner: who asks, in call form (`"Reallocate"`), for the message.
    """
    if not isinstance(method, Method):
        is_class = isinstance(method, type)
        why = f", a class: make an instance of it, such as {method.__name__}()" if is_class else ""
        raise TypeError(
            f"{owner}(method=...) must be a method, such as keras_dsr.methods.DSR(target=600), or an instance of a "
            f"class of one's own that inherits from keras_dsr.methods.Method. Received: method={method!r}"
            f"{why or f' (of type {type(method).__name__})'}"
        )
    expected = {name: "True or False" for name in ("conserves", "across", "every_step")}
    wrong = {name: words for name, words in expected.items() if not isinstance(getattr(method, name), bool)}
    decay = method.gradient_decay
    if not (decay is None or (is_number(decay) and 0 <= decay < 1)):
        wrong["gradient_decay"] = "None or a float in [0, 1)"
    for name, words in wrong.items():
        raise ValueError(
            f"{owner}(method=...) has a constant {name!r} that must be {words}. Received: method={method!r}, of "
            f"which it is {getattr(method, name)!r}"
        )
