"""Loops over planes (see `backend.planes`) that numba compiles.

Each is compiled at its first use for the type of its numbers, and kept on disk. Each does a part of the work, which its
first arguments name or a counter tells, without Python's lock, so that several threads do it together.
"""

import numpy as np

from keras_dsr.backend.plane_packing import channels_of, clear, compiled, pack, unpack
from keras_dsr.backend.plane_vectors import (
    FOUR,
    added,
    folded,
    load,
    scaled_added,
    store,
    total,
    totals,
    zeros,
)
from keras_dsr.backend.shared_counter import next_of


@compiled
def product(row, rows, starts, offsets, values, inputs, outputs, stride, size, lanes):
    """`outputs[row] = sum over the weights of the row of value * inputs[offset:]`, a vector of positions at a time.

    Args:
        row, rows: the first row of the work, and the one behind it.
        starts: where the weights of each row begin, and in the end how many there are.
        offsets: where the plane of each weight begins in `inputs`.
        values: of the weights.
        inputs, outputs: flat arrays of planes; of the outputs, row `r` begins at `r * stride`.
        size: the length of a plane. The last vector may go beyond it, where both arrays have room and nothing is read.
        lanes: a tuple as long as a vector (see `backend.plane_vectors`).
    """
    for begin in range(0, size, len(lanes)):
        for to in range(row, rows):
            sums = zeros(outputs, lanes)
            for weight in range(starts[to], starts[to + 1]):
                sums = scaled_added(sums, values[weight], load(inputs, offsets[weight] + begin, lanes))
            store(outputs, to * stride + begin, sums)


@compiled
def gradients(row, rows, starts, offsets, values, upstream, inputs, of_inputs, of_values, stride, size, lanes):
    """Both gradients of a product, in one pass over the upstream.

    `of_inputs[row] = sum over the weights of the row of value * upstream[offset:]`, and `of_values[weight] += sum of
    inputs[row] * upstream[offset:]`.

    Args:
        inputs: a flat array of planes, with zeros where no input lies and beyond their length; row `r` begins at
            `r * stride`, as in `of_inputs`, which may be empty if that is not asked for.
        the others: as of `product`, with the upstream in place of its inputs.
    """
    for begin in range(0, size, len(lanes)):
        for of in range(row, rows):
            at = of * stride + begin
            x, sums = load(inputs, at, lanes), zeros(inputs, lanes)
            weight, end = starts[of], starts[of + 1]
            while weight + 4 <= end:  # four at a time, whose sums over their lanes share additions
                above = load(upstream, offsets[weight] + begin, lanes)
                sums, s0 = scaled_added(sums, values[weight], above), folded(x, above)
                above = load(upstream, offsets[weight + 1] + begin, lanes)
                sums, s1 = scaled_added(sums, values[weight + 1], above), folded(x, above)
                above = load(upstream, offsets[weight + 2] + begin, lanes)
                sums, s2 = scaled_added(sums, values[weight + 2], above), folded(x, above)
                above = load(upstream, offsets[weight + 3] + begin, lanes)
                sums, s3 = scaled_added(sums, values[weight + 3], above), folded(x, above)
                store(of_values, weight, added(load(of_values, weight, FOUR), totals(s0, s1, s2, s3)))
                weight += 4
            while weight < end:
                above = load(upstream, offsets[weight] + begin, lanes)
                sums = scaled_added(sums, values[weight], above)
                of_values[weight] += total(folded(x, above))
                weight += 1
            if len(of_inputs):
                store(of_inputs, at, sums)


@compiled
def forward_of_images(
    memory, counter, shares, last, images, outputs, starts, offsets, values, of_inputs, of_outputs, tile, stride, lanes
):
    """The outputs of shares of the images that no other thread takes.

    Args:
        counter: of shares that are taken, an int64 array of one number, which all threads have.
        shares: ints of shape `(shares, 2)`, the first image of each and the one behind it.
        tile: images at a time, whose planes stay in a processor's cache.
        memory: a flat array for the planes of the inputs, those of the outputs, and a plane between.
        last: whether channels are the last axis.
        of_inputs, of_outputs: layouts.
        starts, offsets, values, stride, lanes: as of `product`.
    """
    grid, phases = of_inputs[0], of_inputs[1]
    planes = memory[: (channels_of(images, last) * len(phases) + 1) * stride]
    sums = memory[len(planes) :]
    planes[:] = 0
    share = next_of(counter, 1)
    while share < len(shares):
        for image in range(shares[share, 0], shares[share, 1], tile):
            n = min(tile, shares[share, 1] - image)
            size = n * grid[0] * grid[1] * grid[2]
            pack(0, n, last, images[image : image + n], planes, 0, stride, of_inputs)
            product(0, len(starts) - 1, starts, offsets, values, planes, sums, stride, size, lanes)
            unpack(0, n, last, sums, outputs[image : image + n], stride, of_outputs, 0, len(starts) - 1)
        share = next_of(counter, 1)


@compiled
def backward_of_images(
    memory,
    counter,
    shares,
    sampled,
    last,
    images,
    upstream,
    gradient,
    of_inputs,
    of_outputs,
    starts,
    offsets,
    values,
    first,
    tile,
    stride,
    lanes,
):
    """The gradients of shares of the images that no other thread takes.

    Args:
        upstream: the gradient of the outputs.
        gradient: that of the inputs; its batch is empty if none is asked for.
        sampled: for each share its part of the gradient of the weights, in the order of `starts`; of no weights if none
            is asked for. (Were it for each thread, its digits would depend on who came first.)
        starts, offsets, values: of the weights of each plane of the inputs.
        first: where the planes of the upstream begin.
        memory, counter, shares, last, of_inputs, of_outputs, tile, stride, lanes: as of `forward_of_images`.
    """
    grid, phases = of_inputs[0], of_inputs[1]
    filters, count = channels_of(upstream, last), channels_of(images, last) * len(phases)
    above = memory[: first + (filters + 1) * stride]
    planes = memory[len(above) : len(above) + (count + 1) * stride]
    memory[: len(above) + len(planes)] = 0
    sums = memory[len(above) + len(planes) :] if len(gradient) else memory[:0]
    share = next_of(counter, 1)
    while share < len(shares):
        of_share = sampled[share]
        of_share[:] = 0
        for image in range(shares[share, 0], shares[share, 1], tile):
            n = min(tile, shares[share, 1] - image)
            size = n * grid[0] * grid[1] * grid[2]
            pack(0, n, last, upstream[image : image + n], above, first, stride, of_outputs)
            if len(of_share):
                pack(0, n, last, images[image : image + n], planes, 0, stride, of_inputs)
                clear(planes, size, stride, -size % len(lanes), count)
                gradients(0, count, starts, offsets, values, above, planes, sums, of_share, stride, size, lanes)
            else:
                product(0, count, starts, offsets, values, above, sums, stride, size, lanes)
            if len(gradient):
                unpack(0, n, last, sums, gradient[image : image + n], stride, of_inputs, 0, channels_of(images, last))
        share = next_of(counter, 1)


@compiled
def pack_both(begin, end, last, upstream, above, first, of_outputs, images, planes, of_inputs, stride):
    """`pack` the upstream, and the inputs."""
    pack(begin, end, last, upstream, above, first, stride, of_outputs)
    pack(begin, end, last, images, planes, 0, stride, of_inputs)


@compiled
def forward_of_rows(
    row, rows, sums, images, last, starts, offsets, order, given, values, planes, layout, stride, size, lanes
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
    product(0, rows - row, starts[row:], offsets, values, planes, sums, stride, size, lanes)
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
    size,
    lanes,
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
        gradients(0, rows - row, starts[row:], offsets, values, upstream, inputs, sums, sampled, stride, size, lanes)
        if len(order):
            for weight in range(begin, end):
                target[order[weight]] = sampled[weight]
    else:
        product(0, rows - row, starts[row:], offsets, values, upstream, sums, stride, size, lanes)
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
