"""Weights that are pruned and trained all the same: for straight-through methods."""

import keras
import numpy as np
from keras import ops

from keras_dsr.backend.keras_training import renew_compiled_functions
from keras_dsr.layers import MaskedLayer
from keras_dsr.layers.passed_back import TRAINED
from keras_dsr.methods.base import Method
from keras_dsr.ops.randomness import StepSeed


def train_pruned_weights(method: Method, weights: list, seed: int) -> None:
    """Have the gradient train pruned weights too, if the method wants that, and else none of them.

    Args:
        method: a method.
        weights: list of `SparseWeight` and `CompactWeight`, of one reallocation.
        seed: int, of what pruned weights begin with.

    Raises:
        ValueError: the method wants that of a weight that is not of a layer with masks.
    """
    if method.trains_pruned:
        _check(method, weights)
    changed = []
    for index, weight in enumerate(weights):
        if not isinstance(weight.holder, MaskedLayer) or not (method.trains_pruned or _is_on(weight)):
            continue
        if TRAINED not in weight.layer.method_state:
            weight.layer.add_state(TRAINED, "bool")
            changed.append(weight.layer)
        passed_back = weight.layer.passed_back[weight.role]
        if method.trains_pruned and not _is_on(weight):
            _begin(method, weight, index, seed)
        elif not method.trains_pruned:
            trained_variable(weight).assign(np.zeros(weight.shape, bool))
        if passed_back.decay != method.pruned_decay:
            passed_back.decay = method.pruned_decay
            changed.append(weight.layer)
    if changed:  # what was traced does not know of it
        renew_compiled_functions(changed)


def trained_variable(weight) -> keras.Variable:
    """The bool variable that says where a weight is trained though it is pruned."""
    return weight.layer.passed_back[weight.role].trained


def _is_on(weight) -> bool:
    return TRAINED in weight.layer.method_state and bool(ops.any(ops.convert_to_tensor(trained_variable(weight))))


def _begin(method: Method, weight, index: int, seed: int) -> None:
    """Give the pruned weights their first values, and have them trained from now on."""
    mask, variable = ops.convert_to_tensor(weight.mask), weight.variable
    start = ops.zeros_like(ops.convert_to_tensor(variable))
    if method.pruned_start == "initializer":
        step = ops.zeros((), "int32")
        start = ops.cast(weight.initial_values(StepSeed(seed, index, step, "pruned.start")), variable.dtype)
    variable.assign(ops.where(mask, ops.convert_to_tensor(variable), start))
    trained_variable(weight).assign(np.ones(weight.shape, bool))


def _check(method: Method, weights: list) -> None:
    for weight in weights:
        if not isinstance(weight.holder, MaskedLayer):
            kind = "is in compact storage" if weight.mask is None else "is held sparse by a SparseOptimizer"
            raise ValueError(
                f"{type(method).__name__} trains weights that the network does not see, and {weight.name!r} {kind}, "
                "which has no place for their values. Build the layer with storage='masked', or make it a sparse layer "
                "by `keras_dsr.sparsify`."
            )
