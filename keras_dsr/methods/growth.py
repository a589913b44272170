"""Growth: what the methods that prune and grow share, from the places that are free to the values of the newborn."""

import math

from keras import ops

from keras_dsr.decisions.randomness import StepSeed, random_keys
from keras_dsr.decisions.selection import MAX_KEY, count_true, ordered_bits, select_smallest
from keras_dsr.decisions.units import mask_weights, unit_magnitudes, weight_mask
from keras_dsr.methods.view import View

GROWTHS = ("zeros", "initializer")


def check_growth(growth: str, owner: str) -> None:
    """Raise `ValueError` if there is no such growth."""
    if growth not in GROWTHS:
        raise ValueError(
            f"{owner}(growth=...) must be 'zeros' or 'initializer': what a grown weight starts from, 0 or a value "
            f"drawn by the layer's kernel initializer. Received: growth={growth!r}"
        )


def grow(taken: list, shares, seeds: list[StepSeed]) -> list:
    """In each tensor, its share of places uniformly at random, without replacement, among those not taken.

    Args:
        taken: list of bool tensors, the units that must not be chosen.
        shares: int32 tensor of shape `(tensors,)`.
        seeds: the random numbers of each tensor at this step.

    Returns:
        A list of bool tensors of the same shapes, each with `share` true entries.
    """
    keys = [random_keys(units.shape, seed) for units, seed in zip(taken, seeds)]
    return select_smallest(keys, [~units for units in taken], shares)


def grow_where_largest(taken: list, shares, scores: list) -> list:
    """In each tensor, its share of the places not taken: those with the largest scores, ties by position.

    Args:
        taken: list of bool tensors, the units that must not be chosen.
        shares: int32 tensor of shape `(tensors,)`.
        scores: list of float tensors of the same shapes, non-negative and without NaN.

    Returns:
        A list of bool tensors of the same shapes, each with `share` true entries.
    """
    keys = [MAX_KEY - ordered_bits(score) for score in scores]
    return select_smallest(keys, [~units for units in taken], shares)


def gradient_magnitudes(view: View) -> list:
    """The mean of |gradient| over each unit, float32. What is not finite counts as 0: it must not attract growth."""
    finite = [mask_weights(gradient, ops.isfinite(gradient)) for gradient in view.gradients]
    return [unit_magnitudes(gradient, axes) for gradient, axes in zip(finite, view.unit_axes)]


def taken_in_each(active: list, survivors: list, shares) -> list:
    """Where each tensor must not grow: the units that were active, or only the survivors if there is no room else.

    Args:
        active: list of bool tensors, the active units before this update.
        survivors: list of bool tensors of the same shapes.
        shares: int32 tensor of shape `(tensors,)`, how many each tensor grows.
    """
    return [
        units & (kept | (count_true(~units) >= shares[index]))
        for index, (units, kept) in enumerate(zip(active, survivors))
    ]


def taken_in_all(active: list, survivors: list) -> tuple:
    """Where tensors that share what was pruned must not grow: as `taken_in_each`, with the room of all taken together.

    Args:
        active: list of bool tensors, the active units before this update.
        survivors: list of bool tensors of the same shapes.

    Returns:
        `(taken, capacities)`: a list of bool tensors of the same shapes, and how many places each tensor has beside
        them, an int32 tensor of shape `(tensors,)`.
    """
    sizes = ops.convert_to_tensor([math.prod(units.shape) for units in active], "int32")
    dead_before = sizes - ops.stack([count_true(units) for units in active])
    dead_now = sizes - ops.stack([count_true(units) for units in survivors])
    crowded = ops.sum(dead_now - dead_before) > ops.sum(dead_before)  # then the places just pruned are free too
    taken = ops.cond(crowded, lambda: survivors, lambda: active)
    return taken, ops.where(crowded, dead_now, dead_before)


def regrown(view: View, survivors: list, born: list, growth: str, seed: int, purpose: str) -> tuple[list, list]:
    """The weights and masks after pruning and growth.

    Args:
        view: what the update was given.
        survivors: list of bool tensors, the units that were kept.
        born: list of bool tensors, the units that were grown; no survivor among them.
        growth: `"zeros"`, newborn weights start at 0; `"initializer"`, from a value drawn by the layer's initializer.
            One that was pruned in this very update (it happens where there is no other room) always starts at 0.
        seed, purpose: of the drawn values (see `StepSeed`).

    Returns:
        `(weights, masks)`, lists of tensors of the shapes of the weights.
    """
    weights, masks = [], []
    for index, (weight, mask) in enumerate(zip(view.weights, view.masks)):
        kept, new = (weight_mask(units[index], weight.shape) for units in (survivors, born))
        value = mask_weights(weight, kept)
        if growth == "initializer":
            drawn = view.initializers[index](StepSeed(seed, index, view.step, purpose))
            value = ops.where(new & ~mask, ops.cast(drawn, weight.dtype), value)
        weights.append(value)
        masks.append(kept | new)
    return weights, masks
