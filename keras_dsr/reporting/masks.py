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
    mask = np.zeros(kernel.size, bool)
    mask[kernel.positions] = True
    plane, across, down = _plane(mask.reshape(kernel.shape))
    step = tuple(math.ceil(size / LARGEST) for size in plane.shape)
    density = block_means(plane, step)
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


def block_means(plane: np.ndarray, step: tuple[int, int]) -> np.ndarray:
    """The means of blocks of `step` entries of a matrix; those at the end may be smaller."""
    sums = plane.astype("float64")
    for axis, length in enumerate(step):
        starts = np.arange(0, plane.shape[axis], length)
        ends = np.append(starts[1:], plane.shape[axis])
        shape = (-1, 1) if axis == 0 else (1, -1)
        sums = np.add.reduceat(sums, starts, axis=axis) / (ends - starts).reshape(shape)
    return sums


def _plane(mask: np.ndarray) -> tuple[np.ndarray, str, str]:
    """A mask of any rank as a matrix that is wider than high, and the names of its axes."""
    if mask.ndim == 1:
        return mask[None, :], "places", "one row"
    *window, inputs, outputs = mask.shape
    names = "inputs", "outputs"
    if window:
        height, width = math.prod(window[:-1]), window[-1]
        mask = mask.reshape(height, width, inputs, outputs).transpose(2, 0, 3, 1)
        tiles = " (a window each)" if height * width > 1 else ""
        names = f"input channels{tiles}", f"output channels{tiles}"
    plane = mask.reshape(inputs * (height if window else 1), -1)
    return (plane, names[1], names[0]) if plane.shape[1] >= plane.shape[0] else (plane.T, names[0], names[1])


def _png(shade: np.ndarray) -> str:
    """A PNG of one color, the more opaque the larger the shade, so that it is legible on light and dark."""
    from matplotlib.image import imsave

    pixels = np.zeros((*shade.shape, 4), "uint8")
    pixels[..., :3] = COLOR
    pixels[..., 3] = np.round(255 * np.where(shade > 0, 0.15 + 0.85 * shade, 0))
    file = io.BytesIO()
    imsave(file, pixels, format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
