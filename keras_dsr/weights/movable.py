"""Which sparse weights of a model may move, and together."""

from typing import cast

import keras

from keras_dsr.methods.base import Method
from keras_dsr.ops.apportionment import LARGEST_TOTAL
from keras_dsr.ops.units import Groups
from keras_dsr.weights.compact_weight import CompactWeight
from keras_dsr.weights.sparse_weight import SparseWeight
from keras_dsr.weights.sparse_weights import sparse_weights


def movable_weights(model: keras.Model) -> list[SparseWeight | CompactWeight]:
    """The sparse weights of a model that are not frozen.

    Raises:
        ValueError: an unbuilt model, or one in which nothing may move.
    """
    weights = sparse_weights(model)
    movable = [weight for weight in weights if weight.trainable]
    if weights and not movable:
        raise ValueError(
            f"All {len(weights)} sparse weights of {model.name!r} are frozen (`trainable` is False), such as "
            f"{weights[0].name!r}: what is frozen is neither pruned nor grown, so there is nothing to reallocate. "
            "Unfreeze a layer and compile the model again, or train without a method."
        )
    return movable


def check_movable_together(model: keras.Model, weights: list[SparseWeight | CompactWeight], method: Method) -> None:
    """Raise `ValueError` if there is no weight, or one reallocation cannot be of all of them."""
    if not weights:
        raise ValueError(
            f"The model {model.name!r} has no sparse layer, so there is nothing to reallocate. Build it with sparse "
            "layers, such as `keras_dsr.SparseDense(units, sparsity=0.9)` for `keras.layers.Dense(units)`, call "
            "`keras_dsr.sparsify(model)`, or compile it with `keras_dsr.SparseOptimizer(optimizer)`."
        )
    grouped = [weight for weight in weights if isinstance(weight.units, Groups)]
    if grouped and method.across:
        raise ValueError(
            f"{type(method).__name__} moves weights from one tensor to another, and {grouped[0].name!r} has the "
            f"pattern {grouped[0].pattern!r}, whose groups each have a number of their own. Use a method that moves "
            "weights within a tensor, such as SET or RigL, or another pattern."
        )
    # A product with a matrix in compact storage has single weights whatever it was told.
    told = [weight for weight in weights if weight.mask is not None or hasattr(weight.layer, "kernel_size")]
    patterns = {weight.pattern: cast(keras.layers.Layer, weight.layer).name for weight in reversed(told)}
    if len(patterns) > 1:
        raise ValueError(
            "All sparse layers of one reallocation must have the same pattern: their units are counted together. "
            f"Received: {', '.join(f'{kind!r} (layer {name!r})' for kind, name in patterns.items())}. "
            "Build them all with the same `pattern=`."
        )
    places = sum(
        weight.capacity // weight.unit_size if isinstance(weight, CompactWeight) else weight.units.count(weight.shape)
        for weight in weights
    )
    if places >= LARGEST_TOTAL:
        raise ValueError(
            f"One reallocation covers fewer than {LARGEST_TOTAL:,} positions. Received: {places:,} in {model.name!r}."
        )
