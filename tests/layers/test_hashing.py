import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_dsr.layers.hashing import bank_size, check_budget, draw_index, draw_signs, expand_bank
from tests.helpers.networks import bits, dtype_of, gradient_of, values

BANK = np.array([1.0, 2.0, 4.0], "float32")
INDEX = np.array([2, 0, 0, 1, 2, 2], "int32")
SIGNS = np.array([1, -1, 1, -1, -1, 1], "int8")


def gradient(bank, index, signs, upstream):
    """The gradient of `sum(expanded * upstream)` with respect to the bank."""
    bank, upstream = keras.Variable(bank, dtype=dtype_of(bank)), keras.ops.convert_to_tensor(upstream)
    return gradient_of(lambda: keras.ops.sum(expand_bank(bank.value, index, signs) * upstream), bank)


NOT_ON_JAX = pytest.param("float64", marks=pytest.mark.backends("tensorflow", "torch"))  # by default it has none


# The bank and its expansion, worked by hand


def test_every_position_reads_its_value():
    np.testing.assert_array_equal(expand_bank(BANK, INDEX), [4, 1, 1, 2, 4, 4])
    np.testing.assert_array_equal(expand_bank(BANK, INDEX, SIGNS), [4, -1, 1, -2, -4, 4])


def test_the_gradient_of_a_value_is_the_sum_over_its_positions():
    upstream = np.array([1, 10, 100, 1000, 10000, 100000], "float32")
    np.testing.assert_array_equal(gradient(BANK, INDEX, None, upstream), [110, 1000, 110001])
    np.testing.assert_array_equal(gradient(BANK, INDEX, SIGNS, upstream), [90, -1000, 90001])


def test_a_value_that_no_position_reads_has_a_gradient_of_zero():
    np.testing.assert_array_equal(gradient(BANK, np.array([0, 0], "int32"), None, np.ones(2, "float32")), [2, 0, 0])


@pytest.mark.backends("tensorflow")
def test_the_gradient_is_a_dense_tensor():
    import tensorflow as tf

    assert isinstance(gradient(BANK, INDEX, None, np.ones(6, "float32")), tf.Tensor)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", NOT_ON_JAX])
def test_the_dtype_of_the_bank_is_kept(dtype):
    bank = keras.ops.convert_to_tensor(BANK, dtype)
    assert dtype_of(expand_bank(bank, INDEX, SIGNS)) == dtype
    assert dtype_of(gradient(bank, INDEX, SIGNS, keras.ops.ones((6,), dtype))) == dtype


def test_many_half_precision_gradients_are_summed_in_float32():
    # one after another in bfloat16, 1 + 1 + ... stops at 256
    index = np.zeros(1000, "int32")
    bank, upstream = (keras.ops.ones((size,), "bfloat16") for size in (1, 1000))
    assert values(gradient(bank, index, None, upstream)).astype("float32") == [1000]


@pytest.mark.backends("tensorflow", "torch")  # JAX has no float64 by default
def test_gradients_in_float64_are_summed_in_float64():
    bank, upstream = (keras.ops.convert_to_tensor(array, "float64") for array in ([0.5], [1, 2.0**-40]))
    assert values(gradient(bank, np.array([0, 0], "int32"), None, upstream)) == [1 + 2.0**-40]


@pytest.mark.backends("tensorflow", "torch")  # JAX would compile for each shape
@given(positions=st.integers(1, 200), size=st.integers(1, 50), seed=st.integers(0, 2**32), signed=st.booleans())
def test_expansion_and_gradient_equal_numpy(positions, size, seed, signed):
    index = draw_index(positions, size, seed)
    signs = draw_signs(positions, seed) if signed else None
    factors = 1 if signs is None else signs
    random = np.random.default_rng(seed)
    bank, upstream = random.normal(size=size).astype("float32"), random.normal(size=positions).astype("float32")
    expected = np.zeros(size, "float64")
    np.add.at(expected, index, (upstream * factors).astype("float64"))
    assert bits(expand_bank(bank, index, signs)) == (bank[index] * factors).astype("float32").tobytes()
    np.testing.assert_allclose(gradient(bank, index, signs, upstream), expected, rtol=1e-4, atol=1e-5)


# The draw


def test_the_draw_never_changes():
    # a file holds the seed alone: with another draw it would load another network
    np.testing.assert_array_equal(draw_index(8, 100, seed=7), [43, 25, 86, 14, 1, 72, 28, 5])
    np.testing.assert_array_equal(draw_signs(8, seed=7), [1, -1, -1, -1, -1, 1, 1, -1])


@given(positions=st.integers(1, 300), size=st.integers(1, 300), seed=st.integers(0, 2**63))
def test_the_index_lies_in_the_bank_and_depends_on_the_seed_alone(positions, size, seed):
    index, signs = draw_index(positions, size, seed), draw_signs(positions, seed)
    assert index.dtype == "int32" and index.shape == (positions,)
    assert index.min() >= 0 and index.max() < size
    assert signs.dtype == "int8" and set(signs.tolist()) <= {-1, 1} and signs.shape == (positions,)
    assert bits(draw_index(positions, size, seed)) == bits(index)
    assert bits(draw_signs(positions, seed)) == bits(signs)


def test_another_seed_draws_another_index_and_other_signs():
    assert (draw_index(1000, 50, 1) != draw_index(1000, 50, 2)).mean() > 0.9
    assert 0.4 < (draw_signs(1000, 1) != draw_signs(1000, 2)).mean() < 0.6


@pytest.mark.parametrize("size", [2, 7, 64, 100])
def test_positions_spread_evenly_over_the_bank(size):
    each = 1000
    counts = np.bincount(draw_index(size * each, size, seed=3), minlength=size)
    chi_squared = ((counts - each) ** 2 / each).sum()
    assert chi_squared < size - 1 + 4 * np.sqrt(2 * size)  # some four standard deviations


def test_signs_are_balanced_and_independent_of_the_index():
    index, signs = draw_index(100_000, 10, seed=3), draw_signs(100_000, seed=3)
    assert abs(signs.mean()) < 0.015
    for value in range(10):
        assert abs(signs[index == value].mean()) < 0.04


# The budget


@pytest.mark.parametrize(
    ("budget", "shape", "size"),
    [(5, (2, 3), 5), (6, (2, 3), 6), (1, (1, 1), 1), (0.5, (2, 3), 3), (0.001, (2, 3), 1), (0.999, (2, 3), 6)],
)
def test_the_size_of_the_bank(budget, shape, size):
    assert bank_size(budget, shape, "TiedDense") == size


def test_a_bank_larger_than_the_kernel_is_refused():
    with pytest.raises(ValueError, match=r"TiedDense\(budget=\.\.\.\) must be at most 6.*shape \(2, 3\)") as e:
        bank_size(7, (2, 3), "TiedDense")
    assert str(e.value).endswith("Use the stock layer to tie nothing. Received: budget=7")


@pytest.mark.parametrize("budget", [True, False, 0, -1, 0.0, 1.0, 1.5, -0.5, float("nan"), "0.1", None])
def test_a_budget_out_of_range_is_refused(budget):
    with pytest.raises(ValueError, match=r"Owner\(budget=\.\.\.\) must be an int >= 1, .* or a float in \(0, 1\)") as e:
        check_budget(budget, "Owner")
    assert str(e.value).endswith(f"Received: budget={budget!r}")


def test_numpy_numbers_become_python_numbers():
    assert type(check_budget(np.int64(5), "Owner")) is int
    assert type(check_budget(np.float32(0.5), "Owner")) is float
