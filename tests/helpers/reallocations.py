"""Weights that are set anew before a reallocation, and what must hold of each after it, recomputed in NumPy."""

import numpy as np

from keras_dsr.layers.record import Record
from keras_dsr.methods import DeepR
from tests.helpers.networks import values


def drawn(rng, shape) -> np.ndarray:
    """Normal, tied, many at zero, huge or tiny values; no NaN."""
    normal = rng.normal(size=shape)
    kinds = [
        lambda: normal,
        lambda: np.sign(normal),
        lambda: np.round(normal),
        lambda: np.zeros(shape),
        lambda: normal * 1e30,
        lambda: normal * 1e-30,
        lambda: np.full(shape, 0.5),
    ]
    return kinds[rng.integers(len(kinds))]().astype("float32")


def places(weight) -> np.ndarray:
    """Where there is a weight, flat."""
    found = np.zeros(weight.size, bool)
    found[weight.positions()] = True
    return found


def dense(weight, entries, active) -> np.ndarray:
    """What is held for the weights, as a flat array of all positions, NaN where there is no weight."""
    flat = np.full(weight.size, np.nan)
    flat[active] = entries[: active.sum()] if weight.mask is None else entries.reshape(-1)[active]
    return flat


def set_anew(rng, weight, slots, active, drawn=drawn) -> np.ndarray:
    """Random weights and slots, the weights by `drawn(rng, shape)`; the weights, flat."""
    stored = drawn(rng, weight.variable.shape)
    if weight.mask is None:
        stored[active.sum() :] = 0
    weight.variable.assign(stored)
    for slot in slots:
        slot.variable.assign(rng.uniform(1, 2, slot.variable.shape).astype("float32"))
    if weight.gradient is not None:
        weight.gradient.assign(drawn(rng, weight.shape))
    return dense(weight, stored, active)


def assert_rewritten(method, weight, slots, before, were_active, active) -> None:
    """Pruned is zero, the grown start where the method says, and slots start over where a weight was grown or died.

    Where a method trains pruned weights, all values and slots stay. `were_active` and `active` are `places(weight)`
    before it and now.
    """
    count, stored, growth = active.sum(), values(weight.variable), getattr(method, "growth", "zeros")
    now = dense(weight, stored, active)
    assert Record.of(weight.record).active == count == weight.count()
    if method.pruned_training is not None:
        assert active.any()
        assert (now == before)[active & were_active].all()
        assert all((values(slot.variable) >= 1).all() for slot in slots)
        return
    nowhere = np.arange(weight.capacity) >= count if weight.mask is None else ~active.reshape(weight.shape)
    held = stored[nowhere]
    assert not held.any()
    assert not np.signbit(held).any()
    assert active.any()
    assert np.isfinite(now[active]).all()
    newborn, kept = active & ~were_active, active & were_active
    if growth == "zeros":
        assert not now[newborn].any()
    if not isinstance(method, DeepR):  # it moves them; where room is short a position may be grown again, at 0
        assert ((now[kept] == before[kept]) | (now[kept] == 0)).all()
    for slot in slots:
        held = values(slot.variable)
        initial = np.float32(slot.initial_value)
        assert (held[nowhere] == initial).all()
        of_weights = dense(weight, held, active)
        assert (of_weights[newborn] == initial).all()
        assert (of_weights[kept & (now != 0)] >= 1).all()  # what stays keeps its own
