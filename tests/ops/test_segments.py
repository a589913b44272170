import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_dsr.ops.segments import WIDTH, Segments, count_in_rows
from tests.helpers.networks import int32, values

SHAPES = [(3, 5), (WIDTH,), (2, 100), (1,), (WIDTH + 1,), (40, 3, 3)]


def joined(segments, arrays):
    return segments.join([ops.convert_to_tensor(array) for array in arrays])


def arrays(dtype="int32"):
    random = np.random.default_rng(0)
    return [random.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype) for shape in SHAPES]


def test_what_is_joined_is_split_again():
    for dtype in ("int32", "float32", "bool", "int8"):
        tensors = arrays(dtype)
        segments = Segments(SHAPES)
        together = joined(segments, tensors)
        assert values(together).shape == (segments.rows, WIDTH)
        for received, tensor in zip(segments.split(together), tensors):
            np.testing.assert_array_equal(values(received), tensor)


def test_each_tensor_begins_a_row_and_what_fills_it_up_is_no_entry():
    segments = Segments(SHAPES)
    together = values(joined(segments, [np.ones(shape, bool) for shape in SHAPES]))
    np.testing.assert_array_equal(values(segments.holds_entry()), together)
    assert together.sum() == sum(segments.sizes)
    assert together[:, 0].all()
    for received, size in zip(segments.split(segments.indices()), segments.sizes):
        np.testing.assert_array_equal(values(received).reshape(-1), np.arange(size))


def test_counts_and_what_is_spread_are_of_each_tensor():
    segments, masks = Segments(SHAPES), arrays("bool")
    together = joined(segments, masks)
    np.testing.assert_array_equal(segments.count(together), [mask.sum() for mask in masks])
    spread = segments.spread(int32([10, 20, 30, 40, 50, 60])) + ops.zeros_like(segments.indices())
    for received, number in zip(segments.split(spread), [10, 20, 30, 40, 50, 60]):
        assert (values(received) == number).all()
    in_rows = count_in_rows(together)
    before = values(segments.rows_before(in_rows))
    expected, row = [], 0
    for size in segments.sizes:
        rows = -(-size // WIDTH)
        counts = values(in_rows)[row : row + rows]
        expected += (np.cumsum(counts) - counts).tolist()
        row += rows
    assert before.tolist() == expected


def test_more_is_counted_than_float32_counts_to():
    rows = 2**17 + 1
    segments = Segments([(rows * WIDTH,), (3,)])
    in_rows = int32([WIDTH] * rows + [3])
    assert values(segments.sum_of_rows(in_rows)).tolist() == [2**24 + WIDTH, 3]
    in_rows = int32([WIDTH - 1] + [WIDTH] * (rows - 1) + [2])
    assert values(segments.sum_of_rows(in_rows)).tolist() == [2**24 + WIDTH - 1, 2]


def test_the_largest_of_rows_is_of_each_tensor():
    segments = Segments([(3 * WIDTH,), (1,), (WIDTH + 1,)])
    assert values(segments.max_of_rows(int32([-5, -2, -9, 2**24, 0, -(2**24)]))).tolist() == [-2, 2**24, 0]


@given(st.lists(st.integers(0, WIDTH), min_size=1, max_size=5), st.randoms())
def test_true_entries_of_a_row_are_counted(counts, random):
    rows = [random.sample([True] * count + [False] * (WIDTH - count), WIDTH) for count in counts]
    np.testing.assert_array_equal(count_in_rows(ops.convert_to_tensor(np.array(rows))), counts)


def test_all_as_one_tensor_has_the_same_rows():
    segments = Segments(SHAPES)
    together = joined(segments, arrays("bool"))
    assert segments.joined().rows == segments.rows
    assert values(segments.joined().count(together)).tolist() == [values(together).sum()]
