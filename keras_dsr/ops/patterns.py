"""Units: what is pruned and grown as a whole, one weight or one k x k slice of a convolution kernel.

A unit is described by the axes of the weight that it spans: `()` is one weight; `(0, 1)` of a kernel of shape
`(height, width, inputs, outputs)` is one slice. Unit tensors keep those axes at size 1, so they broadcast.
"""

from collections.abc import Sequence

from keras import ops

GRANULARITIES = ("element", "kernel")


def unit_magnitudes(weight, axes: Sequence[int]):
    """Magnitude of each unit: the mean of `|w|` over the axes that it spans, in float32."""
    magnitudes = ops.cast(ops.abs(weight), "float32")
    return ops.mean(magnitudes, axis=tuple(axes), keepdims=True) if axes else magnitudes


def unit_mask(mask, axes: Sequence[int]):
    """Which units are active, from a bool mask of the weight's shape that was drawn in whole units."""
    return ops.any(mask, axis=tuple(axes), keepdims=True) if axes else mask


def unit_shape(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """Shape of the tensor of units of a weight of the given shape."""
    return tuple(1 if axis in axes else size for axis, size in enumerate(shape))


def weight_mask(units, shape: Sequence[int]):
    """The mask of the weights, of the given shape, whose units are active: the inverse of `unit_mask`."""
    return units if tuple(units.shape) == tuple(shape) else ops.broadcast_to(units, shape)
