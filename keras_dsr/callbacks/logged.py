"""What callbacks log of sparse weights when an epoch ends."""

import collections
from collections.abc import Sequence

from keras_dsr.weights.compact_weight import CompactWeight
from keras_dsr.weights.sparse_weight import SparseWeight

DENSITY = "density/"


def sparsity_of(weights: Sequence[SparseWeight | CompactWeight]) -> float:
    """The fraction of positions that are zero, over all the weights."""
    return 1 - sum(weight.count() for weight in weights) / sum(weight.size for weight in weights)


def densities(weights: Sequence[SparseWeight | CompactWeight]) -> dict[str, float]:
    """The fraction of active positions by `density/<name>`; of weights of one name, the second has `_2` behind it."""
    found: dict[str, float] = {}
    times = collections.Counter[str]()
    for weight in weights:
        times[weight.name] += 1
        number = f"_{times[weight.name]}" if times[weight.name] > 1 else ""
        found[f"{DENSITY}{weight.name}{number}"] = weight.count() / weight.size
    return found
