"""What must hold of the numbers of weights after a reallocation, before anything is written."""

from collections.abc import Sequence

import numpy as np

from keras_dsr.methods.base import Method
from keras_dsr.weights.compact_weight import CompactWeight
from keras_dsr.weights.sparse_weight import SparseWeight


def check_postconditions(
    method: Method,
    weights: Sequence[SparseWeight | CompactWeight],
    before: np.ndarray,
    after: np.ndarray,
    violations: np.ndarray,
) -> None:
    """Raise `RuntimeError` if a method did not keep what it promises.

    Args:
        method: whose decision it is.
        weights: of the reallocation.
        before, after: int arrays of shape `(tensors,)`, the active units of each.
        violations: int array, how far the groups of each are from the numbers that they have to have.
    """
    if method.conserves and before.sum() != after.sum():
        raise RuntimeError(
            f"{method} changed the number of active units from {before.sum()} to {after.sum()}: a conserving "
            "method must keep it. The model was not changed."
        )
    for weight, active in zip(weights, after):
        if isinstance(weight, CompactWeight) and active * weight.unit_size > weight.capacity:
            raise RuntimeError(
                f"{method} gave {weight.name!r} {active * weight.unit_size} weights, more than the "
                f"{weight.capacity} that it has room for. The model was not changed."
            )
    if violations.any():
        weight = weights[int(violations.argmax())]
        raise RuntimeError(
            f"{method} left {weight.name!r} with other than {weight.units}, its pattern. The model was not changed."
        )
    if after.min() < 1:
        dead = weights[int(after.argmin())].name
        raise RuntimeError(f"{method} left no active weight in {dead!r}. The model was not changed.")
