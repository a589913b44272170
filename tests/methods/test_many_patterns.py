"""One reallocation after the other by every method with every pattern that it takes, on networks of random sizes.

What a pattern is made of is worked out here anew, from the masks and the shapes of kernels alone.
"""

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
    DeepR,
    GradualPruning,
    GraNet,
    RigL,
    Static,
    StraightThrough,
    TopKAST,
)
from keras_dsr.ops.initial_masks import random_mask
from keras_dsr.weights.reallocation import Reallocation
from tests.helpers.networks import values
from tests.helpers.reallocations import assert_rewritten, places, set_anew

QUICK, NETWORKS = 8, 4
OF_ONE_NETWORK = 500 if keras.backend.backend() == "jax" else 50  # there a call takes least
ROUND = 40  # calls, longer than the schedules of those that do not conserve
UNITS, N_OF_M = ("kernel", (4, 1), (2, 3)), {"2:4": 0.5, "1:3": 2 / 3}
ACROSS = (DSR, SNFS)  # which move weights from one tensor to another, and refuse groups
OF_UNITS = [
    DSR(target=0.3),
    DSR(target=2, initial_threshold=0.5, growth="initializer"),
    SET(0.3),
    RigL(0.5, end_step=10**6),
    SNFS(0.5, end_step=10**6),
    GradualPruning(final_sparsity=0.8, end_step=30),
    DSD(sparsity=[(0, 0.7), (10, 0.0), (20, 0.6)]),
    MEST(0.5, end_step=10**6),
    GraNet(final_sparsity=0.8, end_step=30),
    ACDC(0.7, begin_step=10, phase=10, end_step=35),
    StraightThrough(),
    TopKAST(0.3),
    Static(),
]
OF_GROUPS = [
    SET(0.3),
    SET(0.3, rule="signed"),
    DeepR(temperature=1e-2, learning_rate=0.1),
    RigL(0.5, end_step=10**6),
    MEST(0.5, end_step=10**6),
    StraightThrough(),
    Static(),
]
TO_FAN_IN = [
    GradualPruning(final_sparsity=0.8, end_step=30),
    DSD(sparsity=[(0, 0.7), (10, 0.0), (20, 0.6)]),
    RigL(0.5, end_step=10**6, min_salient=0.5),
]


def to_n_of_m(sparsity: float) -> list:
    return [
        GradualPruning(final_sparsity=sparsity, end_step=30),
        DSD(sparsity=[(0, sparsity), (10, 0.0), (20, sparsity)]),
        GraNet(final_sparsity=sparsity, end_step=30, scope="tensor"),
        ACDC(sparsity, begin_step=10, phase=10, end_step=35, scope="tensor"),
    ]


CASES = [
    *((method, pattern) for pattern in UNITS for method in OF_UNITS),
    *((method, pattern) for pattern, sparsity in N_OF_M.items() for method in OF_GROUPS + to_n_of_m(sparsity)),
    *((method, "fan_in") for method in OF_GROUPS + TO_FAN_IN),
]


def network(method, pattern, seed: int) -> keras.Model:
    """A convolution, its transpose and two dense layers of random sizes, compiled with Adagrad."""
    rng = np.random.default_rng(seed)
    multiple = int(pattern.split(":")[1]) if pattern in N_OF_M else 1
    channels, filters, back, units = (int(size) * multiple for size in rng.integers(1, 9 // multiple + 1, 4))
    window = tuple(map(int, rng.integers(1, 4, 2)))
    by_optimizer = method.gradient_decay is not None
    settings = {"sparsity": N_OF_M.get(pattern, 0.5), "pattern": pattern}

    def layer(name, *args):
        if by_optimizer:
            return getattr(keras.layers, name)(*args)
        return getattr(dsr, f"Sparse{name}")(*args, **settings)

    model = keras.Sequential(
        [
            keras.Input((5, 6, channels)),
            layer("Conv2D", filters, window),
            layer("Conv2DTranspose", back, 2),
            keras.layers.GlobalAveragePooling2D(),
            layer("Dense", units),
            layer("Dense", 3),
        ]
    )
    optimizer = keras.optimizers.Adagrad(0.1, initial_accumulator_value=0.1)
    model.compile(dsr.SparseOptimizer(optimizer, **settings) if by_optimizer else optimizer, "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def assert_is_of(pattern, weights, may_have_more: bool, may_be_ablated: bool) -> None:
    """The masks are of whole units, and each group has as many weights as it must."""
    for index, weight in enumerate(weights):
        mask = values(weight.mask)
        if pattern == "kernel":
            window = tuple(range(mask.ndim - 2))
            assert (mask.all(window) == mask.any(window)).all()
            continue
        by_inputs = np.swapaxes(mask, -2, -1) if index == 1 else mask  # a transposed kernel has its outputs first
        if isinstance(pattern, tuple):
            rows, columns = pattern
            for matrix in by_inputs.reshape(-1, *by_inputs.shape[-2:]):
                for row in range(0, len(matrix), rows):
                    for column in range(0, matrix.shape[1], columns):
                        block = matrix[row : row + rows, column : column + columns]
                        assert block.all() == block.any()
        elif pattern == "fan_in":
            fans = by_inputs.reshape(-1, by_inputs.shape[-1]).sum(0)
            fans = fans[fans > 0] if may_be_ablated else fans
            assert len(set(fans.tolist())) == 1
            assert fans[0] >= 1
        else:
            n, m = map(int, pattern.split(":"))
            outputs_first = np.swapaxes(by_inputs, -2, -1)
            counts = outputs_first.reshape(-1, m).sum(1)
            assert (counts >= n if may_have_more else counts == n).all()


def reallocate_often(method, pattern, calls: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = network(method, pattern, seed)
    reallocation = Reallocation(model, method, seed=seed)
    weights = reallocation.weights
    slots = [optimizer_slots(model.optimizer, weight.variable) for weight in weights]
    iterations = getattr(model.optimizer, "inner_optimizer", model.optimizer).iterations
    is_ablating = getattr(method, "min_salient", None) is not None
    for call in range(calls):
        iterations.assign(call if method.conserves else call % ROUND)
        if not method.conserves and call % ROUND == 0:  # what only prunes begins again
            begin = 0.0 if pattern in N_OF_M else 0.1
            for weight in weights:
                mask = random_mask(weight.shape, weight.units_at(begin), weight.units, [seed, call])
                weight.set_mask(mask)
        were_active = [places(weight) for weight in weights]
        before = [set_anew(rng, *of_it) for of_it in zip(weights, slots, were_active)]
        units = [weight.active_units() for weight in weights]
        outcome = reallocation()
        active = [places(weight) for weight in weights]
        now = [weight.active_units() for weight in weights]
        context = f"call {call} of seed {seed}: {units} became {now}"
        assert outcome.active.tolist() == now, context
        if method.conserves:
            assert sum(now) == sum(units), context
        if method.conserves and not isinstance(method, ACROSS):
            assert now == units, context
        assert all(new <= old for new, old in zip(now, units)) or not is_ablating, context
        assert_is_of(pattern, weights, not method.conserves, is_ablating)
        for of_it in zip(weights, slots, before, were_active, active):
            assert_rewritten(method, *of_it)


every_case = pytest.mark.parametrize(
    ("method", "pattern"), [pytest.param(*case, id=f"{case[0]!r}-{case[1]}") for case in CASES]
)


@pytest.mark.once
@every_case
def test_reallocations_keep_the_pattern(method, pattern):
    reallocate_often(method, pattern, QUICK, seed=0)


@pytest.mark.thorough
@every_case
def test_thousands_of_reallocations_keep_the_pattern(method, pattern):
    for seed in range(1, 1 + NETWORKS):
        reallocate_often(method, pattern, OF_ONE_NETWORK, seed)
