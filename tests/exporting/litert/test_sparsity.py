"""Sparse tensors of a LiteRT file: packed and unpacked again they are the same bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_dsr.exporting.litert.sparsity import packed, unpacked

pytestmark = pytest.mark.backends("torch")  # no backend does any of it


@given(
    outer=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    blocks=st.integers(1, 300),
    block=st.sampled_from([1, 4, 16]),
    density=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=40)
def test_what_is_packed_is_unpacked_to_the_same_bits(outer, blocks, block, density, seed):
    rng = np.random.default_rng(seed)
    shape = (*outer, blocks * block)
    dense = (rng.normal(size=shape) * (rng.random(shape) < density)).astype("float32")
    values, sparsity = packed(dense, block)
    whole = dense.reshape(-1, blocks, block)
    assert values.shape == (whole.any(2).sum(), block)
    assert len(sparsity.dimMetadata) == len(shape) + (block > 1)
    assert np.array_equal(unpacked(values, sparsity, shape), dense)


def test_what_is_stored_in_another_way_is_not_read():
    values, sparsity = packed(np.eye(8, dtype="float32"), 4)
    sparsity.traversalOrder = [1, 0, 2]
    assert unpacked(values, sparsity, (8, 8)) is None
    assert unpacked(values, sparsity, (2, 4, 8)) is None
