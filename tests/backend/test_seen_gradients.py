import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_dsr.backend import seen_gradients
from keras_dsr.backend.plane_convolution import convolution_of
from keras_dsr.backend.planes import Window, output_shape
from keras_dsr.backend.seen_gradients import SeenGradients, largest_gradients

pytestmark = pytest.mark.backends("torch")  # NumPy and numba alone: once is enough


@st.composite
def windows(draw) -> tuple[Window, tuple[int, ...]]:
    """A product with a matrix or a convolution, and the shape of its inputs."""
    rank = draw(st.integers(0, 3))
    batch, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3)) if rank else 1
    channels, filters = groups * draw(st.integers(1, 4)), groups * draw(st.integers(1, 4))
    if not rank:
        return Window(channels, filters), (batch, channels)
    window = tuple(draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank)))
    strides = (draw(st.integers(1, 3)),) * rank
    dilations = (1 if strides[0] > 1 else draw(st.integers(1, 2)),) * rank
    padding = draw(st.sampled_from(["valid", "same", *(["causal"] if rank == 1 else [])]))
    last = draw(st.booleans())
    sizes = tuple(draw(st.lists(st.integers(5, 8), min_size=rank, max_size=rank)))
    shape = (batch, *sizes, channels) if last else (batch, channels, *sizes)
    return Window(channels, filters, window, strides, dilations, padding, groups, last), shape


def dense_gradient(window: Window, calls: list) -> np.ndarray:
    """The gradient of every weight of the kernel, by the loops that train with a list of all of them."""
    indices = np.stack(np.indices(window.matrix_shape), -1).reshape(-1, 2)
    total = np.zeros(len(indices))
    for inputs, upstream in calls:
        convolution = convolution_of(window, inputs.shape)
        total += convolution.backward(
            inputs, upstream, np.zeros(len(indices)), convolution.structure(indices, len(indices)), False
        )[1]
    return total


@settings(max_examples=60)
@given(
    given=windows(),
    calls=st.integers(1, 2),
    density=st.floats(0, 1),
    keep=st.integers(1, 40),
    part=st.sampled_from([1, 7, 2**18]),
    in_slices=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_what_is_kept_is_the_largest_of_the_dense_gradient(given, calls, density, keep, part, in_slices, seed):
    window, shape = given
    rng = np.random.default_rng(seed)
    made = [(rng.normal(size=shape), rng.normal(size=output_shape(window, shape))) for _ in range(calls)]
    gradient = dense_gradient(window, made)
    taps = int(np.prod(window.window)) if in_slices else 1
    exists = np.tile(rng.random(gradient.size // taps) < density, taps)
    unit_exists, magnitudes = exists.reshape(taps, -1)[0], np.abs(gradient).reshape(taps, -1).mean(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen_gradients, "LARGEST_PART", part)
        found = largest_gradients(window, made, np.flatnonzero(exists), taps, keep)
    np.testing.assert_allclose(found.of_existing, gradient[exists], rtol=1e-9, atol=1e-9)
    assert len(found.positions) == min(keep, (~unit_exists).sum())
    assert (np.diff(found.positions) > 0).all() and not unit_exists[found.positions].any()
    np.testing.assert_allclose(found.magnitudes, magnitudes[found.positions], rtol=1e-6, atol=1e-9)
    expected = np.sort(magnitudes[~unit_exists])[::-1][:keep]
    np.testing.assert_allclose(np.sort(found.magnitudes)[::-1], expected, rtol=1e-6, atol=1e-9)


def test_of_equal_gradients_the_first_are_kept_and_what_is_not_finite_counts_as_none():
    inputs, upstream = np.ones((1, 3)), np.array([[2.0, 2.0, np.nan, 5.0]])
    found = largest_gradients(Window(3, 4), [(inputs, upstream)], np.array([3, 4]), 1, 4)
    assert found.positions.tolist() == [0, 1, 7, 11]
    assert found.magnitudes.tolist() == [2, 2, 5, 5]
    assert found.of_existing.tolist() == [5, 2]


def test_without_a_call_all_gradients_are_zero():
    found = largest_gradients(Window(3, 4), [], np.array([0]), 1, 2)
    assert (found.positions.tolist(), found.magnitudes.tolist(), found.of_existing.tolist()) == ([1, 2], [0, 0], [0])


def test_a_pass_is_all_that_comes_back_until_the_layer_is_called_again():
    seen, one = SeenGradients(), np.ones((1, 1))
    seen.forward()
    seen.backward(one, one)
    assert not seen.calls  # not wanted
    seen.wanted = True
    for _ in range(2):  # a layer that is called twice in each of two steps
        seen.forward()
        seen.forward()
        seen.backward(one, one)
        seen.backward(one, one)
    seen.forward()  # evaluation
    assert (seen.passes, len(seen.calls)) == (2, 2)
    seen.forget()
    assert (seen.passes, seen.calls) == (0, [])
