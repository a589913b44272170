"""How a convolution lies on planes, so that each tap of its window is a shift.

A plane holds one channel of all images of a batch, one image after the other, on a grid that leaves zeros between rows
and between images. The inputs that a tap reads for the outputs at positions 0, 1, 2, ... of the grid are then those at
positions `shift`, `shift + 1`, ...: contiguous, with no copy for each tap. With strides, inputs of one channel that are
a stride apart share a plane (a phase), and every convolution has stride 1 on its planes. A product with a matrix is the
case of a window and an image of one position.
"""

import dataclasses
import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

AXES = 3


class Window(NamedTuple):
    """What a convolution is, but for the sizes of its inputs: Keras's arguments. A matrix has a window of no axes."""

    channels: int
    filters: int
    window: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    padding: str = "valid"
    groups: int = 1
    channels_last: bool = True

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Of the kernel as a matrix: taps times the channels of a group, and filters."""
        return math.prod(self.window) * self.channels // self.groups, self.filters


class Axis(NamedTuple):
    """One axis of a convolution.

    Attributes:
        size: positions of the inputs.
        window: taps.
        stride, dilation: of the window.
        before: zeros that are added in front of the inputs.
        outputs: positions of the outputs.
    """

    size: int
    window: int = 1
    stride: int = 1
    dilation: int = 1
    before: int = 0
    outputs: int = 1

    @classmethod
    def of(cls, size: int, window: int, stride: int, dilation: int, padding: str) -> "Axis":
        """The axis of a convolution with Keras's padding, `"same"`, `"valid"` or `"causal"`."""
        reach = (window - 1) * dilation + 1
        if padding == "valid":
            return cls(size, window, stride, dilation, 0, max(0, (size - reach) // stride + 1))
        outputs = -(-size // stride)
        added = max(0, (outputs - 1) * stride + reach - size)
        return cls(size, window, stride, dilation, reach - 1 if padding == "causal" else added // 2, outputs)

    @property
    def phases(self) -> list[int]:
        """The remainders, by the stride, of the positions that taps read; positions count from the first zero."""
        return sorted({tap * self.dilation % self.stride for tap in range(self.window)})

    @property
    def largest_shift(self) -> int:
        """How far on the grid the last tap reads from its output."""
        return (self.window - 1) * self.dilation // self.stride

    @property
    def grid(self) -> int:
        """Positions of a row of the grid: those of the outputs, and zeros that this row and the next can share."""
        full = self.outputs + self.largest_shift
        leading = [max(0, -(-(self.before - phase) // self.stride)) for phase in self.phases]
        ends = [max(0, -(-(self.before + self.size - phase) // self.stride)) for phase in self.phases]
        # Inputs behind the last window are not on the grid.
        return full - min(min(zeros, full - min(end, full)) for zeros, end in zip(leading, ends))


@dataclasses.dataclass(frozen=True)
class Planes:
    """The planes of a convolution of batches of a size; see the module.

    Attributes:
        batch: int, images.
        axes: the three axes, of which leading ones may have one position.
        channels, filters: of inputs and outputs.
        groups: of channels, each with its part of the filters.
    """

    batch: int
    axes: tuple[Axis, ...]
    channels: int
    filters: int
    groups: int = 1

    @functools.cached_property
    def grid(self) -> tuple[int, ...]:
        """Positions of one image on the grid, three of them."""
        return tuple(axis.grid for axis in self.axes)

    @functools.cached_property
    def phases(self) -> np.ndarray:
        """The phases of a channel, an int64 array of shape `(phases, 3)`."""
        return np.array(list(itertools.product(*(axis.phases for axis in self.axes))), "int64")

    @functools.cached_property
    def count(self) -> int:
        """The number of planes of the inputs."""
        return self.channels * len(self.phases)

    @functools.cached_property
    def length(self) -> int:
        """Positions of a plane."""
        return self.batch * math.prod(self.grid)

    @functools.cached_property
    def taps(self) -> tuple[np.ndarray, np.ndarray]:
        """For each tap, in row-major order, the index of its phase and its shift, int64 arrays."""
        phase_of = {tuple(phase): index for index, phase in enumerate(self.phases.tolist())}
        phases, shifts = [], []
        for tap in itertools.product(*(range(axis.window) for axis in self.axes)):
            at = [position * axis.dilation for position, axis in zip(tap, self.axes)]
            phases.append(phase_of[tuple(position % axis.stride for position, axis in zip(at, self.axes))])
            shifts.append(self._on_grid([position // axis.stride for position, axis in zip(at, self.axes)]))
        return np.array(phases, "int64"), np.array(shifts, "int64")

    @functools.cached_property
    def largest_shift(self) -> int:
        """The shift of the last tap."""
        return self._on_grid([axis.largest_shift for axis in self.axes])

    def _on_grid(self, position) -> int:
        return (position[0] * self.grid[1] + position[1]) * self.grid[2] + position[2]


@functools.lru_cache(maxsize=1024)
def planes_of(window: Window, batch: int, sizes: tuple[int, ...]) -> Planes:
    """The planes of a convolution of so many images, of the given sizes."""
    given = [Axis.of(*each, window.padding) for each in zip(sizes, window.window, window.strides, window.dilations)]
    axes = (*(Axis(1) for _ in range(AXES - len(given))), *given)
    return Planes(batch, axes, window.channels, window.filters, window.groups)


def output_shape(window: Window, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """The shape of the outputs for inputs of a shape, of which sizes may be unknown."""
    sizes = shape[1:-1] if window.channels_last else shape[2:]
    axes = planes_of(window, 1, tuple(size or 1 for size in sizes)).axes
    inner = [axis.outputs if size is not None else None for axis, size in zip(axes[len(axes) - len(sizes) :], sizes)]
    return (shape[0], *inner, window.filters) if window.channels_last else (shape[0], window.filters, *inner)
