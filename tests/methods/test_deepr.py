import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_dsr.methods import DeepR
from keras_dsr.ops.units import Slices
from tests.helpers.networks import bits, int32, values
from tests.helpers.views import SEEDS, updated, view, view_of, views

# JAX would compile every one of these small cases: there test_contract.py and test_backends.py judge the method.
pytestmark = pytest.mark.backends("tensorflow", "torch")

DRIFT = DeepR(temperature=0, l1=0.5, learning_rate=0.1)  # each active theta loses 0.05
STILL = DeepR(temperature=0, l1=0)


def signs_of(method, seen):
    return [values(sign) for sign in method.init(seen)["signs"]]


def update(method, seen, seed=0, signs=None):
    """Weights and masks as numpy arrays, and the number that died."""
    state = method.init(seen)
    if signs is not None:
        state["signs"] = [ops.convert_to_tensor(sign, "int8") for sign in signs]
    weights, masks, state = updated(method, seen, state, seed)
    return [values(part) for part in weights], [values(part) for part in masks], int(state["pruned"])


# Signs


def test_a_sign_is_that_of_the_active_weight_and_random_elsewhere():
    active = np.arange(2000) % 2 == 0
    weights = np.where(active, np.where(np.arange(2000) % 4 == 0, 0.5, -0.5), 0.5).astype("float32")
    (sign,) = signs_of(DeepR(), view([weights], [active]))
    assert sign.dtype == np.int8
    assert set(sign.tolist()) == {-1, 1}
    np.testing.assert_array_equal(sign[active], np.sign(weights[active]))
    assert 400 < (sign[~active] == 1).sum() < 600  # 500 of 1,000, standard deviation 16; the 0.5 there are not seen


def test_an_active_weight_of_zero_has_a_random_sign():
    (sign,) = signs_of(DeepR(), view([np.zeros(1000, "float32")], [np.ones(1000, bool)]))
    assert 400 < (sign == 1).sum() < 600


def test_first_signs_are_the_same_each_time_and_others_in_another_tensor():
    seen = view([np.zeros(100, "float32")] * 2, [np.ones(100, bool)] * 2)
    first, second = signs_of(DeepR(), seen)
    np.testing.assert_array_equal(signs_of(DeepR(), seen)[0], first)
    assert (first != second).any()


def test_signs_stay_for_ever():
    seen = view_of([0.5, -0.5, None, None])
    _, _, state = updated(DRIFT, seen, DRIFT.init(seen), 0)
    assert set(state) == {"pruned"}  # what an update leaves out stays as it is


@given(data=st.data(), seed=SEEDS)
def test_no_active_weight_ever_has_another_sign_than_its_place(data, seed):
    seen = data.draw(views(slices=False))
    method = DeepR(temperature=0.1, l1=0.01)
    signs = signs_of(method, seen)
    for step in range(3):
        weights, masks, _ = update(method, seen._replace(step=int32(step)), seed, signs)
        for weight, mask, sign in zip(weights, masks, signs):
            assert (weight.astype("float32")[mask] * sign[mask] >= 0).all()
        seen = view(weights, masks)


# Death and birth


def test_a_weight_dies_exactly_where_its_sign_would_change():
    # signs            +     -      +      -     +     +
    weights = np.array([0.06, -0.04, -0.01, 0.02, 0.04, 0], "float32")
    seen = view([weights], [np.array([1, 1, 1, 1, 1, 0], bool)])
    new_weights, masks, pruned = update(DRIFT, seen, signs=[[1, -1, 1, -1, 1, 1]])
    # theta: 0.01; -0.01 dies; -0.06 dies; -0.07 dies; -0.01 dies. One place was free: too few for four.
    assert pruned == 4
    np.testing.assert_allclose(new_weights[0], [0.01, 0, 0, 0, 0, 0], rtol=1e-5)
    assert masks[0].sum() == 5
    assert masks[0][0]


def test_a_theta_of_zero_is_alive():
    weights, masks, pruned = update(STILL, view_of([0.0, -0.0, 1, None, None, None]))
    assert pruned == 0
    np.testing.assert_array_equal(masks[0], [1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(weights[0], [0, 0, 1, 0, 0, 0])


def test_a_theta_that_rounds_to_zero_is_alive():
    weight = ops.convert_to_tensor([1e-7, 1.0, 0.0], "float16")
    method = DeepR(temperature=0, l1=1.2e-7, learning_rate=1.0)  # theta is about -1e-9, half of float16's step is 3e-8
    _, masks, pruned = update(method, view([weight], [np.array([1, 1, 0], bool)]))
    assert pruned == 0
    np.testing.assert_array_equal(masks[0], [1, 1, 0])


def test_the_reborn_start_at_zero_among_the_places_that_were_dead():
    weights, masks, pruned = update(DRIFT, view_of([0.01, 0.5, -0.02, -0.5, None, None]))
    assert pruned == 2
    np.testing.assert_array_equal(masks[0], [0, 1, 0, 1, 1, 1])
    np.testing.assert_allclose(weights[0], [0, 0.45, 0, -0.45, 0, 0], rtol=1e-6)


def test_each_tensor_keeps_its_number_though_one_dies_out():
    weights, masks, pruned = update(DRIFT, view_of([0.01, -0.01, None, None], [9, -9, None]))
    assert pruned == 2
    np.testing.assert_array_equal(masks[0], [0, 0, 1, 1])
    np.testing.assert_array_equal(masks[1], [1, 1, 0])
    assert not weights[0].any()


@given(data=st.data(), seed=SEEDS)
def test_every_tensor_keeps_its_number(data, seed):
    seen = data.draw(views(slices=False))
    _, masks, _ = update(DeepR(temperature=0.1, l1=0.01), seen, seed)
    assert [mask.sum() for mask in masks] == [values(mask).sum() for mask in seen.masks]


# The walk


def test_the_penalty_pulls_every_active_weight_towards_zero():
    weights, _, _ = update(DRIFT, view_of([0.5, -0.5, 0.25, None]))
    np.testing.assert_allclose(weights[0], [0.45, -0.45, 0.2, 0], rtol=1e-6)


def test_without_noise_and_penalty_nothing_moves():
    seen = view_of([0.5, -0.5, 1e-20, None])
    weights, masks, pruned = update(STILL, seen)
    assert pruned == 0
    assert (bits(weights[0]), bits(masks[0])) == (bits(seen.weights[0]), bits(seen.masks[0]))


def noise(method, seen=None, **settings):
    """How far 40,000 weights, which no noise can kill, move at one step."""
    start = np.where(np.arange(40_000) % 2, 10.0, -10.0).astype("float32")
    seen = view([start], [np.ones(start.size, bool)], **settings)
    weights, _, pruned = update(method, seen)
    assert pruned == 0
    return (weights[0] - start) * np.sign(start)


@pytest.mark.parametrize(("eta", "temperature"), [(0.1, 0.05), (0.5, 0.01), (0.02, 1.0)])
def test_the_noise_is_normal_with_the_variance_of_two_eta_t(eta, temperature):
    moved = noise(DeepR(temperature=temperature, l1=0.2, learning_rate=eta)) + eta * 0.2
    expected = np.sqrt(2 * eta * temperature)
    assert abs(moved.mean()) < 3 * expected / np.sqrt(moved.size)
    assert abs(moved.std() - expected) < 3 * expected / np.sqrt(2 * moved.size)
    assert np.mean(np.abs(moved) > 2 * expected) == pytest.approx(0.0455, abs=0.004)  # the tails of a normal


def test_the_temperature_is_that_of_the_step():
    method = DeepR(temperature=[(0, 0.05), (10, 0.0005), (20, 0.0)], l1=0)
    scales = [noise(method, step=step).std() for step in (0, 9, 10, 19, 20, 1000)]
    np.testing.assert_allclose(scales, [0.1, 0.1, 0.01, 0.01, 0, 0], rtol=0.02)


def test_the_temperature_may_be_a_function_of_the_step():
    method = DeepR(temperature=lambda step: 0.5 / ops.cast(step, "float32"), l1=0)
    scales = [noise(method, step=step).std() for step in (10, 1000)]
    np.testing.assert_allclose(scales, [0.1, 0.01], rtol=0.02)


def test_the_learning_rate_is_the_optimizers_unless_given():
    for learning_rate in (0.1, 0.4):
        weights, _, _ = update(DeepR(temperature=0, l1=0.5), view_of([1, None], learning_rate=learning_rate))
        assert weights[0][0] == pytest.approx(1 - 0.5 * learning_rate)
    weights, _, _ = update(DRIFT, view_of([1, None], learning_rate=np.nan))
    assert weights[0][0] == pytest.approx(0.95)


def test_another_seed_step_or_tensor_draws_other_noise():
    def moved(seed=0, step=7):
        seen = view_of([10.0] * 4, [10.0] * 4, step=step)
        return np.concatenate(update(DeepR(temperature=0.1, l1=0), seen, seed)[0])

    assert np.unique(np.concatenate([moved(), moved(seed=1), moved(step=8)])).size == 24


# Arguments


@pytest.mark.parametrize("value", [-1e-9, float("nan"), float("inf"), "0.1", True])
@pytest.mark.parametrize("name", ["l1", "learning_rate"])
def test_a_penalty_and_a_learning_rate_are_numbers_of_at_least_0(name, value):
    with pytest.raises(ValueError, match=rf"DeepR\({name}=\.\.\.\) must be a number of at least 0") as error:
        DeepR(**{name: value})
    assert str(error.value).endswith(f"Received: {name}={value!r}")


@pytest.mark.parametrize(
    "temperature",
    [-1e-9, float("nan"), "1", "", None, True, [], [1.0], [(0,)], [(0, 1, 2)], [(0, -1)], [(0, 1), (5, None)], {0: 1}],
)
def test_a_temperature_is_a_number_pairs_or_a_function(temperature):
    with pytest.raises(
        ValueError, match=r"DeepR\(temperature=\.\.\.\) must be a number of at least 0, \(step, temp"
    ) as error:
        DeepR(temperature=temperature)
    assert str(error.value).endswith(f"Received: temperature={temperature!r}")


@pytest.mark.parametrize("pairs", [[(1, 0.1)], [(0, 0.1), (5, 0.2), (5, 0.3)]])
def test_the_steps_of_a_temperature_start_at_0_and_increase(pairs):
    with pytest.raises(ValueError, match="increasing starts, the first at 0"):
        DeepR(temperature=pairs)


def test_slices_are_refused():
    seen = view([np.ones((2, 2, 1, 1), "float32")], [np.ones((2, 2, 1, 1), bool)], [Slices((0, 1))])
    with pytest.raises(ValueError, match=r"DeepR needs pattern='element'.*with pattern='element'\."):
        DeepR().init(seen)


def test_a_model_without_one_learning_rate_is_refused():
    seen = view_of([1, None], learning_rate=np.nan)
    DeepR(learning_rate=0.01).init(seen)
    with pytest.raises(ValueError, match=r"DeepR\(learning_rate=None\) takes the optimizer's, and this model has none"):
        DeepR().init(seen)
