import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_dsr.ops.initial_masks import active_units, check_sparsity, magnitude_mask, random_mask
from keras_dsr.ops.units import SINGLE, Blocks, Slices

pytestmark = pytest.mark.backends("tensorflow")  # plain numbers and numpy


@pytest.mark.parametrize("sparsity", [0, 0.0, 0.5, 0.999, np.float32(0.5), np.float64(0.25)])
def test_sparsities_in_range_come_back_as_floats(sparsity):
    checked = check_sparsity(sparsity, "Layer")
    assert type(checked) is float
    assert checked == sparsity


@pytest.mark.parametrize("sparsity", [-0.1, 1, 1.5, math.nan, math.inf, "0.9", True, None, [0.9]])
def test_other_sparsities_are_refused_by_name(sparsity):
    with pytest.raises(ValueError, match=r"Layer\(sparsity=\.\.\.\) must be a number in \[0, 1\)") as error:
        check_sparsity(sparsity, "Layer")
    assert f"Received: sparsity={sparsity!r}" in str(error.value)


@pytest.mark.parametrize(
    ("units", "sparsity", "active"), [(235_200, 0.99, 2_352), (100, 0, 100), (10, 0.96, 1), (3, 0.999, 1), (7, 0.5, 4)]
)
def test_active_units_is_the_nearest_integer_and_at_least_one(units, sparsity, active):
    assert active_units(units, sparsity) == active


@given(
    shape=st.lists(st.integers(1, 6), min_size=3, max_size=5),
    sparsity=st.floats(0, 0.999),
    made_of=st.sampled_from(["weights", "slices", "blocks"]),
    block=st.tuples(st.integers(1, 5), st.integers(1, 3)),
    seed=st.integers(0, 2**31 - 1),
)
def test_masks_have_the_exact_number_of_whole_units(shape, sparsity, made_of, block, seed):
    of = {
        "weights": SINGLE,
        "slices": Slices(tuple(range(len(shape) - 2))),
        "blocks": Blocks(block, (math.prod(shape[:-2]), *shape[-2:])),
    }[made_of]
    active = active_units(of.count(shape), sparsity)
    weight = np.random.default_rng(seed).normal(size=shape)
    for mask in (random_mask(shape, active, of, seed), magnitude_mask(weight, active, of)):
        assert (mask.dtype, mask.shape) == (bool, tuple(shape))
        units = of.active(mask, np)
        assert units.sum() == active
        np.testing.assert_array_equal(of.mask(units, shape, np), mask)
    magnitudes = of.magnitudes(weight, np)
    assert magnitudes[units].min() >= magnitudes[~units].max(initial=0)


def test_the_seed_alone_decides():
    np.testing.assert_array_equal(random_mask((20, 30), 60, seed=5), random_mask((20, 30), 60, seed=5))
    assert (random_mask((20, 30), 60, seed=5) != random_mask((20, 30), 60, seed=6)).any()


def test_every_place_is_as_likely_as_any_other():
    draws = sum(random_mask((10, 10), 25, seed=seed).astype(int) for seed in range(400))
    # 400 draws at 1/4: mean 100, standard deviation 8.7
    assert draws.sum() == 400 * 25
    assert draws.min() > 60
    assert draws.max() < 140
