"""Convolutions and products with few weights on a CPU, in time that grows with the weights: on planes, by numba.

Threads share the images, of which each packs some into planes that stay in its cache, multiplies and unpacks. Where
there are too few images, and for products with a matrix, they share the rows of the product.
"""

import functools
import math
import threading

import numpy as np

from keras_dsr.backend import recycled
from keras_dsr.backend.plane_compilation import announced, kernels
from keras_dsr.backend.plane_structure import Rows, Structure, structure_of
from keras_dsr.backend.planes import AXES, Window, output_shape, planes_of
from keras_dsr.backend.threads import shares_of, together, workers

CACHED = 2**17  # numbers that stay in a processor's second cache
BLOCK = 1024  # numbers of a plane at a time, at most

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
        self.output_shape: tuple[int, ...] = output_shape(window, self.shape)  # type: ignore[assignment]  # all are known
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

    def forward(self, inputs: np.ndarray, values: np.ndarray, structure: Structure | None) -> np.ndarray:
        """The outputs.

        Args:
            inputs: of the shape of the class, float32 or float64.
            values: the weights, of the same dtype, in the order of their positions; what is behind them is not read.
            structure: what their positions mean.
        """
        outputs = recycled.empty(self.output_shape, inputs.dtype)
        if structure is None:
            return outputs
        with _LOCK, announced("forward", inputs.dtype):
            rows = structure.of_outputs
            values = _in_order(values[: structure.count], rows.order)
            shares, tile = self._shares_of_images()
            if len(shares) < workers():
                planes = self._packed(inputs, forward=True)
                self._multiply(rows, values, planes, outputs, forward=True)
                return outputs
            self._forward_of_images(shares, tile, rows, inputs, values, outputs)
        return outputs

    def backward(
        self,
        inputs: np.ndarray,
        upstream: np.ndarray,
        values: np.ndarray,
        structure: Structure | None,
        of_inputs: bool = True,
        of_values: bool = True,
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The gradients of the inputs and of the values, 0 behind the weights; None of what is not asked for.

        Args:
            inputs, values, structure: as `forward` was given.
            upstream: the gradient of the outputs.
        """
        gradient = recycled.empty(self.shape, inputs.dtype) if of_inputs else None
        sampled = recycled.empty(values.shape, values.dtype) if of_values else None
        count = 0 if structure is None else structure.count
        if sampled is not None:
            sampled[count:] = 0
        if structure is None:
            if gradient is not None:
                gradient[...] = 0
            return gradient, sampled
        with _LOCK, announced("backward", inputs.dtype):
            of_planes, of_outputs = structure.of_inputs, structure.of_outputs
            ordered = _in_order(values[:count], of_planes.order)
            shares, tile = self._shares_of_images()
            if len(shares) < workers():
                upstream = self._packed(upstream, forward=False)
                if gradient is not None:
                    self._multiply(of_planes, ordered, upstream, gradient, forward=False)
                if sampled is not None:
                    self._sample(of_outputs, self._packed(inputs, forward=True), upstream, sampled[:count])
                return gradient, sampled
            self._backward_of_images(
                shares,
                tile,
                structure,
                inputs,
                upstream,
                ordered,
                gradient,
                None if sampled is None else sampled[:count],
            )
        return gradient, sampled

    # All images at a time, and the rows shared

    @functools.cached_property
    def _sizes_of_all(self) -> tuple[int, int, int]:
        """Of planes of all images: the length if a loop was compiled for it, else 0; the stride; a block's length."""
        length = self.planes.length
        short = next((each for each in kernels().SHORT if each >= length), 0)
        stride, block = self._sizes(self.planes.batch)
        return short, max(stride, short + self.planes.largest_shift), short or block

    def _packed(self, images: np.ndarray, forward: bool) -> np.ndarray:
        """The planes of the inputs, or of the upstream, which begin behind zeros."""
        _, stride, _ = self._sizes_of_all
        count, first = (self.planes.count, 0) if forward else (self.window.filters, self.planes.largest_shift)
        planes = _scratch("inputs" if forward else "upstream", (first + (count + 1) * stride,), images)
        planes[:first] = planes[first + count * stride :] = 0
        planes[first : first + count * stride].reshape(count, stride)[:, self.planes.length :] = 0
        layout = self._of_inputs if forward else self._of_outputs
        images, last = self._five_axes(images), self.window.channels_last
        together(kernels().pack, shares_of(len(images), 1, images.size), last, images, planes, first, stride, layout)
        return planes

    def _multiply(self, rows: Rows, values, planes, target: np.ndarray, forward: bool) -> None:
        """Write the product, unpacked, to outputs or the gradient of the inputs."""
        short, stride, block = self._sizes_of_all
        sums = _scratch("memory", ((len(rows.starts) - 1) * stride,), values)
        offsets = rows.offsets(0 if forward else self.planes.largest_shift, stride)
        arrays = rows.starts, offsets, values, planes, sums
        together(
            kernels().PRODUCT[short],
            rows.shares(workers(), self.planes.length),
            *arrays,
            stride,
            block,
            self.planes.length,
        )
        layout = self._of_outputs if forward else self._of_inputs
        images, last = self._five_axes(target), self.window.channels_last
        together(kernels().unpack, shares_of(len(images), 1, images.size), last, sums, images, stride, layout)

    def _sample(self, rows: Rows, planes, upstream, target: np.ndarray) -> None:
        short, stride, block = self._sizes_of_all
        sums = _scratch("parts", (1, len(target)), target)
        sums[...] = 0
        arrays = rows.starts, rows.offsets(0, stride), planes, upstream, self.planes.largest_shift, sums[0]
        together(
            kernels().SAMPLED[short],
            rows.shares(workers(), self.planes.length),
            *arrays,
            stride,
            block,
            self.planes.length,
        )
        _put(sums, rows.order, target)

    # Some images at a time

    def _forward_of_images(self, shares, tile: int, rows: Rows, inputs, values, outputs: np.ndarray) -> None:
        stride, block = self._sizes(tile)
        memory = _scratch("memory", (len(shares), (self.planes.count + 1 + self.window.filters) * stride), inputs)
        arrays = self._five_axes(inputs), self._five_axes(outputs), rows.starts, rows.offsets(0, stride), values
        layouts = self._of_inputs, self._of_outputs
        each = [(*share, part) for share, part in zip(shares, memory)]
        together(kernels().forward, each, self.window.channels_last, *arrays, *layouts, tile, stride, block)

    def _backward_of_images(
        self, shares, tile: int, structure: Structure, inputs, upstream, values, gradient, sampled
    ) -> None:
        """Write the gradients of the inputs and of the weights that exist, where they are not None."""
        stride, block = self._sizes(tile)
        of_planes, of_outputs, first = structure.of_inputs, structure.of_outputs, self.planes.largest_shift
        size = first + (self.window.filters + 2 + 2 * self.planes.count) * stride
        memory = _scratch("memory", (len(shares), size), inputs)
        parts = _scratch("parts", (len(shares), 0 if sampled is None else len(sampled)), inputs)
        parts[...] = 0
        target = np.empty((0,) * (AXES + 2), inputs.dtype) if gradient is None else self._five_axes(gradient)
        images = self.window.channels_last, self._five_axes(inputs), self._five_axes(upstream), target
        weights = of_outputs.starts, of_outputs.offsets(0, stride), values
        inputs_of = of_planes.starts, of_planes.offsets(first, stride)
        each = [(*share, part, *images, sums) for share, part, sums in zip(shares, memory, parts)]
        layouts = self._of_inputs, self._of_outputs
        together(kernels().backward, each, *layouts, *weights, *inputs_of, first, tile, stride, block)
        if sampled is not None:
            _put(parts, of_outputs.order, sampled)

    def _shares_of_images(self) -> tuple[list[tuple[int, int]], int]:
        """For each thread its images, and how many it packs at a time. There are too few shares where it cannot be."""
        if not self.window.window:
            return [], 0
        per_image = (self.planes.count + self.window.filters) * math.prod(self.planes.grid)
        shares = shares_of(self.shape[0], 1)
        return shares, max(1, min(CACHED // per_image, shares[0][1] - shares[0][0]))

    def _sizes(self, images: int) -> tuple[int, int]:
        """The stride of planes of so many images, and the length of the blocks that they are cut into."""
        length = images * math.prod(self.planes.grid)
        return length + self.planes.largest_shift, -(-length // -(-length // BLOCK))

    def _five_axes(self, images: np.ndarray) -> np.ndarray:
        images = np.ascontiguousarray(images)
        if not self.window.window:
            return images.reshape(self.planes.batch, 1, 1, -1, images.shape[1])
        at = 1 if self.window.channels_last else 2
        return images.reshape(*images.shape[:at], *(1,) * (AXES + 2 - images.ndim), *images.shape[at:])


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
