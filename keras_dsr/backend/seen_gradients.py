"""What passes back through a layer in compact storage, kept for a method that grows where gradients are large.

A gradient of the size of the kernel is never made: it is the product of the layer's inputs and of the gradient of its
outputs, from which a part of it can be made at a time. All of its entries are wanted, so dense products make it, up to
50 times as fast as the loops over lists of positions.
"""

from typing import NamedTuple

import numpy as np

from keras_dsr.backend.planes import Window, planes_of

LARGEST_PART = 2**18  # numbers of the dense gradient that are made at a time, or as many as the layer has weights


class SeenGradients:
    """What went into a layer and what came back, in the last pass back through it while that is wanted.

    A pass is all that comes back after the layer was called, once or several times.

    Attributes:
        wanted: bool, whether what passes is kept.
        passes: int, how many there were since it was wanted.
        calls: list of pairs of arrays, the inputs and the gradient of the outputs, of each call in the last pass.
        is_differentiated_again: bool, whether gradients were differentiated, as for a penalty on them: then what passes
            is not of the loss alone.
    """

    def __init__(self) -> None:
        self.wanted = self.is_differentiated_again = False
        self.forget()

    def forget(self) -> None:
        """Keep nothing of what passed."""
        self.passes = 0
        self.calls: list[tuple[np.ndarray, np.ndarray]] = []
        self._is_called = True

    def forward(self) -> None:
        """The layer is called."""
        self._is_called = True

    def backward(self, inputs: np.ndarray, upstream: np.ndarray) -> None:
        """A gradient comes back to the outputs of one call."""
        if not self.wanted:
            return
        if self._is_called:
            self._is_called, self.passes, self.calls = False, self.passes + 1, []
        self.calls.append((np.array(inputs), np.array(upstream)))


class Largest(NamedTuple):
    """Where a dense gradient is largest.

    Attributes:
        positions: int64 array of shape `(n,)`, flat positions of units that do not exist, increasing.
        magnitudes: float32 array of shape `(n,)`, the mean |gradient| over each.
        of_existing: array of shape `(weights,)`, the gradients of the weights that exist.
    """

    positions: np.ndarray
    magnitudes: np.ndarray
    of_existing: np.ndarray


def largest_gradients(
    window: Window, calls: list[tuple[np.ndarray, np.ndarray]], existing: np.ndarray, unit_size: int, keep: int
) -> Largest:
    """Where the gradient of the whole kernel is largest, in memory that grows with what is kept.

    Args:
        window: the convolution, or product with a matrix.
        calls: as `SeenGradients.calls`; of several the gradients are summed.
        existing: int64 array, flat positions of the weights that exist, increasing.
        unit_size: int, how many weights are a unit: 1, or those of the window.
        keep: int, how many units at most; of equal ones the first stay. What is not finite counts as 0.
    """
    rows, filters = window.matrix_shape
    taps = rows * window.groups // window.channels
    channels = rows // taps
    some = max(1, max(LARGEST_PART, len(existing)) // (taps * filters))
    dtype = calls[0][0].dtype if calls else np.dtype("float32")
    of_existing = np.zeros(len(existing), dtype)
    best = np.zeros(0, "int64"), np.zeros(0, "float32")
    for first in range(0, channels, some):
        last = min(first + some, channels)
        gradient = np.zeros((taps, last - first, filters), dtype)
        for inputs, upstream in calls:
            _add_gradient(window, inputs, upstream, first, gradient)
        magnitudes = np.where(np.isfinite(gradient), np.abs(gradient), 0).astype("float32")
        for tap in range(taps):  # the positions of a tap are consecutive
            start = (tap * channels + first) * filters
            begin, end = np.searchsorted(existing, (start, start + gradient[tap].size))
            here = existing[begin:end] - start
            of_existing[begin:end] = gradient[tap].reshape(-1)[here]
            magnitudes[tap].reshape(-1)[here] = -1
        positions = np.arange(first * filters, last * filters) + channels * filters * np.arange(taps)[:, None]
        if unit_size > 1:
            positions, magnitudes = positions[0], magnitudes.mean(0)
        best = _best(best, positions.reshape(-1), magnitudes.reshape(-1), keep)
    order = np.argsort(best[0])
    return Largest(best[0][order], best[1][order], of_existing)


def _add_gradient(window: Window, inputs: np.ndarray, upstream: np.ndarray, first: int, gradient: np.ndarray) -> None:
    """Add to a part of the gradient, of shape `(taps, some channels from `first` on, filters)`, that of one call."""
    if not window.window:
        gradient[0] += inputs[:, first : first + gradient.shape[1]].T @ upstream
        return
    if not window.channels_last:
        inputs, upstream = np.moveaxis(inputs, 1, -1), np.moveaxis(upstream, 1, -1)
    sizes = inputs.shape[1:-1]
    axes = planes_of(window, len(inputs), sizes).axes[-len(sizes) :]
    ends = [(axis.outputs - 1) * axis.stride + (axis.window - 1) * axis.dilation + 1 for axis in axes]
    padding = [(axis.before, max(0, end - axis.before - axis.size)) for axis, end in zip(axes, ends)]
    of_group, filters = window.channels // window.groups, window.filters // window.groups
    for group in range(window.groups):
        begin = group * of_group + first
        padded = np.pad(inputs[..., begin : begin + gradient.shape[1]], [(0, 0), *padding, (0, 0)])
        columns = slice(group * filters, (group + 1) * filters)
        rows = np.ascontiguousarray(upstream[..., columns]).reshape(-1, filters)
        for tap, at in enumerate(np.ndindex(*window.window)):
            starts = [position * axis.dilation for position, axis in zip(at, axes)]
            read = [
                slice(start, start + (axis.outputs - 1) * axis.stride + 1, axis.stride)
                for start, axis in zip(starts, axes)
            ]
            gradient[tap, :, columns] += padded[(slice(None), *read)].reshape(len(rows), -1).T @ rows


def _best(best: tuple[np.ndarray, np.ndarray], positions: np.ndarray, magnitudes: np.ndarray, keep: int) -> tuple:
    """The largest of those so far and of these; those with a magnitude below 0 are none."""
    least = best[1].min() if len(best[0]) == keep else 0
    is_better = magnitudes >= least
    positions = np.concatenate([best[0], positions[is_better]])
    magnitudes = np.concatenate([best[1], magnitudes[is_better]])
    beyond = len(positions) - keep
    if beyond <= 0:
        return positions, magnitudes
    last = np.partition(magnitudes, beyond)[beyond]  # the smallest that is kept; of those equal to it the first
    above = magnitudes > last
    equal = np.sort(positions[magnitudes == last])[: keep - above.sum()]
    return np.concatenate([positions[above], equal]), np.concatenate([magnitudes[above], np.full(len(equal), last)])
