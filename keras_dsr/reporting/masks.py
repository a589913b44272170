"""Pictures of which weights of a kernel are active."""

import base64
import io
import math
from typing import NamedTuple

import numpy as np

from keras_dsr.reporting.kernels import Kernel

LARGEST = 900  # pixels of a side: what is larger is shown as the density of blocks
SHOWN = (900, 480)  # pixels in the page at most, for those that are enlarged
COLOR = (0x3B, 0x82, 0xC4)


class MaskImage(NamedTuple):
    """A picture of a mask.

    Attributes:
        name: of the kernel.
        uri: a PNG, as a data URI.
        width, height: its pixels.
        shown: the width in the page, a multiple of `width`.
        caption: how to read it.
    """

    name: str
    uri: str
    width: int
    height: int
    shown: int
    caption: str


def mask_image(kernel: Kernel) -> MaskImage:
    """Draw which weights of a sparse kernel are active.

    Inputs and outputs of the kernel are the axes, the longer one across; of a convolution each pair of an input and an
    output channel is a tile of the window. Of a large kernel a pixel is the density of a block.
    """
    rows, columns, shape, (down, across) = _plane(kernel.shape, kernel.positions)
    step = tuple(math.ceil(size / LARGEST) for size in shape)
    density = block_means(rows, columns, shape, step)
    height, width = density.shape
    counts = f"{kernel.active:,} of {kernel.size:,} weights active."
    axes = f"{across.capitalize()} from left to right, {down} from top to bottom."
    if step == (1, 1):
        how = "Each colored pixel is an active weight."
    else:
        how = (
            f"A pixel stands for {step[1]} x {step[0]} weights, the stronger the more of them are active "
            f"(at most {density.max():.0%})."
        )
    shown = width * max(1, min(SHOWN[0] // width, SHOWN[1] // height))
    return MaskImage(kernel.name, _png(density / density.max()), width, height, shown, f"{counts} {axes} {how}")


def block_means(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int], step: tuple[int, int]) -> np.ndarray:
    """The fraction of positions in use in each block of `step` positions of a matrix; blocks at the end may be smaller.

    Args:
        rows, columns: where the positions in use are.
        shape: of the matrix, of which nothing of this size is made.
        step: the size of a block.
    """
    blocks = tuple(math.ceil(size / length) for size, length in zip(shape, step))
    counts = np.bincount((rows // step[0]) * blocks[1] + columns // step[1], minlength=math.prod(blocks))
    lengths = [np.minimum(length, size - length * np.arange(n)) for size, length, n in zip(shape, step, blocks)]
    return counts.reshape(blocks) / np.outer(*lengths)


def _plane(shape: tuple[int, ...], positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, int], tuple]:
    """Positions in a tensor of any rank as those in a wide matrix: rows, columns, its shape, the names of its axes."""
    if len(shape) == 1:
        return np.zeros_like(positions), positions, (1, *shape), ("one row", "places")
    *window, inputs, outputs = shape
    height, width = (math.prod(window[:-1]), window[-1]) if window else (1, 1)
    at = np.unravel_index(positions, (height, width, inputs, outputs))
    rows, columns, size = at[2] * height + at[0], at[3] * width + at[1], (inputs * height, outputs * width)
    tiles = " (a window each)" if height * width > 1 else ""
    names = (f"input channels{tiles}", f"output channels{tiles}") if window else ("inputs", "outputs")
    return (rows, columns, size, names) if size[1] >= size[0] else (columns, rows, size[::-1], names[::-1])


def _png(shade: np.ndarray) -> str:
    """A PNG of one color, the more opaque the larger the shade, so that it is legible on light and dark."""
    from matplotlib.image import imsave

    pixels = np.zeros((*shade.shape, 4), "uint8")
    pixels[..., :3] = COLOR
    pixels[..., 3] = np.round(255 * np.where(shade > 0, 0.15 + 0.85 * shade, 0))
    file = io.BytesIO()
    imsave(file, pixels, format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
