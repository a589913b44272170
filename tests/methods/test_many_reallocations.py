"""One reallocation after the other of weights that are set anew, and what must hold after each, counted in NumPy."""

import keras
import numpy as np
import pytest

import keras_dsr as dsr
from keras_dsr.backend.keras_slots import optimizer_slots
from keras_dsr.methods import (
    ACDC,
    DSD,
    DSR,
    MEST,
    SET,
    SNFS,
    CHTs,
    DeepR,
    DensitySchedule,
    GradualPruning,
    GraNet,
    RigL,
    Static,
    StraightThrough,
    TopKAST,
)
from keras_dsr.schedules import cycles, linear
from keras_dsr.weights.reallocation import Reallocation
from tests.helpers.reallocations import assert_rewritten, places, set_anew

QUICK = 20
ROUND = 60  # calls, longer than the schedules of those that do not conserve
MANY = 10_000 if keras.backend.backend() == "tensorflow" else 2_000  # of each method, in all of its cases together
METHODS = [
    DSR(target=0.3),
    DSR(target=5, initial_threshold=0.5),
    SET(0.3),
    SET(0.3, rule="signed"),
    DeepR(temperature=1e-2, learning_rate=0.1),
    RigL(0.5, end_step=10**6),
    SNFS(0.5, end_step=10**6),
    GradualPruning(final_sparsity=0.8, end_step=50),
    DSD(sparsity=[(0, 0.7), (10, 0.0), (20, 0.6)]),
    MEST(0.5, end_step=10**6),
    GraNet(final_sparsity=0.8, end_step=50),
    ACDC(0.7, begin_step=10, phase=10, end_step=45),
    StraightThrough(),
    StraightThrough(scope="global"),
    TopKAST(0.3),
    CHTs(0.3),
    DensitySchedule(DSR(target=0.3), cycles(linear(0.9, 0.2, 50))),
    Static(),
]
# Those that need gradients have them of an optimizer here, or begin with more weights than there is room for, or train
# those that are pruned.
NOT_COMPACT = (CHTs, DensitySchedule, RigL, SNFS, GradualPruning, DSD, MEST, GraNet, ACDC, StraightThrough, TopKAST)
PER_TENSOR = (CHTs, SET, DeepR, RigL, MEST, TopKAST, Static)


def network(method, storage: str) -> keras.Model:
    """Three tensors, 7 x 6, 6 x 5 and 5 x 1, compiled with Adagrad, whose slots start at 0.1."""
    sizes = (6, 5, 1)
    with_optimizer = method.gradient_decay is not None
    layers = [
        keras.layers.Dense(size) if with_optimizer else dsr.SparseDense(size, sparsity=0.5, storage=storage)
        for size in sizes
    ]
    model = keras.Sequential([keras.Input((7,)), *layers])
    optimizer = keras.optimizers.Adagrad(0.1, initial_accumulator_value=0.1)
    model.compile(dsr.SparseOptimizer(optimizer, sparsity=0.5) if with_optimizer else optimizer, "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def reallocate_often(method, storage: str, calls: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    model = network(method, storage)
    reallocation = Reallocation(model, method, seed=seed)
    weights = reallocation.weights
    slots = [optimizer_slots(model.optimizer, weight.variable) for weight in weights]
    assert all(slots)
    iterations = getattr(model.optimizer, "inner_optimizer", model.optimizer).iterations
    for call in range(calls):
        iterations.assign(call if method.conserves else call % ROUND)
        if not method.conserves and call % ROUND == 0:  # what only prunes begins again
            for weight in weights:
                weight.set_mask(rng.random(weight.shape) < 0.9)
        were_active = [places(weight) for weight in weights]
        before = [set_anew(rng, *of_it) for of_it in zip(weights, slots, were_active)]
        outcome = reallocation()
        active = [places(weight) for weight in weights]
        counts, now = ([int(found.sum()) for found in of_all] for of_all in (were_active, active))
        context = f"call {call} of seed {seed}: {counts} became {now}"
        assert outcome.active.tolist() == now, context
        if method.conserves:
            assert sum(now) == sum(counts), context
        if isinstance(method, PER_TENSOR):
            assert now == counts, context
        if isinstance(method, DensitySchedule):
            assert sum(now) == round(method.density(call % ROUND) * sum(weight.size for weight in weights)), context
        if isinstance(method, (GradualPruning, GraNet)):
            assert all(a <= b for a, b in zip(now, counts)), context
        for of_it in zip(weights, slots, before, were_active, active):
            assert_rewritten(method, *of_it)


CASES = [
    (method, storage)
    for method in METHODS
    for storage in ("masked", "compact")
    if storage == "masked" or not isinstance(method, NOT_COMPACT)
]
every_case = pytest.mark.parametrize(
    ("method", "storage"), [pytest.param(*case, id=f"{case[0]!r}-{case[1]}") for case in CASES]
)


@pytest.mark.slow_on("tensorflow", "jax")
@every_case
def test_reallocations_one_after_the_other_keep_what_the_method_promises(method, storage):
    reallocate_often(method, storage, QUICK)


@pytest.mark.thorough
@every_case
def test_thousands_of_reallocations_keep_what_the_method_promises(method, storage):
    of_this_method = sum(type(other) is type(method) for other, _ in CASES)
    reallocate_often(method, storage, MANY // of_this_method, seed=1)
