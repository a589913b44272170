"""Growth: what the methods that prune and grow share, from the places that are free to the values of the newborn."""

from keras import ops

from keras_dsr.decisions.randomness import StepSeed, random_keys
from keras_dsr.decisions.selection import count_true, select_smallest
from keras_dsr.decisions.units import mask_weights, weight_mask
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
