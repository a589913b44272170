"""Convolutions on planes give what a sum over the taps of the window gives, for any window and any weights."""

import contextlib
import itertools
import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_dsr.backend import plane_convolution, plane_structure, threads
from keras_dsr.backend.plane_convolution import Convolution
from keras_dsr.backend.planes import Axis, Window, output_shape


def taps(window: Window, shape: tuple[int, ...]):
    """The axes of a convolution of inputs with channels first, and of each tap its number and the inputs it reads."""
    axes = [Axis.of(*each, window.padding) for each in zip(shape[2:], window.window, window.strides, window.dilations)]
    for number, tap in enumerate(itertools.product(*(range(size) for size in window.window))):
        starts = [at * axis.dilation for at, axis in zip(tap, axes)]
        yield (
            number,
            tuple(
                slice(start, start + (axis.outputs - 1) * axis.stride + 1, axis.stride)
                for start, axis in zip(starts, axes)
            ),
        )


def padded(window: Window, images: np.ndarray) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Images with channels first among zeros, and where they lie there."""
    axes = [
        Axis.of(*each, window.padding)
        for each in zip(images.shape[2:], window.window, window.strides, window.dilations)
    ]
    reach = [
        max((axis.outputs - 1) * axis.stride + (axis.window - 1) * axis.dilation + 1, axis.before + axis.size)
        for axis in axes
    ]
    where = tuple(slice(axis.before, axis.before + axis.size) for axis in axes)
    whole = np.zeros((*images.shape[:2], *reach))
    whole[(slice(None), slice(None), *where)] = images
    return whole, where


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(*images.shape[:2], -1)


def reference(window: Window, images: np.ndarray, kernel: np.ndarray, upstream: np.ndarray):
    """Outputs, gradient of the inputs and of the kernel as a matrix, with channels first, summed tap by tap."""
    whole, where = padded(window, images)
    outputs, of_whole = np.zeros(upstream.shape), np.zeros(whole.shape)
    of_group, filters = window.channels // window.groups, window.filters // window.groups
    kernel = kernel.reshape(-1, of_group, window.filters)
    of_kernel = np.zeros(kernel.shape)
    for (tap, at), group in itertools.product(list(taps(window, images.shape)), range(window.groups)):
        ins = slice(group * of_group, (group + 1) * of_group)
        outs = slice(group * filters, (group + 1) * filters)
        read = whole[(slice(None), ins, *at)]
        outputs[:, outs] += np.einsum("nc...,cf->nf...", read, kernel[tap, :, outs])
        of_whole[(slice(None), ins, *at)] += np.einsum("nf...,cf->nc...", upstream[:, outs], kernel[tap, :, outs])
        of_kernel[tap, :, outs] += np.einsum("ncp,nfp->cf", *(_flat(each) for each in (read, upstream[:, outs])))
    return outputs, of_whole[(slice(None), slice(None), *where)], of_kernel.reshape(window.matrix_shape)


@st.composite
def windows(draw):
    """A convolution and the shape of its inputs."""
    rank = draw(st.integers(1, 3))

    def each(low, high):
        return tuple(draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank)))

    sizes, window, ones = each(1, 11), each(1, 5), (1,) * rank
    strides, dilations = draw(st.sampled_from([(ones, ones), (each(1, 3), ones), (ones, each(1, 3))]))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    paddings = ["same", "causal"] if rank == 1 else ["same"]
    if all(size > (taps - 1) * dilation for size, taps, dilation in zip(sizes, window, dilations)):
        paddings.append("valid")
    channels, filters = groups * draw(st.integers(1, 4)), groups * draw(st.integers(1, 4))
    last = draw(st.booleans())
    found = Window(channels, filters, window, strides, dilations, draw(st.sampled_from(paddings)), groups, last)
    batch = draw(st.one_of(st.integers(1, 7), st.sampled_from([13, 20])))
    return found, ((batch, *sizes, channels) if last else (batch, channels, *sizes))


def weights_of(window: Window, rng, density: float, dtype: str, spare: int = 3):
    """A kernel as a matrix; and its weights, with room for more: values, positions and how many they are."""
    mask = rng.random(window.matrix_shape) < density
    mask[rng.integers(mask.shape[0]), rng.integers(mask.shape[1])] = True
    kernel = np.where(mask, rng.normal(size=mask.shape), 0)
    indices = np.argwhere(mask)
    values = np.full(len(indices) + spare, np.nan, dtype)  # what lies beyond is not read
    values[: len(indices)] = kernel[mask]
    return kernel, values, np.pad(indices, [(0, spare), (0, 0)], constant_values=10**6), len(indices)


def check(window: Window, shape, density: float, dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kernel, values, indices, count = weights_of(window, rng, density, dtype)
    convolution = Convolution(window, shape)
    assert convolution.output_shape == output_shape(window, shape)
    images, upstream = rng.normal(size=shape).astype(dtype), rng.normal(size=convolution.output_shape).astype(dtype)
    poison()
    found = convolution.forward(images, values, convolution.structure(indices, count))
    poison()
    of_inputs, of_values = convolution.backward(images, upstream, values, convolution.structure(indices, count))
    first = [
        np.moveaxis(each, -1, 1) if window.channels_last else each for each in (images, upstream, found, of_inputs)
    ]
    outputs, gradient, of_kernel = reference(window, first[0], kernel, first[1])
    precision = {"rtol": 1e-4, "atol": 1e-3} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(first[2], outputs, **precision)
    np.testing.assert_allclose(first[3], gradient, **precision)
    np.testing.assert_allclose(of_values[:count], of_kernel[tuple(indices[:count].T)], **precision)
    assert not of_values[count:].any()
    assert found.dtype == of_inputs.dtype == of_values.dtype == dtype
    for needed in ((True, False), (False, True)):  # each alone is what it is beside the other
        alone = convolution.backward(images, upstream, values, convolution.structure(indices, count), *needed)
        for one, wanted, asked in zip(alone, (of_inputs, of_values), needed):
            assert one is None if not asked else np.allclose(one, wanted, **precision)


@contextlib.contextmanager
def with_threads(count: int):
    """As on a machine where the backend uses so many threads; tests run on one, but for JAX's."""
    before = threads.workers
    threads.workers = plane_convolution.workers = lambda: count
    try:
        yield
    finally:
        threads.workers = plane_convolution.workers = before


def poison() -> None:
    """Fill all memory that is used again with NaN: what a product did not write itself must not be in its result."""
    for array in plane_convolution._SCRATCH.values():
        array.fill(np.nan)


@pytest.mark.once
@given(windows(), st.floats(0, 1), st.sampled_from(["float32", "float64"]), st.integers(0, 2**31), st.integers(1, 3))
@settings(max_examples=300)
def test_it_is_the_sum_over_the_taps(case, density, dtype, seed, count):
    with with_threads(count):
        check(*case, density, dtype, seed)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("batch", [1, 5, 13, 43])  # shares of one image, of several, and of which the last is smaller
def test_it_is_the_sum_over_the_taps_however_many_threads_share_the_images(batch, channels_last):
    window = Window(6, 8, (3, 3), (2, 1), (1, 1), "same", 2, channels_last)
    for count in (1, 2, 3):
        with with_threads(count):
            check(window, (batch, 9, 8, 6) if channels_last else (batch, 6, 9, 8), 0.3, "float32", 0)


@pytest.mark.once
@given(
    st.integers(1, 200),
    st.integers(1, 30),
    st.integers(1, 30),
    st.floats(0, 1),
    st.integers(0, 2**31),
    st.integers(1, 3),
)
@settings(max_examples=100)
def test_it_is_a_product_with_a_matrix(batch, inputs, outputs, density, seed, count):
    with with_threads(count):
        check_matrix(batch, inputs, outputs, density, seed)


def check_matrix(batch: int, inputs: int, outputs: int, density: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    window = Window(inputs, outputs)
    kernel, values, indices, count = weights_of(window, rng, density, "float64")
    rows, upstream = rng.normal(size=(batch, inputs)), rng.normal(size=(batch, outputs))
    convolution = Convolution(window, (batch, inputs))
    poison()
    np.testing.assert_allclose(
        convolution.forward(rows, values, convolution.structure(indices, count)), rows @ kernel, atol=1e-9
    )
    poison()
    gradient, of_values = convolution.backward(rows, upstream, values, convolution.structure(indices, count))
    np.testing.assert_allclose(gradient, upstream @ kernel.T, atol=1e-9)
    np.testing.assert_allclose(of_values[:count], (rows.T @ upstream)[tuple(indices[:count].T)], atol=1e-9)


def test_digits_do_not_depend_on_which_thread_came_first():
    window, rng = Window(8, 8, (3, 3), (1, 1), (1, 1), "same"), np.random.default_rng(0)
    _, values, indices, count = weights_of(window, rng, 0.5, "float32")
    images, upstream = (rng.normal(size=(40, 9, 9, 8)).astype("float32") for _ in range(2))
    convolution = Convolution(window, images.shape)
    structure = convolution.structure(indices, count)
    is_done = threading.Event()

    def disturb():
        while not is_done.is_set():
            sum(range(10**4))

    other = threading.Thread(target=disturb)
    other.start()
    try:
        with with_threads(2):
            first = [each.copy() for each in convolution.backward(images, upstream, values, structure)]
            for _ in range(50):
                for one, wanted in zip(convolution.backward(images, upstream, values, structure), first):
                    np.testing.assert_array_equal(one, wanted)
    finally:
        is_done.set()
        other.join()


def test_a_batch_may_be_empty_or_of_another_size_than_the_one_before():
    window = Window(3, 4, (3, 3), (1, 1), (1, 1), "same")
    for batch in (4, 0, 1, 7, 4):
        if batch:
            check(window, (batch, 5, 5, 3), 0.5, "float32", batch)
            continue
        _, values, indices, count = weights_of(window, np.random.default_rng(0), 0.5, "float32")
        empty = np.zeros((0, 5, 5, 3), "float32")
        convolution = Convolution(window, empty.shape)
        assert convolution.forward(empty, values, convolution.structure(indices, count)).shape == (0, 5, 5, 4)
        gradient, of_values = convolution.backward(empty, convolution.forward(empty, values, None), values, None)
        assert gradient.shape == empty.shape and not of_values.any()


def test_inputs_need_not_be_contiguous():
    window = Window(4, 4, (3, 3), (1, 1), (1, 1), "same")
    rng = np.random.default_rng(0)
    _, values, indices, count = weights_of(window, rng, 0.5, "float32")
    images = rng.normal(size=(4, 8, 6, 3)).astype("float32").transpose(3, 2, 1, 0)[:, ::2]
    assert not images.flags.c_contiguous
    convolution = Convolution(window, images.shape)
    found = convolution.forward(images, values, convolution.structure(indices, count))
    assert np.array_equal(found, convolution.forward(images.copy(), values, convolution.structure(indices, count)))


def test_positions_that_are_written_by_anybody_count_at_once():
    """What positions mean is remembered, by what they are and not by which array they are in."""
    window = Window(5, 5)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3, 5))
    convolution = Convolution(window, rows.shape)
    indices, values = np.array([[0, 1], [2, 3], [4, 4]]), np.array([1.0, 2.0, 3.0])
    before = convolution.forward(rows, values, convolution.structure(indices, 3))
    indices[1] = [3, 0]
    kernel = np.zeros((5, 5))
    kernel[tuple(indices.T)] = values
    after = convolution.forward(rows, values, convolution.structure(indices, 3))
    np.testing.assert_allclose(after, rows @ kernel)
    assert not np.allclose(before, after)
    fewer = convolution.forward(rows, values, convolution.structure(indices, 2))
    kernel[4, 4] = 0
    np.testing.assert_allclose(fewer, rows @ kernel)


@pytest.mark.parametrize("positions", [[[0, 5]], [[5, 0]], [[-1, 0]], [[0, -1]]])
def test_positions_outside_of_the_kernel_are_refused(positions):
    convolution = Convolution(Window(5, 5), (2, 5))
    with pytest.raises(
        ValueError, match=r"must be rows and columns of a matrix of shape \(5, 5\)\. Received: rows from"
    ):
        convolution.structure(np.array(positions), 1)


def test_a_large_list_of_positions_is_forgotten_for_others(monkeypatch):
    monkeypatch.setattr(plane_structure, "REMEMBERED", 20)
    monkeypatch.setattr(plane_structure, "_STRUCTURES", type(plane_structure._STRUCTURES)())
    for size in (4, 5, 6, 7):
        indices = np.stack([np.arange(size), np.arange(size)], 1)
        rows = np.arange(14.0).reshape(2, 7)
        convolution = Convolution(Window(7, 7), (2, 7))
        found = convolution.forward(rows, np.ones(size), convolution.structure(indices, size))
        assert np.array_equal(found[:, :size], rows[:, :size])
    assert [known[1] for known in plane_structure._STRUCTURES] == [5, 6, 7]


def test_several_callers_at_a_time_get_their_own_results():
    window = Window(8, 8, (3, 3), (1, 1), (1, 1), "same")
    rng = np.random.default_rng(0)
    _, values, indices, count = weights_of(window, rng, 0.3, "float32")
    batches = [rng.normal(size=(size, 9, 9, 8)).astype("float32") for size in (1, 2, 5, 8)]

    def forward(images):
        convolution = Convolution(window, images.shape)
        return convolution.forward(images, values, convolution.structure(indices, count)).copy()

    alone = [forward(images) for images in batches]
    found: dict[int, list] = {number: [] for number in range(len(batches))}

    def call(number):
        for _ in range(20):
            found[number].append(forward(batches[number]))

    threads = [threading.Thread(target=call, args=(number,)) for number in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, results in found.items():
        assert all(np.array_equal(each, alone[number]) for each in results)


def test_the_grid_shares_its_zeros():
    """Of a window of 3 with the same padding, one column of zeros lies between two rows."""
    axis = Axis.of(8, 3, 1, 1, "same")
    assert (axis.grid, axis.outputs, axis.before) == (9, 8, 1)
    assert Axis.of(8, 3, 1, 1, "valid").grid == 8
    assert math.prod(Axis.of(8, 1, 1, 1, "same")[:1]) == Axis.of(8, 1, 1, 1, "same").grid
