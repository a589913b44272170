"""Growth: what the methods that prune and grow share, from the places that are free to the values of the newborn."""

import math

from keras import ops

from keras_dsr.arguments import is_one_of
from keras_dsr.methods.base import Parts, View
from keras_dsr.ops.masking import mask_weights
from keras_dsr.ops.patterns import unit_magnitudes, weight_mask
from keras_dsr.ops.positions import contains, free_positions, positions_where
from keras_dsr.ops.randomness import StepSeed, random_keys
from keras_dsr.ops.selection import MAX_KEY, count_true, ordered_bits, select_smallest

GROWTHS = ("zeros", "initializer")


def check_growth(growth: str, owner: str) -> None:
    """Raise `ValueError` if there is no such growth."""
    if not is_one_of(growth, GROWTHS):
        raise ValueError(
            f"{owner}(growth=...) must be 'zeros' or 'initializer': what a grown weight starts from, 0 or a value "
            f"drawn by the layer's kernel initializer. Received: growth={growth!r}"
        )


def grow(taken: list, shares, seeds: list[StepSeed], places: list | None = None) -> list:
    """In each tensor, its share of places uniformly at random, without replacement, among those not taken.

    Args:
        taken: list of bool tensors, the units that must not be chosen.
        shares: int32 tensor of shape `(tensors,)`.
        seeds: the random numbers of each tensor at this step.
        places: as in `View`.

    Returns:
        A list of bool tensors of the same shapes, each with `share` true entries; for a tensor in compact storage the
        list of the positions (see `ops.positions`), increasing.
    """
    places = places or [None] * len(taken)
    masked = [index for index, of_tensor in enumerate(places) if of_tensor is None]
    born: list = [None] * len(taken)
    if masked:
        keys = [random_keys(taken[index].shape, seeds[index]) for index in masked]
        free = [~taken[index] for index in masked]
        chosen = select_smallest(keys, free, shares if len(masked) == len(taken) else ops.take(shares, masked))
        for index, units in zip(masked, chosen):
            born[index] = units
    for index, of_tensor in enumerate(places):
        if of_tensor is not None:
            held = positions_where(of_tensor.positions, taken[index])
            room = taken[index].shape[0]
            born[index] = free_positions(held, shares[index], of_tensor.size, seeds[index], room)
    return born


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


def taken_in_each(active: list, survivors: list, shares, places: list | None = None) -> list:
    """Where each tensor must not grow: the units that were active, or only the survivors if there is no room else.

    Args:
        active: list of bool tensors, the active units before this update.
        survivors: list of bool tensors of the same shapes.
        shares: int32 tensor of shape `(tensors,)`, how many each tensor grows.
        places: as in `View`.
    """
    room = _room(active, survivors, places)
    return [
        units & (kept | (room[index] >= shares[index])) for index, (units, kept) in enumerate(zip(active, survivors))
    ]


def taken_in_all(active: list, survivors: list, places: list | None = None) -> tuple:
    """Where tensors that share what was pruned must not grow: as `taken_in_each`, with the room of all taken together.

    Args:
        active: list of bool tensors, the active units before this update.
        survivors: list of bool tensors of the same shapes.
        places: as in `View`.

    Returns:
        `(taken, capacities)`: a list of bool tensors of the same shapes, and how many places each tensor has beside
        them, an int32 tensor of shape `(tensors,)`; in compact storage no more than it has room for.
    """
    pruned = sum(count_true(units) - count_true(kept) for units, kept in zip(active, survivors))
    before, now = _room(active, survivors, places), _room(survivors, survivors, places)
    crowded = pruned > ops.sum(before)  # then the places just pruned are free too
    taken = ops.cond(crowded, lambda: survivors, lambda: active)
    return taken, ops.where(crowded, now, before)


def _room(taken: list, survivors: list, places: list | None):
    """How many units each tensor can take beside its survivors where others are taken, int32."""
    room = []
    for index, units in enumerate(taken):
        entries, of_tensor = math.prod(units.shape), places[index] if places else None
        if of_tensor is None:
            room.append(entries - count_true(units))
        else:
            free = min(of_tensor.size, MAX_KEY) - count_true(units)
            room.append(ops.minimum(free, entries - count_true(survivors[index])))
    return ops.stack(room)


def regrown(view: View, survivors: list, born: list, growth: str, seed: int, purpose: str) -> tuple[list, list]:
    """The weights and masks after pruning and growth.

    Args:
        view: what the update was given.
        survivors: list of bool tensors, the units that were kept.
        born: as `grow` returns them, the units that were grown; no survivor among them.
        growth: `"zeros"`, newborn weights start at 0; `"initializer"`, from a value drawn by the layer's initializer.
            One that was pruned in this very update (it happens where there is no other room) always starts at 0.
        seed, purpose: of the drawn values (see `StepSeed`).

    Returns:
        `(weights, masks)`, lists of tensors of the shapes of the weights; of `Parts` in compact storage.
    """
    weights, masks = [], []
    for index, (weight, mask) in enumerate(zip(view.weights, view.masks)):
        drawn_from = view.initializers[index] if growth == "initializer" else None
        step_seed = StepSeed(seed, index, view.step, purpose)
        if view.places and view.places[index]:
            old = positions_where(view.places[index].positions, mask)
            weights.append(
                Parts(mask_weights(weight, survivors[index]), _newborn(born[index], old, weight, drawn_from, step_seed))
            )
            masks.append(Parts(survivors[index], born[index]))
            continue
        kept, new = (weight_mask(units[index], weight.shape) for units in (survivors, born))
        value = mask_weights(weight, kept)
        if drawn_from is not None:
            value = ops.where(new & ~mask, ops.cast(drawn_from(step_seed), weight.dtype), value)
        weights.append(value)
        masks.append(kept | new)
    return weights, masks


def _newborn(positions, old, weight, drawn_from, seed: StepSeed):
    """The values that grown positions start from, where `old` are those that were active before."""
    if drawn_from is None:
        return ops.zeros((ops.shape(positions)[0],), weight.dtype)
    drawn = ops.cast(drawn_from(seed, ops.shape(positions)[0]), weight.dtype)
    return mask_weights(drawn, ~contains(old, positions))
