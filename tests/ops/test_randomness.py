import keras
import numpy as np
import pytest

from keras_dsr.ops.randomness import StepSeed, random_keys
from keras_dsr.ops.segments import Segments
from keras_dsr.ops.selection import MAX_KEY
from tests.helpers.networks import int32, program, values

REFERENCE = {"seed": 1, "tensor": 2, "step": 3, "purpose": "grow"}


def keys(size=50, **parts):
    segments = Segments([(size,)])
    return values(segments.split(random_keys(segments, [StepSeed(**{**REFERENCE, **parts})]))[0])


def test_the_same_parts_give_the_same_keys():
    keras.utils.set_random_seed(1)
    first = keys()
    keras.utils.set_random_seed(2)
    np.testing.assert_array_equal(first, keys())


@pytest.mark.parametrize("part", [{"seed": 4}, {"tensor": 1}, {"step": 4}, {"purpose": "signs"}])
def test_any_part_that_differs_gives_other_keys(part):
    assert (keys() != keys(**part)).mean() > 0.9


def test_seed_and_tensor_do_not_run_into_each_other():
    assert (keys(seed=1, tensor=23) != keys(seed=12, tensor=3)).mean() > 0.9


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_traced_step_gives_the_same_keys(jit_compile):
    segments = Segments([(50,)])
    compiled = program(lambda step: random_keys(segments, [StepSeed(1, 2, step, "grow")]), jit_compile)
    np.testing.assert_array_equal(segments.split(compiled(int32(3)))[0], keys())
    np.testing.assert_array_equal(segments.split(compiled(int32(4)))[0], keys(step=4))


def test_keys_are_what_keras_draws_for_each_tensor():
    segments = Segments([(50,), (3, 7, 11), (1,), (128,), (300,)])
    seeds = [StepSeed(1, index, 3, "grow") for index in range(5)]
    joined = random_keys(segments, seeds)
    for received, size, seed in zip(segments.split(joined), segments.sizes, seeds):
        expected = keras.random.randint((size,), 0, MAX_KEY + 1, dtype="int32", seed=seed)
        np.testing.assert_array_equal(values(received).reshape(-1), values(expected))


def test_the_seed_holds_no_variable():
    assert not any(isinstance(held, keras.Variable) for held in vars(StepSeed(**REFERENCE)).values())


def test_keys_are_uniform_in_their_range():
    drawn = keys(100_000).astype("int64")
    assert drawn.min() >= 0
    assert drawn.max() <= MAX_KEY
    counts, _ = np.histogram(drawn, bins=100, range=(0, MAX_KEY))
    # chi-square with 99 degrees of freedom: mean 99, standard deviation 14
    assert 40 < ((counts - 1000) ** 2 / 1000).sum() < 180
