"""One network: whatever is done in whatever order, what trains is what is evaluated, saved and counted."""

import gc

import pytest

from tests.helpers.one_network import run_sequence

CHUNK = 10
QUICK, THOROUGH = 3, 500


@pytest.mark.slow_on("tensorflow", "jax")
def test_random_sequences_leave_one_network(tmp_path):
    for seed in range(QUICK):
        run_sequence(seed, tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("first", range(QUICK, THOROUGH, CHUNK))
def test_many_random_sequences_leave_one_network(tmp_path, first):
    for seed in range(first, min(first + CHUNK, THOROUGH)):
        run_sequence(seed, tmp_path)
    gc.collect()
