"""Convolutions and products with few weights on a CPU, in time that grows with the weights: on planes, by numba.

Threads share the images, of which each packs some into planes that stay in its cache, multiplies and unpacks. Where
there are too few images, and for products with a matrix, they share the rows of the product.
"""

import functools
import math
import threading
import typing

import numpy as np

from keras_dsr.backend import recycled
from keras_dsr.backend.plane_compilation import announced, kernels
from keras_dsr.backend.plane_structure import Rows, Structure, structure_of
from keras_dsr.backend.planes import AXES, Window, output_shape, planes_of
from keras_dsr.backend.threads import shares_of, together, workers

CACHED = 2**17  # numbers that stay in a processor's second cache
SHARES = 4  # of the images for each thread; one that begins late, or is kept waiting, takes fewer
LANES = 8, 16, 32, 64  # numbers of a vector: the longest that no plane is shorter than by half, or the last

_LOCK = threading.RLock()


class Convolution:
    """A convolution of batches of a size with weights at some positions of its kernel, and its gradients.

    Args:
        window: what it is.
        shape: of the inputs: `(batch, channels)` of a matrix; else with the axes of the window between or behind.
    """

    def __init__(self, window: Window, shape: tuple[int, ...]):
        self.window = window
        self.shape = tuple(shape)
        sizes, batch = self.shape[1:-1] if window.channels_last else self.shape[2:], self.shape[0]
        if window.window:
            self.planes = planes_of(window, batch, sizes)
        else:  # rows are the positions of images, of which each thread packs one
            images = next(parts for parts in range(workers(), 0, -1) if batch % parts == 0)
            as_line = window._replace(window=(1,), strides=(1,), dilations=(1,))
            self.planes = planes_of(as_line, images, (batch // images,))
        axes = self.planes.axes
        self.output_shape = typing.cast(tuple[int, ...], output_shape(window, self.shape))
        self._of_inputs = (
            self.planes.grid,
            self.planes.phases,
            tuple(axis.stride for axis in axes),
            tuple(axis.before for axis in axes),
        )
        self._of_outputs = self.planes.grid, np.zeros((1, AXES), "int64"), (1,) * AXES, (0,) * AXES

    @property
    def is_empty(self) -> bool:
        """Whether there are no outputs."""
        return not math.prod(self.output_shape)

    def structure(self, indices: np.ndarray, count: int) -> Structure | None:
        """What a list of positions means, for both passes of a step.

        Args:
            indices: ints of shape `(capacity, 2)`, rows and columns in the kernel as a matrix.
            count: how many there are; those behind are not read.
        """
        if self.is_empty:
            return None
        with _LOCK:
            return structure_of(self.window, self.planes, indices, count)

    def forward(
        self, inputs: np.ndarray, values: np.ndarray, structure: Structure | None, outputs: np.ndarray | None = None
    ) -> np.ndarray:
        """The outputs.

        Args:
            inputs: of the shape of the class, float32 or float64.
            values: the weights, of the same dtype, in the order of their positions; what is behind them is not read.
            structure: what their positions mean.
            outputs: where to write them; None: memory that was used before.
        """
        if outputs is None:
            outputs = recycled.empty(self.output_shape, inputs.dtype)
        if structure is None:
            return outputs
        with _LOCK, announced("forward", inputs.dtype):
            rows, values = structure.of_outputs, values[: structure.count]
            shares = self._shares_of_images()
            if len(shares):
                self._forward_of_images(shares, rows, inputs, values, outputs)
            else:
                self._forward_of_rows(rows, inputs, values, outputs)
        return outputs

    def backward(
        self,
        inputs: np.ndarray,
        upstream: np.ndarray,
        values: np.ndarray,
        structure: Structure | None,
        of_inputs: bool | np.ndarray = True,
        of_values: bool | np.ndarray = True,
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The gradients of the inputs and of the values, 0 behind the weights; None of what is not asked for.

        Args:
            inputs, values, structure: as `forward` was given.
            upstream: the gradient of the outputs.
            of_inputs, of_values: whether that gradient is asked for, or where to write it.
        """
        gradient, sampled = (_asked(*each) for each in ((of_inputs, inputs), (of_values, values)))
        count = 0 if structure is None else structure.count
        if sampled is not None:
            sampled[count:] = 0
        if structure is None:
            if gradient is not None:
                gradient[...] = 0
            return gradient, sampled
        with _LOCK, announced("backward", inputs.dtype):
            rows, given = structure.of_inputs, (inputs, upstream, values[:count])
            targets = gradient, None if sampled is None else sampled[:count]
            shares = self._shares_of_images()
            if len(shares):
                self._backward_of_images(shares, rows, *given, *targets)
            else:
                self._backward_of_rows(rows, *given, *targets)
        return gradient, sampled

    # All images at a time, and the rows shared

    @functools.cached_property
    def _sizes_of_all(self) -> tuple[int, int, tuple]:
        """Of planes of all images: their stride, their length, and vectors for them."""
        stride, lanes = self._sizes(self.planes.batch)
        return stride, self.planes.length, lanes

    def _planes_of_all(self, name: str, like: np.ndarray) -> np.ndarray:
        """Memory for planes of the inputs, or of the upstream, which begin behind zeros, with zeros between them."""
        stride, *_ = self._sizes_of_all
        count, first = (self.planes.count, 0) if name == "inputs" else (self.window.filters, self.planes.largest_shift)
        planes = _scratch(name, (first + (count + 1) * stride,), like)
        planes[:first] = planes[first + count * stride :] = 0
        planes[first : first + count * stride].reshape(count, stride)[:, self.planes.length :] = 0
        return planes

    def _forward_of_rows(self, rows: Rows, inputs, values, outputs: np.ndarray) -> None:
        stride, *_ = sizes = self._sizes_of_all
        last, planes, images = self.window.channels_last, self._planes_of_all("inputs", inputs), self._five_axes(inputs)
        parts = shares_of(len(images), 1, images.size)
        together(kernels().pack, parts, last, images, planes, 0, stride, self._of_inputs)
        each = self._shares_of_rows(rows, 1, _scratch("memory", (self.window.filters * stride,), values))
        weights = rows.starts, rows.offsets(0, stride), *_ordered(rows, values)
        target = self._five_axes(outputs)
        together(kernels().forward_of_rows, each, target, last, *weights, planes, self._of_outputs, *sizes)

    def _backward_of_rows(self, rows: Rows, inputs, upstream, values, gradient, sampled) -> None:
        stride, *_ = sizes = self._sizes_of_all
        last, first = self.window.channels_last, self.planes.largest_shift
        above, images = self._planes_of_all("upstream", upstream), self._five_axes(upstream)
        if sampled is None:
            planes, of_weights = above[:0], values[:0]
            parts = shares_of(len(images), 1, images.size)
            together(kernels().pack, parts, last, images, above, first, stride, self._of_outputs)
        else:
            planes = self._planes_of_all("inputs", inputs)
            of_weights = sampled if rows.order is None else _scratch("parts", values.shape, values)
            parts = shares_of(len(images), 1, images.size + inputs.size)
            to_pack = images, above, first, self._of_outputs, self._five_axes(inputs), planes, self._of_inputs
            together(kernels().pack_both, parts, last, *to_pack, stride)
        sums = _scratch("memory", (0 if gradient is None else self.planes.count * stride,), values)
        each = self._shares_of_rows(rows, len(self.planes.phases), planes, sums)
        weights = rows.starts, rows.offsets(first, stride), *_ordered(rows, values)
        targets = of_weights, of_weights if sampled is None else sampled
        of_inputs = self._target(gradient, inputs)
        together(kernels().backward_of_rows, each, of_inputs, last, *weights, above, *targets, self._of_inputs, *sizes)

    def _shares_of_rows(self, rows: Rows, of_channel: int, *planes: np.ndarray) -> list:
        """For each thread some rows, and of some arrays their planes; `of_channel` rows are of one channel."""
        shares, stride = rows.shares(workers(), self.planes.length, of_channel), self._sizes_of_all[0]
        return [(begin, end, *(each[begin * stride :] for each in planes)) for begin, end in shares]

    # Some images at a time

    def _forward_of_images(self, shares: np.ndarray, rows: Rows, inputs, values, outputs: np.ndarray) -> None:
        tile, stride, lanes = self._sizes_of_some(shares)
        memory = _scratch("memory", (workers(), (self.planes.count + 1 + self.window.filters) * stride), inputs)
        images = self.window.channels_last, self._five_axes(inputs), self._five_axes(outputs)
        weights = rows.starts, rows.offsets(0, stride), _in_order(values, rows.order)
        given = np.zeros(1, "int64"), shares, *images, *weights, self._of_inputs, self._of_outputs, tile, stride, lanes
        together(kernels().forward_of_images, [(each,) for each in memory], *given)

    def _backward_of_images(self, shares: np.ndarray, rows: Rows, inputs, upstream, values, gradient, sampled) -> None:
        tile, stride, lanes = self._sizes_of_some(shares)
        first = self.planes.largest_shift
        size = first + (self.window.filters + 2 + 2 * self.planes.count) * stride
        memory = _scratch("memory", (workers(), size), inputs)
        parts = _scratch("parts", (len(shares), 0 if sampled is None else len(sampled)), inputs)
        target = self._target(gradient, inputs)
        images = self.window.channels_last, self._five_axes(inputs), self._five_axes(upstream), target
        weights = rows.starts, rows.offsets(first, stride), _in_order(values, rows.order)
        layouts = self._of_inputs, self._of_outputs
        given = np.zeros(1, "int64"), shares, parts, *images, *layouts, *weights, first, tile, stride, lanes
        together(kernels().backward_of_images, [(each,) for each in memory], *given)
        if sampled is not None:
            _put(parts, rows.order, sampled)

    def _shares_of_images(self) -> np.ndarray:
        """As of the function, of all images; there are none of a matrix."""
        return shares_of_images(self.shape[0] if self.window.window else 0, workers())

    def _sizes_of_some(self, shares: np.ndarray) -> tuple[int, int, tuple]:
        """How many images are packed at a time, the stride of their planes, and vectors for them."""
        per_image = (self.planes.count + self.window.filters) * math.prod(self.planes.grid)
        tile = max(1, min(CACHED // per_image, int((shares[:, 1] - shares[:, 0]).max())))
        return tile, *self._sizes(tile)

    def _sizes(self, images: int) -> tuple[int, tuple]:
        """The stride of planes of so many images, which whole vectors fit into, and those vectors."""
        length = images * math.prod(self.planes.grid)
        lanes = next((lanes for lanes in LANES if lanes >= length), LANES[-1])
        return length + -length % lanes + self.planes.largest_shift, ((),) * lanes

    def _target(self, images: np.ndarray | None, like: np.ndarray) -> np.ndarray:
        """Images to unpack to; none of them if that is not asked for."""
        return np.empty((0,) * (AXES + 2), like.dtype) if images is None else self._five_axes(images)

    def _five_axes(self, images: np.ndarray) -> np.ndarray:
        images = np.ascontiguousarray(images)
        if not self.window.window:
            return images.reshape(self.planes.batch, 1, 1, -1, images.shape[1])
        at = 1 if self.window.channels_last else 2
        return images.reshape(*images.shape[:at], *(1,) * (AXES + 2 - images.ndim), *images.shape[at:])


@functools.lru_cache(maxsize=1024)
def shares_of_images(images: int, threads: int) -> np.ndarray:
    """Images that a thread takes when it is free, ints of shape `(shares, 2)`; none if there are fewer than threads."""
    shares = min(images, SHARES * threads if threads > 1 else 1)
    ends = np.arange(shares + 1) * images // max(1, shares)
    return np.stack([ends[:-1], ends[1:]], 1)[: shares if shares >= threads else 0]


def _asked(which: bool | np.ndarray, like: np.ndarray) -> np.ndarray | None:
    if isinstance(which, np.ndarray):
        return which
    return recycled.empty(like.shape, like.dtype) if which else None


def _ordered(rows: Rows, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The order of the rows, the values as they are stored, and memory for them in that order; themselves without."""
    values = np.ascontiguousarray(values)
    if rows.order is None:
        return _NO_ORDER, values, values
    return rows.order, values, _scratch("values", values.shape, values)


_NO_ORDER = np.zeros(0, "int32")


def _in_order(values: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    if order is None:
        return np.ascontiguousarray(values)
    ordered = _scratch("values", values.shape, values)
    together(kernels().take, shares_of(len(values)), values, order, ordered)
    return ordered


def _put(parts: np.ndarray, order: np.ndarray | None, target: np.ndarray) -> None:
    if order is None:
        np.sum(parts, 0, out=target)
    else:
        together(kernels().put, shares_of(len(target)), parts, order, target)


_SCRATCH: dict = {}


def _scratch(name: str, shape: tuple[int, ...], like: np.ndarray) -> np.ndarray:
    """An array that lasts until the next of its name."""
    key, size = (name, like.dtype), math.prod(shape)
    if key not in _SCRATCH or len(_SCRATCH[key]) < size:
        _SCRATCH[key] = np.empty(size, like.dtype)
    return _SCRATCH[key][:size].reshape(shape)


@functools.lru_cache(maxsize=1024)
def convolution_of(window: Window, shape: tuple[int, ...]) -> Convolution:
    """The convolution of inputs of a shape."""
    return Convolution(window, shape)
