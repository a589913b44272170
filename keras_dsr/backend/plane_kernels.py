"""Loops over planes (see `backend.planes`) that numba compiles: plain ones, which its compiler makes vectors of.

Each is compiled at its first use for the type of its numbers, and kept on disk. Each does the part of the work that
its first arguments name, without Python's lock, so that several threads do it together.
"""

import numpy as np

from keras_dsr.backend.plane_packing import channels_of, compiled, pack, unpack

# Planes no longer than these have loops of a length that is known when they are compiled, as the length of a tuple is.
SHORT = {length: ((),) * length for length in (8, 16, 32, 64)}
LONG = ()


@compiled
def product(row, rows, starts, offsets, values, inputs, outputs, stride, block, size, short):
    """`outputs[row] = sum over the weights of the row of value * inputs[offset:]`, on planes cut into blocks.

    Args:
        row, rows: the first row of the work, and the one behind it.
        starts: where the weights of each row begin, and in the end how many there are.
        offsets: where the plane of each weight begins in `inputs`.
        values: of the weights.
        inputs, outputs: flat arrays of planes; of the outputs, row `r` begins at `r * stride`.
        block, size: the length of a block and that of a plane.
        short: of `SHORT`, if a block has that length; else `LONG`.
    """
    for begin in range(0, size, block):
        n = len(short) if len(short) else min(block, size - begin)
        for to in range(row, rows):
            sums = outputs[to * stride + begin : to * stride + begin + n]
            for j in range(n):
                sums[j] = 0
            weight, end = starts[to], starts[to + 1]
            while weight + 8 <= end:  # eight at a time: a sum is read and written once for all of them
                v0, v1, v2, v3 = values[weight], values[weight + 1], values[weight + 2], values[weight + 3]
                v4, v5, v6, v7 = values[weight + 4], values[weight + 5], values[weight + 6], values[weight + 7]
                a0, a1 = offsets[weight] + begin, offsets[weight + 1] + begin
                a2, a3 = offsets[weight + 2] + begin, offsets[weight + 3] + begin
                a4, a5 = offsets[weight + 4] + begin, offsets[weight + 5] + begin
                a6, a7 = offsets[weight + 6] + begin, offsets[weight + 7] + begin
                x0, x1, x2, x3 = inputs[a0 : a0 + n], inputs[a1 : a1 + n], inputs[a2 : a2 + n], inputs[a3 : a3 + n]
                x4, x5, x6, x7 = inputs[a4 : a4 + n], inputs[a5 : a5 + n], inputs[a6 : a6 + n], inputs[a7 : a7 + n]
                for j in range(n):
                    sums[j] += (v0 * x0[j] + v1 * x1[j] + v2 * x2[j] + v3 * x3[j]) + (
                        v4 * x4[j] + v5 * x5[j] + v6 * x6[j] + v7 * x7[j]
                    )
                weight += 8
            while weight + 4 <= end:
                v0, v1, v2, v3 = values[weight], values[weight + 1], values[weight + 2], values[weight + 3]
                a0, a1 = offsets[weight] + begin, offsets[weight + 1] + begin
                a2, a3 = offsets[weight + 2] + begin, offsets[weight + 3] + begin
                x0, x1, x2, x3 = inputs[a0 : a0 + n], inputs[a1 : a1 + n], inputs[a2 : a2 + n], inputs[a3 : a3 + n]
                for j in range(n):
                    sums[j] += v0 * x0[j] + v1 * x1[j] + v2 * x2[j] + v3 * x3[j]
                weight += 4
            while weight < end:
                value, a0 = values[weight], offsets[weight] + begin
                x0 = inputs[a0 : a0 + n]
                for j in range(n):
                    sums[j] += value * x0[j]
                weight += 1


@compiled
def gradients(row, rows, starts, offsets, values, upstream, inputs, of_inputs, of_values, stride, block, size, short):
    """Both gradients of a product, in one pass over the upstream.

    `of_inputs[row] = sum over the weights of the row of value * upstream[offset:]`, and `of_values[weight] += sum of
    inputs[row] * upstream[offset:]`.

    Args:
        inputs: a flat array of planes, with zeros where no input lies; row `r` begins at `r * stride`, as in
            `of_inputs`, which may be empty if that is not asked for.
        the others: as of `product`, with the upstream in place of its inputs.
    """
    zero, is_asked = of_values.dtype.type(0), len(of_inputs) > 0
    for begin in range(0, size, block):
        n = len(short) if len(short) else min(block, size - begin)
        for of in range(row, rows):
            at = of * stride + begin
            x = inputs[at : at + n]
            sums = of_inputs[at : at + n] if is_asked else x
            if is_asked:
                for j in range(n):
                    sums[j] = 0
            weight, end = starts[of], starts[of + 1]
            while weight + 4 <= end:
                v0, v1, v2, v3 = values[weight], values[weight + 1], values[weight + 2], values[weight + 3]
                a0, a1 = offsets[weight] + begin, offsets[weight + 1] + begin
                a2, a3 = offsets[weight + 2] + begin, offsets[weight + 3] + begin
                u0, u1 = upstream[a0 : a0 + n], upstream[a1 : a1 + n]
                u2, u3 = upstream[a2 : a2 + n], upstream[a3 : a3 + n]
                s0 = s1 = s2 = s3 = zero
                for j in range(n):
                    s0 += x[j] * u0[j]
                    s1 += x[j] * u1[j]
                    s2 += x[j] * u2[j]
                    s3 += x[j] * u3[j]
                if is_asked:
                    for j in range(n):
                        sums[j] += v0 * u0[j] + v1 * u1[j] + v2 * u2[j] + v3 * u3[j]
                of_values[weight] += s0
                of_values[weight + 1] += s1
                of_values[weight + 2] += s2
                of_values[weight + 3] += s3
                weight += 4
            while weight < end:
                value, a0 = values[weight], offsets[weight] + begin
                u0 = upstream[a0 : a0 + n]
                s0 = zero
                for j in range(n):
                    s0 += x[j] * u0[j]
                if is_asked:
                    for j in range(n):
                        sums[j] += value * u0[j]
                of_values[weight] += s0
                weight += 1


@compiled
def forward_of_images(
    begin, end, memory, last, images, outputs, starts, offsets, values, of_inputs, of_outputs, tile, stride, block
):
    """The outputs of images from `begin` to `end`, `tile` at a time, whose planes stay in a processor's cache.

    Args:
        memory: a flat array for the planes of the inputs, those of the outputs, and a plane between.
        last: whether channels are the last axis.
        of_inputs, of_outputs: layouts.
        starts, offsets, values, stride, block: as of `product`.
    """
    grid, phases = of_inputs[0], of_inputs[1]
    planes = memory[: (channels_of(images, last) * len(phases) + 1) * stride]
    sums = memory[len(planes) :]
    planes[:] = 0
    for image in range(begin, end, tile):
        n = min(tile, end - image)
        pack(0, n, last, images[image : image + n], planes, 0, stride, of_inputs)
        size = n * grid[0] * grid[1] * grid[2]
        product(0, len(starts) - 1, starts, offsets, values, planes, sums, stride, block, size, LONG)
        unpack(0, n, last, sums, outputs[image : image + n], stride, of_outputs, 0, len(starts) - 1)


@compiled
def backward_of_images(
    begin,
    end,
    memory,
    last,
    images,
    upstream,
    gradient,
    sampled,
    of_inputs,
    of_outputs,
    starts,
    offsets,
    values,
    first,
    tile,
    stride,
    block,
):
    """The gradients of images from `begin` to `end`, and their part of the gradient of the weights.

    Args:
        upstream: the gradient of the outputs.
        gradient: that of the inputs; its batch is empty if none is asked for.
        sampled: an array of the sums for each weight, in the order of `starts`; it is empty if none is asked for.
        starts, offsets, values: of the weights of each plane of the inputs.
        first: where the planes of the upstream begin.
        memory, last, of_inputs, of_outputs, tile, stride, block: as of `forward_of_images`.
    """
    grid, phases = of_inputs[0], of_inputs[1]
    filters, count = channels_of(upstream, last), channels_of(images, last) * len(phases)
    above = memory[: first + (filters + 1) * stride]
    planes = memory[len(above) : len(above) + (count + 1) * stride]
    memory[: len(above) + len(planes)] = 0
    sums = memory[len(above) + len(planes) :] if len(gradient) else memory[:0]
    for image in range(begin, end, tile):
        n = min(tile, end - image)
        size = n * grid[0] * grid[1] * grid[2]
        pack(0, n, last, upstream[image : image + n], above, first, stride, of_outputs)
        if len(sampled):
            pack(0, n, last, images[image : image + n], planes, 0, stride, of_inputs)
            gradients(0, count, starts, offsets, values, above, planes, sums, sampled, stride, block, size, LONG)
        else:
            product(0, count, starts, offsets, values, above, sums, stride, block, size, LONG)
        if len(gradient):
            unpack(0, n, last, sums, gradient[image : image + n], stride, of_inputs, 0, channels_of(images, last))


@compiled
def pack_both(begin, end, last, upstream, above, first, of_outputs, images, planes, of_inputs, stride):
    """`pack` the upstream, and the inputs."""
    pack(begin, end, last, upstream, above, first, stride, of_outputs)
    pack(begin, end, last, images, planes, 0, stride, of_inputs)


@compiled
def forward_of_rows(
    row, rows, sums, images, last, starts, offsets, order, given, values, planes, layout, stride, block, size, short
):
    """The product of rows from `row` to `rows` for all images, which are packed, unpacked into images.

    Args:
        sums: a flat array for the planes of these rows alone.
        images: the whole of them; a row is a channel.
        order, given: the weights as they are stored are `given`, and those of the rows `given[order]`; if `order` is
            empty they are `values` already, which else is memory for them.
        layout: of what is unpacked.
        the others: as of `product`.
    """
    if len(order):
        take(starts[row], starts[rows], given, order, values)
    product(0, rows - row, starts[row:], offsets, values, planes, sums, stride, block, size, short)
    unpack(0, len(images), last, sums, images, stride, layout, row, rows)


@compiled
def backward_of_rows(
    row,
    rows,
    inputs,
    sums,
    images,
    last,
    starts,
    offsets,
    order,
    given,
    values,
    upstream,
    sampled,
    target,
    layout,
    stride,
    block,
    size,
    short,
):
    """Both gradients of rows from `row` to `rows` for all images, which are packed.

    Args:
        inputs, sums: flat arrays of the planes of these rows alone; `sums` is empty if no gradient of the inputs is
            asked for.
        images: that gradient, the whole of it.
        sampled: memory for the gradient of the weights in the order of `starts`; empty if none is asked for.
        target: that gradient in the order of the weights as they are stored; `sampled` itself if that is the same.
        the others: as of `forward_of_rows`.
    """
    begin, end = starts[row], starts[rows]
    if len(order):
        take(begin, end, given, order, values)
    if len(sampled):
        for weight in range(begin, end):
            sampled[weight] = 0
        gradients(
            0, rows - row, starts[row:], offsets, values, upstream, inputs, sums, sampled, stride, block, size, short
        )
        if len(order):
            for weight in range(begin, end):
                target[order[weight]] = sampled[weight]
    else:
        product(0, rows - row, starts[row:], offsets, values, upstream, sums, stride, block, size, short)
    if len(sums):
        phases = len(layout[1])
        unpack(0, len(images), last, sums, images, stride, layout, row // phases, rows // phases)


@compiled
def take(begin, end, values, order, taken):
    """`taken = values[order]`, of some."""
    for index in range(begin, end):
        taken[index] = values[order[index]]


@compiled
def put(begin, end, parts, order, target):
    """`target[order] = sum of parts`, of some; `parts` has a row for each of the numbers to add."""
    for index in range(begin, end):
        total = parts[0, index]
        for part in range(1, len(parts)):
            total += parts[part, index]
        target[order[index]] = total


@compiled
def digest(begin, end, indices):
    """A number of 64 bits that tells lists of rows and columns apart; of a list it is the sum of those of its parts."""
    total = np.uint64(0)
    for index in range(begin, end):
        mixed = np.uint64(indices[index, 0]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= np.uint64(indices[index, 1]) + np.uint64(index) * np.uint64(0xD1B54A32D192ED03)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(32)
        total += mixed
    return total


@compiled
def grouped(keys, groups):
    """Where the entries of each group begin, ints of shape `(groups + 1,)`, and the order that sorts them by group."""
    starts = np.zeros(groups + 1, np.int64)
    for key in keys:
        starts[key + 1] += 1
    for group in range(groups):
        starts[group + 1] += starts[group]
    order, free = np.empty(len(keys), np.int64), starts[:-1].copy()
    for index in range(len(keys)):
        order[free[keys[index]]] = index
        free[keys[index]] += 1
    return starts, order
