"""A budget that follows a schedule, under every kind of method."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_dsr as dsr
from keras_dsr.methods import DSR, MEST, SET, SNFS, DeepR, DensitySchedule, GradualPruning, RigL, StraightThrough
from keras_dsr.schedules import cosine, cubic, cycles, exponential, linear
from keras_dsr.weights.reallocation import Reallocation
from tests.helpers.networks import values
from tests.helpers.views import updated, view, views

METHODS = [
    SET(0.3),
    DSR(target=0.2),
    DeepR(temperature=1e-2, learning_rate=0.1),
    RigL(0.4, 10**7),
    SNFS(0.4, 10**7),
    MEST(0.3, end_step=10**7),
    StraightThrough(),
]
PLANS = [
    linear(1.0, 0.1, 50),
    cubic(0.3, 0.8, 40, begin=10),
    exponential(0.5, 0.01, 60),
    cycles(cosine(0.6, 0.2, 30)),
]


def planned(method, plan, seen):
    """The active units of each tensor after an update."""
    method = DensitySchedule(method, plan)
    _, masks, _ = updated(method, seen, method.init(seen))
    return [int(values(of.active(mask)).sum()) for of, mask in zip(seen.units, masks)]


@pytest.mark.backends("tensorflow", "torch")  # JAX would compile each of the small cases
@given(seen=views(step=st.integers(0, 120)), plan=st.sampled_from(PLANS), which=st.integers(0, len(METHODS) - 1))
def test_the_number_is_that_of_the_plan_whatever_there_was_before(seen, plan, which):
    method = METHODS[which]
    if isinstance(method, DeepR) and not all(of.are_single for of in seen.units):
        return
    numbers, total = planned(method, plan, seen), sum(seen.sizes)
    assert sum(numbers) == max(len(numbers), round(plan(int(seen.step)) * total))
    assert min(numbers) >= 1


def test_the_smallest_go_and_what_a_method_moves_is_among_the_rest():
    weights = np.float32([9, 8, 7, 6, 5, 4, 3, 2, 0, 0])
    seen = view([weights], [weights > 0], step=10)
    method = DensitySchedule(SET(0.5), linear(1.0, 0.4, 10))
    (now,), (mask,), _ = updated(method, seen, method.init(seen))
    assert values(mask)[:2].all()
    assert not values(mask)[4:8].any() or values(mask).sum() == 4
    assert values(mask).sum() == 4
    assert sorted(values(now))[-2:] == [8, 9]


def test_what_is_missing_is_grown_where_nothing_was_just_pruned_if_there_is_room():
    seen = view([np.float32([5, 4, 3, 2, 0, 0, 0, 0])], [np.arange(8) < 4], step=10)
    assert planned(SET(0.5), linear(0.5, 0.75, 10), seen) == [6]
    method = DensitySchedule(SET(0.5), linear(0.5, 0.75, 10))
    _, (mask,), _ = updated(method, seen, method.init(seen))
    np.testing.assert_array_equal(values(mask), [1, 1, 0, 0, 1, 1, 1, 1])
    assert planned(SET(0.5), linear(0.5, 1.0, 10), seen) == [8]


def test_a_network_trains_along_the_plan_and_its_files_are_of_that_size(tmp_path):
    model = keras.Sequential([keras.Input((20,)), dsr.SparseDense(30, sparsity=0.5), dsr.SparseDense(2, sparsity=0.5)])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    x = np.random.default_rng(0).normal(size=(64, 20)).astype("float32")
    counts, plan = [], linear(0.5, 0.1, 12)
    count = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: counts.append(sum(one.count() for one in dsr.sparse_weights(model)))
    )
    callback = dsr.Reallocate(DensitySchedule(DSR(target=0.2), plan), period=4)
    model.fit(x, x[:, :2], batch_size=16, epochs=4, verbose=0, callbacks=[callback, count])
    assert counts == [round(plan(step) * 660) for step in (4, 8, 12, 16)]
    dsr.save(model, tmp_path / "small.keras")
    plain = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(plain.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DensitySchedule(GradualPruning(), PLANS[0]), "must be a method that keeps the number of weights"),
        (lambda: DensitySchedule(SET(), 0.5), r"\(density=...\) must be a schedule"),
        (lambda: DensitySchedule(SET(), linear(0.5, 0.0, 9)), r"must stay in \(0, 1\].*goes from 0.5 to 0"),
        (lambda: DensitySchedule(SET(), linear(1.5, 0.5, 9)), r"must stay in \(0, 1\]"),
        (lambda: SET(linear(1.0, 0.5, 9)), r"SET\(fraction=...\) must stay in \[0, 1\) at every step"),
        (lambda: RigL(linear(0.5, -0.5, 9)), r"RigL\(fraction=...\) must stay in \[0, 1\) at every step"),
    ],
)
def test_a_plan_that_leaves_its_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"storage": "compact"}, "is in compact storage, which has room for"),
        ({"pattern": "fan_in"}, "moves weights from one tensor to another"),
    ],
)
def test_where_a_number_cannot_change_it_is_refused(settings, message):
    model = keras.Sequential([keras.Input((9,)), dsr.SparseDense(5, sparsity=0.9, **settings)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=message):
        Reallocation(model, DensitySchedule(SET(), PLANS[0]))


def test_a_fraction_may_follow_a_schedule():
    seen = view([np.arange(1, 101, dtype="float32")], [np.arange(100) < 50], step=5)

    def moved(method, step):
        _, _, state = updated(method, seen._replace(step=keras.ops.convert_to_tensor(step, "int32")), method.init(seen))
        return int(state["pruned"])

    plan = linear(0.5, 0.1, 10)
    assert [moved(SET(plan), step) for step in (0, 5, 10, 99)] == [25, 15, 5, 5]
    assert [moved(MEST(plan, end_step=8), step) for step in (0, 5, 8)] == [25, 15, 0]
