"""The same weights, masks and H give the same decisions on every backend: each is compared with numpy and fractions.

What is drawn at random differs from backend to backend, so of random growth only the numbers are compared, and that it
is where it may be.
"""

import dataclasses
import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
from keras import ops

from keras_dsr.methods import DSD, DSR, SET, SNFS, DeepR, GradualPruning, RigL, Static
from keras_dsr.methods.growth import grow_at_random
from keras_dsr.ops.units import SINGLE, Slices
from tests.helpers.networks import int32, program, values
from tests.helpers.views import updated, view

STEP = 100
WEIGHTS = [((6, 7), ()), ((4,), ()), ((6, 7), ())]  # two of one shape, apart
SLICES = [((3, 3, 4, 5), (0, 1)), ((5, 9), ())]


class Expected(NamedTuple):
    """Per tensor, of its units: which survive, how many are grown, and where (None: at random in `free`)."""

    survivors: list
    numbers: list
    free: list | None = None
    grown: list | None = None
    threshold: float | None = None
    pruned: int | None = None


class Tensors(NamedTuple):
    """What the reference decides from: of the units of each tensor which are active, their |w|, w and |gradient|."""

    active: list
    magnitudes: list
    weights: list
    gradients: list


def smallest(keys, eligible, count):
    """The `count` eligible positions of the smallest keys, ties by position, NaN last."""
    order = np.argsort(np.where(np.isnan(keys), np.inf, keys).reshape(-1), kind="stable")
    order = [place for place in order if eligible.reshape(-1)[place]][:count]
    return np.isin(np.arange(keys.size), order).reshape(keys.shape)


def largest(keys, eligible):
    """The first of the largest."""
    return smallest(-keys, eligible, 1)


def shared(total, contributions, capacities):
    """Section 3 of the design: by largest remainder, ties to the first, what a full tensor cannot take shared again."""
    shares = [0] * len(capacities)
    while sum(shares) < total:
        open_ = [i for i, share in enumerate(shares) if share < capacities[i]]
        rest, whole = total - sum(shares), sum(Fraction(contributions[i]) for i in open_)
        exact = {i: rest * Fraction(contributions[i]) / whole for i in open_}
        offered = {i: math.floor(exact[i]) for i in open_}
        for i in sorted(open_, key=lambda i: (offered[i] - exact[i], i))[: rest - sum(offered.values())]:
            offered[i] += 1
        shares = [min(shares[i] + offered.get(i, 0), capacities[i]) for i in range(len(shares))]
    return shares


def room(active, survivors, dropped):
    """The positions free in each tensor: those pruned before, or with what was just dropped if these are too few."""
    crowded = sum(dropped) > sum(int((~units).sum()) for units in active)
    return [~kept if crowded else ~units for units, kept in zip(active, survivors)]


def rounded(fraction, size) -> int:
    """In float32, halves to the even number."""
    return int(np.round(np.float32(fraction) * np.float32(size)))


def fraction_dropped(tensors, fraction):
    """The smallest of each tensor, at least one stays."""
    numbers = [min(rounded(fraction, units.sum()), units.sum() - 1) for units in tensors.active]
    return [smallest(*of_tensor) for of_tensor in zip(tensors.magnitudes, tensors.active, numbers)]


def dsr(tensors, threshold, target):
    survivors = []
    for magnitude, units in zip(tensors.magnitudes, tensors.active):
        kept = units & (magnitude >= np.float32(threshold))
        survivors.append(kept if kept.any() else largest(magnitude, units))
    pruned = [int(units.sum() - kept.sum()) for units, kept in zip(tensors.active, survivors)]
    factor = 0.5 if sum(pruned) > 1.1 * target else 2 if sum(pruned) < 0.9 * target else 1
    free = room(tensors.active, survivors, pruned)
    numbers = shared(sum(pruned), [int(kept.sum()) for kept in survivors], [int(places.sum()) for places in free])
    return Expected(survivors, numbers, free, None, np.float32(threshold) * factor, sum(pruned))


def in_each(tensors, dropped):
    """What is dropped in a tensor is grown at random in the same one."""
    numbers = [int(drop.sum()) for drop in dropped]
    survivors = [units & ~drop for units, drop in zip(tensors.active, dropped)]
    free = [
        ~(kept if number > (~units).sum() else units) for units, kept, number in zip(tensors.active, survivors, numbers)
    ]
    return Expected(survivors, numbers, free, pruned=sum(numbers))


def signed(tensors, fraction):
    dropped = []
    for weight, units in zip(tensors.weights, tensors.active):
        below, above = units & (weight < 0), units & ~(weight < 0)
        minus, plus = (rounded(fraction, side.sum()) for side in (below, above))
        plus = min(plus, max(units.sum() - 1 - minus, 0))
        minus = min(minus, units.sum() - 1 - plus)
        dropped.append(smallest(np.abs(weight), below, minus) | smallest(np.abs(weight), above, plus))
    return in_each(tensors, dropped)


def deepr(tensors, loss):
    return in_each(tensors, [units & (size < loss) for units, size in zip(tensors.active, tensors.magnitudes)])


def rigl(tensors, fraction):
    dropped = fraction_dropped(tensors, fraction)
    survivors = [units & ~drop for units, drop in zip(tensors.active, dropped)]
    grown = [smallest(-g, ~kept, drop.sum()) for g, kept, drop in zip(tensors.gradients, survivors, dropped)]
    stayed = [kept | (units & new) for kept, units, new in zip(survivors, tensors.active, grown)]
    born = [new & ~units for new, units in zip(grown, tensors.active)]
    numbers = [int(new.sum()) for new in born]
    return Expected(stayed, numbers, grown=born, pruned=sum(numbers))


def snfs(tensors, fraction):
    dropped = fraction_dropped(tensors, fraction)
    survivors = [units & ~drop for units, drop in zip(tensors.active, dropped)]
    free = room(tensors.active, survivors, [int(drop.sum()) for drop in dropped])
    means = [g[units].astype("float64").mean() for g, units in zip(tensors.gradients, tensors.active)]
    numbers = shared(sum(int(d.sum()) for d in dropped), means, [int(places.sum()) for places in free])
    grown = [smallest(-g, places, number) for g, places, number in zip(tensors.gradients, free, numbers)]
    return Expected(survivors, numbers, grown=grown, pruned=sum(int(drop.sum()) for drop in dropped))


def cut_to(tensors, sparsity):
    dropped = []
    for magnitude, units in zip(tensors.magnitudes, tensors.active):
        goal = max(1, round((1 - sparsity) * units.size))
        dropped.append(smallest(magnitude, units, max(units.sum() - goal, 0)))
    return kept_after(tensors, dropped)


def cut_globally(tensors, sparsity):
    """The largest of each tensor stays; of all others together the smallest go."""
    goal = max(len(tensors.active), round((1 - sparsity) * sum(units.size for units in tensors.active)))
    kept = [largest(magnitude, units) for magnitude, units in zip(tensors.magnitudes, tensors.active)]
    others = np.concatenate([(units & ~one).reshape(-1) for units, one in zip(tensors.active, kept)])
    magnitudes = np.concatenate([magnitude.reshape(-1) for magnitude in tensors.magnitudes])
    active = sum(int(units.sum()) for units in tensors.active)
    drop = smallest(magnitudes, others, max(active - goal, 0))
    ends = np.cumsum([units.size for units in tensors.active])[:-1]
    return kept_after(tensors, [part.reshape(units.shape) for part, units in zip(np.split(drop, ends), tensors.active)])


def kept_after(tensors, dropped):
    survivors = [units & ~drop for units, drop in zip(tensors.active, dropped)]
    nothing = [np.zeros(units.shape, bool) for units in tensors.active]
    return Expected(survivors, [0] * len(dropped), grown=nothing, pruned=sum(int(drop.sum()) for drop in dropped))


def untouched(tensors):
    return kept_after(tensors, [np.zeros(units.shape, bool) for units in tensors.active])._replace(pruned=None)


THRESHOLDS = (1e-3, 0.3, 0.5, 2.0)  # nothing, some, many; all but one of each tensor
HALF = 0.5 * (1 + math.cos(math.pi * STEP / 400)) / 2  # where half a cosine of 0.5 stands
METHODS = {
    "DSR": (DSR(target=8), lambda tensors, threshold: dsr(tensors, threshold, 8)),
    "SET": (SET(fraction=0.3), lambda tensors, _: in_each(tensors, fraction_dropped(tensors, 0.3))),
    "SET by sign": (SET(fraction=0.3, rule="signed"), lambda tensors, _: signed(tensors, 0.3)),
    "DeepR": (DeepR(temperature=0, l1=3.0, learning_rate=0.1), lambda tensors, _: deepr(tensors, np.float32(0.3))),
    "RigL": (RigL(fraction=0.5, end_step=400), lambda tensors, _: rigl(tensors, HALF)),
    "SNFS": (SNFS(fraction=0.5, end_step=400), lambda tensors, _: snfs(tensors, HALF)),
    "GradualPruning": (
        GradualPruning(final_sparsity=0.7, end_step=STEP),
        lambda tensors, _: cut_to(tensors, 0.7),
    ),
    "GradualPruning of all together": (
        GradualPruning(final_sparsity=0.7, end_step=STEP, scope="global"),
        lambda tensors, _: cut_globally(tensors, 0.7),
    ),
    "DSD": (DSD([(0, 0.1), (STEP, 0.6)]), lambda tensors, _: cut_to(tensors, 0.6)),
    "Static": (Static(), lambda tensors, _: untouched(tensors)),
}
OF_WEIGHTS_ALONE = ("SET by sign", "DeepR")
CASES = [(name, layout) for name in METHODS for layout in (WEIGHTS, SLICES)]
CASES = [(name, layout) for name, layout in CASES if layout is WEIGHTS or name not in OF_WEIGHTS_ALONE]


def examples(layout):
    """Weights, masks, gradients and H: full, nearly full, half and nearly empty tensors; with ties and zeros."""
    for index, dead in enumerate((0.0, 0.1, 0.5, 0.85)):
        random = np.random.default_rng(index)
        weights, masks, gradients = [], [], []
        for shape, axes in layout:
            units = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
            mask = random.random(units) < 1 - dead
            mask.reshape(-1)[random.integers(mask.size)] = True
            weight, gradient = random.normal(size=(2, *shape)).astype("float32")
            if not axes:  # of slices equal means would depend on the order of the sum
                weight, gradient = np.round(weight * 8) / 8, np.round(gradient * 8) / 8
            weights.append(weight + 0.0)
            masks.append(np.broadcast_to(mask, shape).copy())
            gradients.append(gradient)
        yield weights, masks, gradients, THRESHOLDS[index]
    yield weights, masks, gradients, THRESHOLDS[1]


def of_units(arrays, layout):
    return [
        np.abs(array).mean(axis=axes, keepdims=True) if axes else np.abs(array)
        for array, (_, axes) in zip(arrays, layout)
    ]


@pytest.mark.parametrize(
    ("name", "layout"), CASES, ids=[f"{name}, {'weights' if layout is WEIGHTS else 'slices'}" for name, layout in CASES]
)
def test_a_decision_is_that_of_numpy(name, layout):
    method, reference = METHODS[name]
    unit_axes = [axes for _, axes in layout]
    units = [Slices(axes) if axes else SINGLE for axes in unit_axes]
    first = view(*next(examples(layout))[:2], units, step=STEP)
    first = first if method.gradient_decay is not None else first._replace(gradients=None)

    def decide(weights, masks, gradients, state):
        seen = first._replace(weights=weights, masks=masks, gradients=gradients)
        return updated(method, seen, state)

    decide, moved = program(decide), 0
    for weights, masks, gradients, threshold in examples(layout):
        seen = view(weights, masks, units, step=STEP, gradients=gradients)
        state = method.init(seen)
        if "threshold" in state:
            state["threshold"] = ops.convert_to_tensor(threshold, "float32")
        given = seen.gradients if method.gradient_decay is not None else None
        new_weights, new_masks, new_state = decide(seen.weights, seen.masks, given, state)

        active = [mask.any(axis=axes, keepdims=True) if axes else mask for mask, axes in zip(masks, unit_axes)]
        tensors = Tensors(active, of_units(weights, layout), weights, of_units(gradients, layout))
        expected = reference(tensors, threshold)
        for index, (weight, mask) in enumerate(zip(map(values, new_weights), map(values, new_masks))):
            axes = unit_axes[index]
            active_now = mask.any(axis=axes, keepdims=True) if axes else mask
            np.testing.assert_array_equal(mask, np.broadcast_to(active_now, mask.shape))
            kept = expected.survivors[index]
            born = active_now & ~kept
            np.testing.assert_array_equal(active_now & kept, kept)
            assert born.sum() == expected.numbers[index]
            if expected.grown is not None:
                np.testing.assert_array_equal(born, expected.grown[index])
            else:
                assert not (born & ~expected.free[index]).any()
            still_there = np.where(np.broadcast_to(kept, mask.shape), weights[index], np.float32(0))
            if name == "DeepR":
                still_there = np.sign(still_there) * np.maximum(np.abs(still_there) - np.float32(0.3), 0)
            np.testing.assert_allclose(weight, still_there, rtol=1e-6, atol=0)
        if expected.pruned is not None:
            assert int(new_state["pruned"]) == expected.pruned
            moved += expected.pruned
        if expected.threshold is not None:
            assert float(new_state["threshold"]) == expected.threshold
    assert moved > 0 or name == "Static"


def test_growth_is_uniform_over_the_free_places():
    taken = np.zeros(40, bool)
    taken[::4] = True

    seen = view([taken.astype("float32")], [taken])

    def grow_at(step):
        grown = grow_at_random(dataclasses.replace(seen, step=step), seen.active, int32([3]), "test.grow")
        return seen.segments.split(grown.units)

    grow_step = program(grow_at)
    born = sum(values(grow_step(int32(step))[0]).astype(int) for step in range(500))
    assert born[taken].sum() == 0
    # 1,500 births over 30 positions: chi-square with 29 degrees of freedom, mean 29, standard deviation 7.6
    assert 5 < ((born[~taken] - 50) ** 2 / 50).sum() < 70
