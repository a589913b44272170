"""What the layers of a network do to channels, in numpy: which become constant, which are wanted, which lie aligned.

A tensor of a network is known here by a number, and by what is known of the channels on its last axis: a float64 array
of shape `(channels,)` with the value of each channel that is constant, and NaN for the others. A step stands for one
call of a layer. Each kind of step says three things:

- `constants(values)`: from what is known of its inputs, what is known of its outputs;
- `wants(wanted, values, outputs)`: from which channels of its outputs matter, which of its inputs' matter;
- `alignments()`: which channels are one and the same in its inputs and outputs, and can only be removed together.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Constants = np.ndarray


class Alignment(NamedTuple):
    """Channel `input_channels[i]` of a step's input number `operand` is channel `output_channels[i]` of its output."""

    operand: int
    input_channels: np.ndarray
    output_channels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Step:
    """One call of a layer.

    Attributes:
        inputs: numbers of the tensors that it reads.
        outputs: numbers of the tensors that it makes.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def droppable(self, wanted: np.ndarray, values: list[Constants]) -> frozenset[int]:
        """The operands that the step can do without, given the channels of its output that matter."""
        return frozenset()


@dataclasses.dataclass(frozen=True)
class Barrier(Step):
    """A layer that is not looked through: every channel of its inputs matters, nothing is known of its outputs.

    Attributes:
        sizes: the numbers of channels of its inputs and of its outputs.
    """

    sizes: tuple[tuple[int, ...], tuple[int, ...]]

    def constants(self, values: list[Constants]) -> list[Constants]:
        return [unknown(size) for size in self.sizes[1]]

    def wants(self, wanted: list[np.ndarray], values: list[Constants], outputs: list[Constants]) -> list[np.ndarray]:
        return [np.ones(size, bool) for size in self.sizes[0]]

    def alignments(self) -> list[Alignment]:
        return []


@dataclasses.dataclass(frozen=True)
class Linear(Step):
    """A dense layer or a convolution: each output channel is a weighted sum over the input channels.

    Attributes:
        sums: float64 array `(inputs, outputs)`, the weights between two channels, added up over the window.
        connected: bool array `(inputs, outputs)`, whether any of those weights is not zero.
        bias: float64 array `(outputs,)`.
        folds: whether a constant input gives a constant output. Where the layer pads with zeros it does not, at the
            edges, unless the constant is zero.
        activate: from constants to constants; None: the layer's activation mixes channels.
    """

    sums: np.ndarray
    connected: np.ndarray
    bias: np.ndarray
    folds: bool
    activate: Callable[[Constants], Constants] | None

    def folded(self, values: Constants) -> np.ndarray:
        """Which input channels are constants that may be taken into the bias."""
        return (~np.isnan(values)) & (self.folds | (values == 0))

    def constants(self, values: list[Constants]) -> list[Constants]:
        if self.activate is None:
            return [unknown(len(self.bias))]
        folded = self.folded(values[0])
        result = self.bias + np.where(folded, values[0], 0) @ self.sums
        result[self.connected[~folded].any(axis=0)] = np.nan
        return [self.activate(result)]

    def wants(self, wanted: list[np.ndarray], values: list[Constants], outputs: list[Constants]) -> list[np.ndarray]:
        of_outputs = wanted[0] if self.activate is not None else np.ones_like(wanted[0])
        return [self.connected[:, of_outputs].any(axis=1) & ~self.folded(values[0])]

    def alignments(self) -> list[Alignment]:
        return []


@dataclasses.dataclass(frozen=True)
class Channelwise(Step):
    """A layer that treats each channel by itself: an activation, normalization, pooling, a depthwise convolution.

    Attributes:
        size: the number of channels.
        apply: from what is known of its input to what is known of its output.
        blind: bool array `(size,)`, the channels whose output does not depend on the input; None: there are none.
    """

    size: int
    apply: Callable[[Constants], Constants]
    blind: np.ndarray | None = None

    def constants(self, values: list[Constants]) -> list[Constants]:
        return [self.apply(values[0])]

    def wants(self, wanted: list[np.ndarray], values: list[Constants], outputs: list[Constants]) -> list[np.ndarray]:
        return [wanted[0] if self.blind is None else wanted[0] & ~self.blind]

    def alignments(self) -> list[Alignment]:
        return [Alignment(0, np.arange(self.size), np.arange(self.size))]


@dataclasses.dataclass(frozen=True)
class Flattening(Step):
    """Positions and channels become one axis: unit `p * channels + c` is channel c at position p.

    Attributes:
        positions: int, the number of positions.
        size: int, the number of channels of the input.
    """

    positions: int
    size: int

    def constants(self, values: list[Constants]) -> list[Constants]:
        return [np.tile(values[0], self.positions)]

    def wants(self, wanted: list[np.ndarray], values: list[Constants], outputs: list[Constants]) -> list[np.ndarray]:
        return [wanted[0].reshape(self.positions, self.size).any(axis=0)]

    def alignments(self) -> list[Alignment]:
        units = np.arange(self.positions * self.size)
        return [Alignment(0, units % self.size, units)]


@dataclasses.dataclass(frozen=True)
class Join(Step):
    """Tensors of one shape become one, channel by channel, as in a residual join.

    Attributes:
        size: the number of channels of each.
        combine: from a `(operands, channels)` array of what is known of the inputs to what is known of the output.
        adds: whether an operand that is zero can be left out.
    """

    size: int
    combine: Callable[[np.ndarray], Constants]
    adds: bool = False

    def constants(self, values: list[Constants]) -> list[Constants]:
        return [self.combine(np.stack(values))]

    def wants(self, wanted: list[np.ndarray], values: list[Constants], outputs: list[Constants]) -> list[np.ndarray]:
        known = ~np.isnan(outputs[0])  # then what is not known of an operand makes no difference: 0 * x
        dropped = self.droppable(wanted[0], values)
        return [
            np.zeros_like(wanted[0]) if operand in dropped else wanted[0] & ~(known & np.isnan(of_operand))
            for operand, of_operand in enumerate(values)
        ]

    def droppable(self, wanted: np.ndarray, values: list[Constants]) -> frozenset[int]:
        if not self.adds:
            return frozenset()
        zero = [operand for operand, of_operand in enumerate(values) if ((of_operand == 0) | ~wanted).all()]
        return frozenset(zero if len(zero) < len(values) else zero[1:])

    def alignments(self) -> list[Alignment]:
        return [Alignment(operand, np.arange(self.size), np.arange(self.size)) for operand in range(len(self.inputs))]


@dataclasses.dataclass(frozen=True)
class Concatenation(Step):
    """Tensors side by side on the channel axis.

    Attributes:
        sizes: the number of channels of each input.
    """

    sizes: tuple[int, ...]

    def constants(self, values: list[Constants]) -> list[Constants]:
        return [np.concatenate(values)]

    def wants(self, wanted: list[np.ndarray], values: list[Constants], outputs: list[Constants]) -> list[np.ndarray]:
        return np.split(wanted[0], np.cumsum(self.sizes)[:-1])

    def alignments(self) -> list[Alignment]:
        offsets = np.cumsum((0, *self.sizes))
        return [
            Alignment(operand, np.arange(size), offsets[operand] + np.arange(size))
            for operand, size in enumerate(self.sizes)
        ]


def unknown(size: int) -> Constants:
    """Of `size` channels, nothing is known."""
    return np.full(size, np.nan)
