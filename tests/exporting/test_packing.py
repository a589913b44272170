import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_dsr.exporting.packing import Packed, decode, encode, pack, packed_bytes, unpack

pytestmark = pytest.mark.backends("tensorflow")  # plain numbers and numpy

DTYPES = ["float32", "float16", "float64"]


def sparse_tensor(shape, density, dtype, seed):
    random = np.random.default_rng(seed)
    return np.where(random.random(shape) < density, random.normal(size=shape), 0).astype(dtype)


def test_gaps_by_hand():
    # Skip 0, 2, 254, 255 (255 and go on, then 0) and 600 positions (255, 255, 90).
    positions = np.cumsum([1, 3, 255, 256, 601]) - 1
    code, is_gaps = encode(positions, 10**6)
    assert is_gaps and code.tolist() == [0, 2, 254, 255, 0, 255, 255, 90] and code.dtype == np.uint8
    np.testing.assert_array_equal(decode(code, True, 10**6), positions)


def test_bitmask_by_hand():
    code, is_gaps = encode(np.array([0, 1, 3, 9, 10]), 11)
    assert not is_gaps and code.tolist() == [0b11010000, 0b01100000]
    assert decode(code, False, 11).tolist() == [0, 1, 3, 9, 10]


def test_nothing_at_all():
    packed = pack(np.zeros((3, 4), "float32"))
    assert packed.nbytes == 0
    np.testing.assert_array_equal(unpack(packed), np.zeros((3, 4)))


@given(
    st.lists(st.integers(1, 40), min_size=0, max_size=3),
    st.floats(0, 1),
    st.sampled_from(DTYPES),
    st.integers(0, 2**16),
)
def test_every_bit_comes_back(shape, density, dtype, seed):
    tensor = sparse_tensor(tuple(shape), density, dtype, seed)
    tensor.reshape(-1)[::7] = -0.0
    tensor.reshape(-1)[3::11] = np.nan
    packed = pack(tensor)
    restored = unpack(packed)
    assert restored.tobytes() == tensor.tobytes() and restored.shape == tensor.shape and restored.dtype == tensor.dtype


@given(st.integers(1, 5000), st.floats(0, 1), st.integers(0, 2**16))
def test_the_code_is_the_smaller_of_the_two(size, density, seed):
    tensor = sparse_tensor((size,), density, "float32", seed)
    packed = pack(tensor)
    positions = np.flatnonzero(tensor)
    assert packed.nbytes == packed_bytes(positions, size, 4) <= 4 * len(positions) + -(-size // 8)
    assert len(packed.code) <= len(positions) + size // 255
    np.testing.assert_array_equal(decode(packed.code, packed.is_gaps, size), positions)


@pytest.mark.parametrize(("sparsity", "is_gaps"), [(0.8, False), (0.95, True)])
def test_gaps_pay_below_a_density_of_an_eighth(sparsity, is_gaps):
    packed = pack(sparse_tensor((300, 100), 1 - sparsity, "float32", 1))
    assert isinstance(packed, Packed) and packed.is_gaps == is_gaps
