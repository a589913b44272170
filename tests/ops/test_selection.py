import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_dsr.ops.segments import Segments
from keras_dsr.ops.selection import (
    MAX_KEY,
    count_true,
    largest,
    ordered_bits,
    select_by_searching,
    select_by_sorting,
    select_smallest,
    signed_bits,
    value_of_rank,
)
from tests.helpers.networks import int32, program, values

WAYS = (select_by_sorting, select_by_searching)
in_both_ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


def selected(keys, eligible, counts, way=select_smallest):
    """What is selected of tensors that are not joined."""
    segments = Segments([key.shape for key in keys])
    eligible = segments.join(eligible) & segments.holds_entry()
    return segments.split(way(segments.join(keys), eligible, counts, segments))


def select(keys, eligible, counts, way=select_smallest, function=selected):
    keys, eligible = ([ops.convert_to_tensor(array) for array in arrays] for arrays in (keys, eligible))
    return [values(chosen) for chosen in function(keys, eligible, int32(counts), way)]


def sorted_selection(keys, eligible, count):
    """The same by a stable sort: what `select_smallest` promises, at the price of a sort."""
    order = np.argsort(keys.reshape(-1), kind="stable")
    order = order[eligible.reshape(-1)[order]][:count]
    chosen = np.zeros(keys.size, bool)
    chosen[order] = True
    return chosen.reshape(keys.shape)


@in_both_ways
def test_takes_the_smallest_eligible_of_eight_and_ties_by_position(way):
    keys = np.array([5, 1, 3, 3, 0, 3, 9, 3], "int32")
    eligible = np.array([1, 1, 1, 1, 0, 1, 1, 1], bool)  # the 0 may not be chosen

    (chosen,) = select([keys], [eligible], [3], way)

    np.testing.assert_array_equal(chosen, [0, 1, 1, 1, 0, 0, 0, 0])  # the 1, and the first two of the four 3s


@in_both_ways
@pytest.mark.parametrize("count", range(9))
def test_all_keys_equal_takes_the_first_places(count, way):
    (chosen,) = select([np.full(8, 7, "int32")], [np.ones(8, bool)], [count], way)
    np.testing.assert_array_equal(chosen, np.arange(8) < count)


@in_both_ways
@pytest.mark.parametrize("key", [0, 1, MAX_KEY - 1, MAX_KEY])
def test_the_ends_of_the_range_of_keys_are_chosen_exactly(key, way):
    keys = np.full((3, 4), key, "int32")
    eligible = np.arange(12).reshape(3, 4) % 3 > 0
    (some,) = select([keys], [eligible], [5], way)
    (all_of_them,) = select([keys], [eligible], [8], way)
    np.testing.assert_array_equal(some, sorted_selection(keys, eligible, 5))
    np.testing.assert_array_equal(all_of_them, eligible)


@in_both_ways
def test_a_count_above_what_is_eligible_takes_all_that_is(way):
    eligible = np.array([True, False, True])
    (chosen,) = select([np.array([4, 0, 2], "int32")], [eligible], [3], way)
    np.testing.assert_array_equal(chosen, eligible)


@in_both_ways
def test_nothing_eligible_chooses_nothing(way):
    (chosen,) = select([np.zeros(4, "int32")], [np.zeros(4, bool)], [2], way)
    assert not chosen.any()


@in_both_ways
def test_each_tensor_has_its_own_count_in_one_call(way):
    random = np.random.default_rng(0)
    shapes, counts = [(3, 3, 2, 5), (7,), (1,), (40, 25)], [17, 0, 1, 999]
    keys = [random.integers(0, 1 + MAX_KEY, shape, "int32") for shape in shapes]
    eligible = [np.ones(shape, bool) for shape in shapes]

    chosen = select(keys, eligible, counts, way)

    assert [part.sum() for part in chosen] == counts
    for part, key, allowed, count in zip(chosen, keys, eligible, counts):
        np.testing.assert_array_equal(part, sorted_selection(key, allowed, count))


@pytest.mark.backends("tensorflow", "torch")  # JAX would compile for each shape
@given(
    shapes=st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1, max_size=3),
    largest_key=st.sampled_from([0, 1, 5, 1000, MAX_KEY]),
    eligible_share=st.sampled_from([0.0, 0.1, 0.9, 1.0]),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
    way=st.sampled_from(WAYS),
)
def test_equals_a_stable_sort(shapes, largest_key, eligible_share, share, seed, way):
    random = np.random.default_rng(seed)
    keys = [random.integers(0, largest_key + 1, shape).astype("int32") for shape in shapes]
    eligible = [random.random(shape) < eligible_share for shape in shapes]
    counts = [round(share * allowed.sum()) for allowed in eligible]

    chosen = select(keys, eligible, counts, way)

    for part, key, allowed, count in zip(chosen, keys, eligible, counts):
        assert part.dtype == bool
        np.testing.assert_array_equal(part, sorted_selection(key, allowed, count))


@pytest.mark.one_case_on("tensorflow", "jax")
@pytest.mark.parametrize("keys_alike", [False, True])
@pytest.mark.parametrize("jit_compile", [False, True])
@in_both_ways
def test_compiled_chooses_the_same_places(way, jit_compile, keys_alike):
    compiled = program(lambda *args: selected(*args, way), jit_compile)
    random = np.random.default_rng(3)
    eligible = [random.random(shape) < 0.7 for shape in [(30, 20), (8,)]]
    largest_key = 3 if keys_alike else MAX_KEY
    keys = [random.integers(0, largest_key + 1, allowed.shape).astype("int32") for allowed in eligible]
    for counts in ([0, 0], [1, 2], [123, 3], [int(eligible[0].sum()), int(eligible[1].sum())]):
        chosen = select(keys, eligible, counts, function=lambda *args: compiled(*args[:3]))
        for part, key, allowed, count in zip(chosen, keys, eligible, counts):
            np.testing.assert_array_equal(part, sorted_selection(key, allowed, count))


@pytest.mark.slow_on("jax")
def test_a_million_keys_are_chosen_exactly():
    keys = np.random.default_rng(5).integers(0, MAX_KEY, 1_000_000).astype("int32")
    keys[::2] = keys[0]  # half of them equal
    eligible = np.ones(keys.shape, bool)
    (chosen,) = select([keys], [eligible], [654_321])
    np.testing.assert_array_equal(chosen, sorted_selection(keys, eligible, 654_321))


def test_ordered_bits_keep_the_order_of_floats():
    floats = np.array([0, 1e-45, 1.1754942e-38, 1.1754944e-38, 1e-3, 1, np.nextafter(1, 2, dtype="float32"), 3e38])
    floats = np.append(floats, np.inf).astype("float32")
    keys = values(ordered_bits(floats))
    assert keys.dtype == np.int32
    assert keys[0] == 0
    assert (np.diff(keys.astype("int64")) > 0).all()


@given(st.lists(st.floats(0, width=32), min_size=2, max_size=20))
def test_ordered_bits_are_strictly_monotonic(floats):
    floats = np.abs(np.array(floats, "float32"))
    keys = values(ordered_bits(floats))
    np.testing.assert_array_equal(keys[:, None] < keys[None], floats[:, None] < floats[None])
    assert keys.min() >= 0
    assert keys.max() <= MAX_KEY


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_ordered_bits_keep_the_order_of_half_precision(dtype):
    halves = ops.convert_to_tensor([0.0, 1e-7, 1e-3, 1.0, 1.01, 60000.0], dtype)
    assert (np.diff(values(ordered_bits(halves))) > 0).all()


def test_ordered_bits_put_nan_last_and_within_the_keys():
    keys = values(ordered_bits(np.array([np.inf, np.nan], "float32")))
    assert keys[0] < keys[1] <= MAX_KEY


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=20))
def test_signed_bits_keep_the_order_of_floats_of_any_sign(floats):
    floats = np.array(floats, "float32")
    keys = values(signed_bits(floats)).astype("int64")
    order = np.argsort(floats, kind="stable")
    assert (np.diff(keys[order]) >= 0).all()
    far = np.abs(floats[:, None].astype("float64") - floats[None]) > 1e-6 * np.abs(floats).max() + 1e-40
    assert (keys[:, None] != keys[None])[far].all()
    assert keys.min() >= 0
    assert keys.max() <= MAX_KEY


def test_count_true_counts():
    assert int(count_true(np.array([[True, False], [True, True]]))) == 3


@pytest.mark.parametrize(
    ("magnitudes", "eligible", "place"),
    [
        ([1, 3, 2, 9], [1, 1, 1, 0], 1),  # the 9 may not be chosen
        ([2, 5, 5, 5], [1, 0, 1, 1], 2),  # the first of equals
        ([0, 0, 0, 0], [0, 0, 1, 1], 2),
        ([np.nan, 0, np.nan, 0], [1, 1, 1, 0], 1),  # a number comes before NaN
        ([np.nan, np.nan, 0, 0], [0, 1, 0, 0], 1),
        ([1, np.inf, 1, np.inf], [1, 1, 1, 1], 1),
    ],
)
def test_the_largest_is_one_eligible_place(magnitudes, eligible, place):
    segments = Segments([(4,)])
    magnitudes, eligible = np.array(magnitudes, "float32"), np.array(eligible, bool)
    joined = [segments.join([ops.convert_to_tensor(array)]) for array in (magnitudes, eligible)]
    (chosen,) = segments.split(largest(*joined, segments))
    np.testing.assert_array_equal(chosen, np.arange(4) == place)


def test_each_tensor_has_its_largest():
    segments = Segments([(2, 3), (200,)])
    magnitudes = [np.arange(6, dtype="float32").reshape(2, 3), np.ones(200, "float32")]
    joined = segments.join([ops.convert_to_tensor(array) for array in magnitudes])
    matrix, vector = segments.split(largest(joined, joined < 5, segments))
    np.testing.assert_array_equal(matrix, magnitudes[0] == 4)
    np.testing.assert_array_equal(vector, np.arange(200) == 0)


@pytest.mark.backends("tensorflow", "torch")  # JAX would compile for each shape
@given(
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=4),
    values_of=st.sampled_from(["all", "ties", "last bits", "NaN"]),
    share=st.sampled_from([0.01, 0.5, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_largest_of_each_tensor_is_that_of_numpy(sizes, values_of, share, seed):
    random, segments = np.random.default_rng(seed), Segments([(size,) for size in sizes])
    magnitudes = [np.abs(random.normal(size=size)).astype("float32") for size in sizes]
    if values_of == "ties":
        magnitudes = [np.round(of_one) for of_one in magnitudes]
    elif values_of == "last bits":  # the first half of their bits is equal
        magnitudes = [1 + np.float32(2**-23) * random.integers(0, 9, size).astype("float32") for size in sizes]
    elif values_of == "NaN":
        magnitudes = [np.where(random.random(size) < 0.5, np.float32(np.nan), 1).astype("float32") for size in sizes]
    eligible = [random.random(size) < share for size in sizes]
    for of_one in eligible:
        of_one[random.integers(len(of_one))] = True

    joined = [segments.join([ops.convert_to_tensor(of_one) for of_one in each]) for each in (magnitudes, eligible)]
    for chosen, magnitude, may_be in zip(segments.split(largest(*joined, segments)), magnitudes, eligible):
        ranked = np.where(may_be, np.where(np.isnan(magnitude), -1, magnitude), -2)
        np.testing.assert_array_equal(chosen, np.arange(len(ranked)) == ranked.argmax())


@pytest.mark.parametrize("rank", [0, 1, 4, 6])
def test_the_value_of_a_rank_is_that_of_a_sort(rank):
    magnitudes = np.array([[3, 0.5, 7, 0], [1e-30, 0.5, np.inf, 2]], "float32")
    eligible = magnitudes != 7
    received = float(value_of_rank(ops.convert_to_tensor(magnitudes), ops.convert_to_tensor(eligible), rank))
    assert received == np.sort(magnitudes[eligible])[rank]


def test_the_value_of_a_rank_among_many_is_that_of_a_sort():
    magnitudes = np.random.default_rng(2).random(600_000).astype("float32")
    eligible = magnitudes > 0.25
    received = float(value_of_rank(ops.convert_to_tensor(magnitudes), ops.convert_to_tensor(eligible), 123_456))
    assert received == np.sort(magnitudes[eligible])[123_456]


@pytest.mark.slow_on("jax")
@pytest.mark.parametrize("alike", [1, 1000, MAX_KEY])
def test_large_tensors_are_searched_in_few_rows(alike):
    # candidates that lie close together in one tensor and apart in the other
    random = np.random.default_rng(alike)
    keys = [random.integers(0, alike, 160_000).astype("int32"), np.sort(random.integers(0, MAX_KEY, 9_000))]
    keys = [key.astype("int32") for key in keys]
    eligible = [random.random(key.shape) < 0.5 for key in keys]
    for counts in ([1, 4_000], [79_000, 1], [12_345, 0]):
        for part, key, allowed, count in zip(
            select(keys, eligible, counts, select_by_searching), keys, eligible, counts
        ):
            np.testing.assert_array_equal(part, sorted_selection(key, allowed, count))
