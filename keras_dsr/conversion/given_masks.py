"""Masks that `sparsify` is given, by the paths of weights."""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from keras_dsr.layers.record import checked_mask
from keras_dsr.ops.units import Units
from keras_dsr.selectors.candidates import Candidate
from keras_dsr.selectors.language import Selector, choose


def choose_given(
    masks: Mapping, found: list[Candidate], exclude: Selector | Iterable[Selector]
) -> tuple[list[Candidate], list[tuple[Candidate, str]]]:
    """The weights that masks are given for, and pairs of the others with the reasons why they stay dense.

    Raises:
        ValueError: no mask is given, or one for a weight that the model does not have.
    """
    names = [one.name for one in found]
    unknown = [name for name in masks if name not in names]
    if unknown or not masks:
        received = f"mask={{{unknown[0]!r}: ...}}" if unknown else f"mask={masks!r}"
        raise ValueError(
            "sparsify(mask=...), as a mapping, must be from the paths of weights of the model to masks. There are, for "
            f"example, {', '.join(map(repr, names[:3]))}. Received: {received}"
        )
    chosen, left_out = choose(found, [re.escape(name) for name in masks], exclude, "sparsify")
    left_out += [(one, "no mask was given") for one in chosen if one.name not in masks]
    return [one for one in chosen if one.name in masks], left_out


def checked_masks(masks: Mapping, chosen: list[Candidate], made_of: list[Units]) -> list[np.ndarray]:
    """The masks of the chosen weights as bool arrays, in their order.

    Raises:
        ValueError: one is no mask of the weight's shape in whole units, or is of a weight that is not chosen.
    """
    missing = set(masks) - {one.name for one in chosen}
    if missing:
        raise ValueError(
            f"sparsify(mask=...) has a mask for {min(missing)!r}, which stays dense: it is excluded, or cannot be "
            "sparse. Leave the mask out."
        )
    arrays = []
    for one, units in zip(chosen, made_of):
        mask = np.asarray(masks[one.name])
        if mask.shape != one.shape or mask.dtype.kind not in "biuf":
            raise ValueError(
                f"sparsify(mask=...) must have a bool array of shape {one.shape} for {one.name!r}. Received: an array "
                f"of shape {mask.shape} and dtype {mask.dtype}"
            )
        arrays.append(checked_mask(mask, units, repr(one.name)))
    return arrays
