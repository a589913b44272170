"""MEST: what is small in weight and gradient goes, and growth is at random, perhaps beyond the budget for a while."""

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.methods import MEST
from tests.helpers.networks import compiled, digits, fit, perceptron, state_bits, values
from tests.helpers.views import updated, view


def test_a_small_weight_stays_where_the_gradient_is_large():
    weights = np.array([0.5, 0.4, 0.3, 0.2, 0, 0, 0, 0], "float32")
    gradients = np.array([0, 0, 0, 30, 0, 0, 0, 0], "float32")
    seen = view([weights], [weights > 0], step=1, gradients=[gradients])
    kept = []
    for gradient_weight in (0.0, 0.01):
        method = MEST(fraction=0.25, gradient_weight=gradient_weight, end_step=10**6)
        _, (mask,), state = updated(method, seen, method.init(seen), 0)
        assert values(mask).sum() == 4 and int(state["pruned"]) == 1
        kept.append(values(mask)[:4].tolist())
    assert kept == [[True, True, True, False], [True, True, False, True]]  # 0.2 + 0.01 * 30 is above 0.3


def counts(model) -> list[int]:
    return [weight.count() for weight in dsr.sparse_weights(model)]


@pytest.mark.slow_on("tensorflow", "jax")
@pytest.mark.parametrize("storage", ["masked", "compact"])
def test_the_soft_bound_grows_first_and_is_exact_at_the_end(storage):
    layers = [dsr.SparseDense(size, sparsity=0.8, mask_seed=size, storage=storage) for size in (24, 10)]
    model = compiled(keras.Sequential([keras.Input((64,)), *layers]), keras.optimizers.SGD(0.1))
    budget = counts(model)
    fit(model, batches=1)
    reallocator = dsr.Reallocator(model, MEST(fraction=0.5, soft_bound=True, end_step=8), period=2)
    images, classes = digits()
    seen = []
    for step in range(10):
        model.train_on_batch(images[32 * step : 32 * step + 32], classes[32 * step : 32 * step + 32])
        if reallocator.step():
            seen.append(counts(model))
    fractions = [0.25 * (1 + np.cos(np.pi * step / 8)) for step in (2, 4, 6)]
    expected = [[count + round(fraction * count) for count in budget] for fraction in fractions]
    assert seen == [*expected, budget, budget]


@pytest.mark.slow_on("tensorflow", "jax")
def test_without_it_every_tensor_keeps_its_number_and_a_saved_run_goes_on(tmp_path):
    for soft_bound in (False, True):
        method = MEST(fraction=0.3, soft_bound=soft_bound, end_step=1000)
        keras.utils.set_random_seed(0)
        whole = compiled(perceptron(), keras.optimizers.SGD(0.1))
        budget = counts(whole)
        fit(whole, dsr.Reallocate(method, period=3), batches=6)
        whole.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        for model in (whole, loaded):
            fit(model, dsr.Reallocate(method, period=3), batches=6)
        assert state_bits(loaded) == state_bits(whole)
        extra = [round(0.15 * (1 + np.cos(np.pi * 12 / 1000)) * count) for count in budget]
        assert counts(loaded) == [count + soft_bound * more for count, more in zip(budget, extra)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fraction": 1.0}, r"MEST\(fraction=...\) must be a float in .0, 1.*fraction=1.0"),
        ({"gradient_weight": -1}, "must be a number of at least 0.*gradient_weight=-1"),
        ({"soft_bound": 1}, "must be True or False.*soft_bound=1"),
        ({"end_step": 0}, "must be a positive int.*end_step=0"),
    ],
)
def test_bad_arguments(given, message):
    with pytest.raises(ValueError, match=message):
        MEST(**given)


def test_groups_have_no_room_beyond_their_number():
    model = keras.Sequential([keras.Input((64,)), dsr.SparseDense(10, sparsity=0.5, pattern="2:4")])
    with pytest.raises(ValueError, match="soft_bound=True.* grows beyond the number.*2 of 4"):
        dsr.Reallocator(compiled(model), MEST(soft_bound=True))
