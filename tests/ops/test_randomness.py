import keras
import numpy as np
import pytest

from keras_dsr.ops.randomness import StepSeed, random_keys
from keras_dsr.ops.selection import MAX_KEY
from tests.helpers.networks import int32, program, values

REFERENCE = {"seed": 1, "tensor": 2, "step": 3, "purpose": "grow"}


def keys(shape=(50,), **parts):
    return values(random_keys(shape, StepSeed(**{**REFERENCE, **parts})))


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
    compiled = program(lambda step: random_keys((50,), StepSeed(1, 2, step, "grow")), jit_compile)
    np.testing.assert_array_equal(compiled(int32(3)), keys())
    np.testing.assert_array_equal(compiled(int32(4)), keys(step=4))


def test_the_seed_holds_no_variable():
    assert not any(isinstance(held, keras.Variable) for held in vars(StepSeed(**REFERENCE)).values())


def test_keys_are_uniform_in_their_range():
    drawn = keys((100_000,)).astype("int64")
    assert drawn.min() >= 0
    assert drawn.max() <= MAX_KEY
    counts, _ = np.histogram(drawn, bins=100, range=(0, MAX_KEY))
    # chi-square with 99 degrees of freedom: mean 99, standard deviation 14
    assert 40 < ((counts - 1000) ** 2 / 1000).sum() < 180
