"""What is remembered of a sparse weight beside its mask: its budget, and since when a method moves it."""

from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_dsr.ops.units import Groups, Units


class Record(NamedTuple):
    """Four numbers that are stored with a sparse weight, as an int32 vector.

    Attributes:
        built: the active weights that it was built with, by its config; blocks that are cut off count as whole ones.
        active: those that it has now. Whoever changes the mask changes this: a mask that disagrees came from elsewhere.
        method: a digest of the method that moves it (see `methods.identity.digest`); 0: none has yet.
        since: the optimizer's step at which that method began.
    """

    built: int
    active: int
    method: int = 0
    since: int = 0

    @classmethod
    def of(cls, variable: keras.Variable) -> "Record":
        """What a variable of shape `(4,)` holds."""
        return cls(*map(int, ops.convert_to_numpy(variable)))

    @classmethod
    def begun(cls, mask: np.ndarray, units: Units) -> "Record":
        """That of a weight that is built with a mask."""
        return cls(int(units.active(mask, np).sum()) * units.size(mask.shape), int(mask.sum()))

    def array(self) -> np.ndarray:
        """As it is stored."""
        return np.asarray(self, dtype="int32")


RECORD_SHAPE = (len(Record._fields),)
SINCE = Record._fields.index("since")


def checked_mask(mask: np.ndarray, units: Units, owner: str) -> np.ndarray:
    """Return a mask as bools, or raise `ValueError` if it is none of a sparse weight.

    Args:
        mask: array of the shape of the weight.
        units: what the weight is made of.
        owner: what the mask is for, such as `"SparseDense 'dense'"`, for the message.
    """
    mask = np.asarray(mask)
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise ValueError(
            f"The mask of {owner} must hold true and false alone. Received: {mask.dtype} values such as "
            f"{mask[~np.isin(mask, (0, 1))][0]!r}. Masks cannot be averaged: average the weights of models that "
            "have the same masks, or dense models (`keras_dsr.strip`)."
        )
    mask = mask.astype(bool)
    active = int(mask.sum())
    if not active:
        raise ValueError(f"The mask of {owner} must have at least one true entry. Received: none of {mask.size:,}.")
    if isinstance(units, Groups) and units.violation(mask, np):
        raise ValueError(
            f"The mask of {owner} must consist of {units}, as its pattern says. Received: {active:,} active weights, "
            "of which some have more or fewer. The mask is of a model of another pattern."
        )
    found = units.active(mask, np)
    if not np.array_equal(units.mask(found, mask.shape, np), mask):
        raise ValueError(
            f"The mask of {owner} must consist of whole {units} of {units.size(mask.shape)} weights, as its pattern "
            f"says. Received: {active:,} active weights in {int(found.sum()):,} of them, some of which are partly "
            "there. The mask is of a model of another pattern."
        )
    return mask


def checked_threshold(threshold: float, owner: str) -> float:
    """Return H, or raise `ValueError` if it is negative or not finite (0: no method has set it)."""
    threshold = float(np.asarray(threshold))
    if not 0 <= threshold < np.inf:
        raise ValueError(
            f"The threshold H of {owner} must be a number of at least 0, and finite. Received: {threshold!r}. "
            "Load the weights again, or assign 0 to it: then the method begins with its initial threshold."
        )
    return threshold


def check_counts(record: Record, active: int, owner: str) -> None:
    """Raise `ValueError` if a weight has not as many active weights as its record says."""
    if record.active != active:
        raise ValueError(
            f"The mask of {owner} has {active:,} active weights, and {record.active:,} were recorded when it was last "
            "set: it has been written to from outside (`set_weights`, an average of weights, an assignment), and the "
            "budget would change without a word. Load weights that belong together, or set a mask on purpose with "
            "`keras_dsr.sparse_weights(model)[i].set_mask(mask)`."
        )


def loaded_record(stored, own: Record, active: int, owner: str) -> Record:
    """The record that a weight has when it is loaded.

    Args:
        stored: what a file holds of it; None: a file of an earlier version, and it is made of what there is.
        own: that of the weight into which is loaded.
        active: the active weights that the file holds.
        owner: what is loaded into, for the message.

    Raises:
        ValueError: the file contradicts itself, or is of a model that was built with another budget.
    """
    if stored is None:
        return Record(own.built, active)
    stored = Record(*map(int, np.asarray(stored)))
    check_counts(stored, active, owner)
    if stored.built != own.built:
        raise ValueError(
            f"The weights that are loaded into {owner} are of a model that was built with {stored.built:,} active "
            f"weights there, and this one was built with {own.built:,}. Build and sparsify the model with the sparsity "
            "of the one that was saved."
        )
    return stored
