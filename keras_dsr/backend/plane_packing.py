"""Images into planes (see `backend.planes`) and back, by loops that numba compiles.

A layout, where it is an argument, is a tuple: the grid of an image; phases, an int array of shape `(phases, 3)`;
strides; and the zeros in front of the images.
"""

import numba

# What sums may be reordered and fused for; NaN and infinities stay what they are.
compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})


@compiled
def channels_of(images, last):
    """The channels of images, which are their last axis or their second."""
    return images.shape[4] if last else images.shape[1]


@compiled
def pack(begin, end, last, images, planes, first, stride, layout):
    """Write images from `begin` to `end` into planes, from `first` on, with zeros where none of them lies.

    Args:
        images: array of shape `(batch, a, b, c, channels)`, or `(batch, channels, a, b, c)` if not `last`.
    """
    grid, phases, strides, before = layout
    channels = channels_of(images, last)
    high, wide, deep = images.shape[1:4] if last else images.shape[2:5]
    for phase in range(len(phases)):
        low, top, at_low = _on_line(deep, grid[2], phases[phase, 2], strides[2], before[2])
        for image in range(begin, end):
            for g0 in range(grid[0]):
                h0 = g0 * strides[0] + phases[phase, 0] - before[0]
                for g1 in range(grid[1]):
                    h1 = g1 * strides[1] + phases[phase, 1] - before[1]
                    inside = 0 <= h0 < high and 0 <= h1 < wide
                    at = first + phase * stride + ((image * grid[0] + g0) * grid[1] + g1) * grid[2]
                    step = len(phases) * stride
                    for channel in range(channels):
                        line = planes[at + channel * step : at + channel * step + grid[2]]
                        for j in range(low if inside else grid[2]):
                            line[j] = 0
                        for j in range(top, grid[2] if inside else 0):
                            line[j] = 0
                    if inside and top > low:
                        lines = planes[at + low :]
                        rows = images[image, h0, h1, at_low:] if last else images[image, :, h0, h1, at_low:].T
                        _to_lines(rows, strides[2], lines, step, top - low)


@compiled
def unpack(begin, end, last, planes, images, stride, layout, channel, channels):
    """Read images from planes, as `pack` has written them; a position that is on no plane is 0.

    Args:
        channel, channels: the channels to read, from this one to the one before that; the planes begin with the first.
    """
    grid, phases, strides, before = layout
    high, wide, deep = images.shape[1:4] if last else images.shape[2:5]
    is_whole = len(phases) == strides[0] * strides[1] * strides[2]
    for axis, size in enumerate((high, wide, deep)):
        is_whole = is_whole and (size - 1 + before[axis]) // strides[axis] < grid[axis]
    for image in range(begin, end):
        own = images[image, :, :, :, channel:channels] if last else images[image, channel:channels]
        if not is_whole:
            own[:] = 0
        for phase in range(len(phases)):
            low, top, at_low = _on_line(deep, grid[2], phases[phase, 2], strides[2], before[2])
            for g0 in range(grid[0]):
                h0 = g0 * strides[0] + phases[phase, 0] - before[0]
                for g1 in range(grid[1]):
                    h1 = g1 * strides[1] + phases[phase, 1] - before[1]
                    if not (0 <= h0 < high and 0 <= h1 < wide):
                        continue
                    lines = planes[phase * stride + ((image * grid[0] + g0) * grid[1] + g1) * grid[2] + low :]
                    rows = own[h0, h1, at_low:] if last else own[:, h0, h1, at_low:].T
                    _from_lines(lines, len(phases) * stride, top - low, rows, strides[2])


@compiled
def _on_line(size, grid, phase, stride, before):
    """Where on a line of the grid the positions of an image begin and end, and which is the first of them."""
    low = min(grid, max(0, -((phase - before) // stride)))
    top = max(low, min(grid, (size - 1 + before - phase) // stride + 1))
    return low, top, low * stride + phase - before


@compiled
def _to_lines(rows, stride, lines, step, count):
    """Write every `stride`-th of rows of all channels to a line for each channel.

    Eight rows at a time: more of them, where they lie a power of 2 apart, push each other out of a processor's cache.
    """
    for begin in range(0, count, 8):
        n = min(8, count - begin)
        for channel in range(rows.shape[1]):
            line, column = lines[channel * step + begin : channel * step + begin + n], rows[begin * stride :, channel]
            if stride > 1:
                for j in range(n):
                    line[j] = column[j * stride]
            elif n == 8:
                for j in range(8):
                    line[j] = column[j]
            else:
                for j in range(n):
                    line[j] = column[j]


@compiled
def _from_lines(lines, step, count, rows, stride):
    """Read what `_to_lines` has written."""
    for begin in range(0, count, 8):
        n = min(8, count - begin)
        for channel in range(rows.shape[1]):
            line, column = lines[channel * step + begin : channel * step + begin + n], rows[begin * stride :, channel]
            if stride > 1:
                for j in range(n):
                    column[j * stride] = line[j]
            elif n == 8:
                for j in range(8):
                    column[j] = line[j]
            else:
                for j in range(n):
                    column[j] = line[j]
