"""Images into planes (see `backend.planes`) and back, by loops that numba compiles.

A layout, where it is an argument, is a tuple: the grid of an image; phases, an int array of shape `(phases, 3)`;
strides; and the zeros in front of the images.
"""

import numba
import numpy as np

from keras_dsr.backend.plane_vectors import EIGHT, FLAGS, move_square

_U = np.uint64  # an index of this type never counts from the end, which numba would look at for each
_0, _1, _8 = _U(0), _U(1), _U(8)

compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=set(FLAGS))


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
    to_channel, to_position = (1, channels) if last else (high * wide * deep, 1)
    flat, step = images.reshape(-1), len(phases) * stride
    for phase in range(len(phases)):
        low, top, at_low = _on_line(deep, grid[2], phases[phase, 2], strides[2], before[2])
        for image in range(begin, end):
            for g0 in range(grid[0]):
                h0 = g0 * strides[0] + phases[phase, 0] - before[0]
                for g1 in range(grid[1]):
                    h1 = g1 * strides[1] + phases[phase, 1] - before[1]
                    at = first + phase * stride + ((image * grid[0] + g0) * grid[1] + g1) * grid[2]
                    if not (0 <= h0 < high and 0 <= h1 < wide and top > low):
                        clear(planes, at, step, grid[2], channels)
                        continue
                    if low > 0:
                        clear(planes, at, step, low, channels)
                    if top < grid[2]:
                        clear(planes, at + top, step, grid[2] - top, channels)
                    source = image * high * wide * deep * channels + ((h0 * wide + h1) * deep + at_low) * to_position
                    pitch = strides[2] * to_position
                    _move(flat, source, pitch, to_channel, planes, at + low, 1, step, top - low, channels)


@compiled
def unpack(begin, end, last, planes, images, stride, layout, channel, channels):
    """Read images from planes, as `pack` has written them; a position that is on no plane is 0.

    Args:
        channel, channels: the channels to read, from this one to the one before that; the planes begin with the first.
    """
    grid, phases, strides, before = layout
    all_channels = channels_of(images, last)
    high, wide, deep = images.shape[1:4] if last else images.shape[2:5]
    to_channel, to_position = (1, all_channels) if last else (high * wide * deep, 1)
    flat, step = images.reshape(-1), len(phases) * stride
    is_whole = len(phases) == strides[0] * strides[1] * strides[2]
    for axis, size in enumerate((high, wide, deep)):
        is_whole = is_whole and (size - 1 + before[axis]) // strides[axis] < grid[axis]
    for image in range(begin, end):
        own = image * high * wide * deep * all_channels + channel * to_channel
        if not is_whole and last:
            images[image, :, :, :, channel:channels] = 0
        elif not is_whole:
            images[image, channel:channels] = 0
        for phase in range(len(phases)):
            low, top, at_low = _on_line(deep, grid[2], phases[phase, 2], strides[2], before[2])
            for g0 in range(grid[0]):
                h0 = g0 * strides[0] + phases[phase, 0] - before[0]
                for g1 in range(grid[1]):
                    h1 = g1 * strides[1] + phases[phase, 1] - before[1]
                    if not (0 <= h0 < high and 0 <= h1 < wide and top > low):
                        continue
                    at = phase * stride + ((image * grid[0] + g0) * grid[1] + g1) * grid[2] + low
                    target = own + ((h0 * wide + h1) * deep + at_low) * to_position
                    pitch = strides[2] * to_position
                    _move(planes, at, 1, step, flat, target, pitch, to_channel, top - low, channels - channel)


@compiled
def _on_line(size, grid, phase, stride, before):
    """Where on a line of the grid the positions of an image begin and end, and which is the first of them."""
    low = min(grid, max(0, -((phase - before) // stride)))
    top = max(low, min(grid, (size - 1 + before - phase) // stride + 1))
    return low, top, low * stride + phase - before


@compiled
def clear(planes, at, step, positions, channels):
    """Write zeros to some positions of all channels, from `at` on in the first; those of the next are a step behind."""
    at, step, positions = _U(at), _U(step), _U(positions)
    for _ in range(channels):
        for position in range(positions):
            planes[at + position] = 0
        at += step


@compiled
def _move(source, s, s_position, s_channel, target, t, t_position, t_channel, positions, channels):
    """Copy a line of positions of all channels.

    Where channels are the last axis on one side, eight channels of eight positions are transposed in registers.

    Args:
        source, target: flat arrays.
        s, t: where the first position of the first channel is.
        s_position, t_position: how far the next position is; one of both is 1.
        s_channel, t_channel: how far the next channel is; one of both may be 1.
    """
    s, s_position, s_channel = _U(s), _U(s_position), _U(s_channel)
    t, t_position, t_channel = _U(t), _U(t_position), _U(t_channel)
    positions, channels = _U(positions), _U(channels)
    if s_position == t_position:
        for _ in range(channels):
            for j in range(positions):
                target[t + j] = source[s + j]
            s, t = s + s_channel, t + t_channel
        return
    done = _0
    if min(s_channel, t_channel) == _1:
        s_step, t_step = max(s_position, s_channel), max(t_position, t_channel)
        while done + _8 <= channels:
            of = _0
            while of + _8 <= positions:
                move_square(source, s + of * s_position, s_step, target, t + of * t_position, t_step, EIGHT)
                of += _8
            while of < positions:
                for channel in range(_8):
                    at = of * t_position + channel * t_channel
                    target[t + at] = source[s + of * s_position + channel * s_channel]
                of += _1
            done, s, t = done + _8, s + _8 * s_channel, t + _8 * t_channel
    for _ in range(channels - done):
        for j in range(positions):
            target[t + j * t_position] = source[s + j * s_position]
        s, t = s + s_channel, t + t_channel
