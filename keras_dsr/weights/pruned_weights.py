"""Weights that are pruned and trained all the same: for straight-through methods."""

from typing import cast

import keras
import numpy as np
from keras import ops

from keras_dsr.backend.keras_slots import scales_losses
from keras_dsr.backend.keras_training import renew_compiled_functions
from keras_dsr.layers import MaskedLayer
from keras_dsr.layers.passed_back import TRAINED
from keras_dsr.methods.base import Method, PrunedTraining
from keras_dsr.ops.randomness import StepSeed


def train_pruned_weights(
    method: Method, weights: list, seed: int, optimizer: keras.optimizers.Optimizer | None
) -> None:
    """Have the gradient train pruned weights too, if the method wants that, and else none of them.

    Args:
        method: a method.
        weights: list of `SparseWeight` and `CompactWeight`, of one reallocation.
        seed: int, of what pruned weights begin with.
        optimizer: that trains them, if it is known.

    Raises:
        ValueError: the method wants that of a weight that is not of a layer with masks, or a decay of weights whose
            gradients are scaled.
    """
    training = method.pruned_training
    if training is not None:
        _check(method, weights, optimizer)
    decay, changed = training.decay if training else 0.0, []
    for index, weight in enumerate(weights):
        if not isinstance(weight.holder, MaskedLayer) or not (training or _is_on(weight)):
            continue
        if TRAINED not in weight.layer.method_state:
            weight.layer.add_state(TRAINED, "bool")
            changed.append(weight.layer)
        passed_back = weight.layer.passed_back[weight.role]
        if training and not _is_on(weight):
            _begin(training, weight, index, seed)
        elif not training:
            trained_variable(weight).assign(np.zeros(weight.shape, bool))
        if passed_back.decay != decay:
            passed_back.decay = decay
            changed.append(weight.layer)
    if changed:  # what was traced does not know of it
        renew_compiled_functions(changed)


def trained_variable(weight) -> keras.Variable:
    """The bool variable that says where a weight is trained though it is pruned."""
    return weight.layer.passed_back[weight.role].trained


def _is_on(weight) -> bool:
    return TRAINED in weight.layer.method_state and bool(ops.any(ops.convert_to_tensor(trained_variable(weight))))


def _begin(training: PrunedTraining, weight, index: int, seed: int) -> None:
    """Give the pruned weights their first values, and have them trained from now on."""
    mask, variable = ops.convert_to_tensor(weight.mask), weight.variable
    start = ops.zeros_like(ops.convert_to_tensor(variable))
    if training.start == "initializer":
        step = ops.zeros((), "int32")
        start = ops.cast(weight.initial_values(StepSeed(seed, index, step, "pruned.start")), variable.dtype)
    variable.assign(ops.where(mask, ops.convert_to_tensor(variable), start))
    trained_variable(weight).assign(np.ones(weight.shape, bool))


def _check(method: Method, weights: list, optimizer: keras.optimizers.Optimizer | None) -> None:
    if cast(PrunedTraining, method.pruned_training).decay and scales_losses(optimizer):
        raise ValueError(
            f"{type(method).__name__}(decay=...) must be 0 under a LossScaleOptimizer, such as that of mixed_float16: "
            "the decay is a part of gradients that are divided by the scale afterwards, and would be lost. Received: "
            f"{method!r}. Use decay=0.0, or mixed_bfloat16."
        )
    for weight in weights:
        if not isinstance(weight.holder, MaskedLayer):
            kind = "is in compact storage" if weight.mask is None else "is held sparse by a SparseOptimizer"
            raise ValueError(
                f"{type(method).__name__} trains weights that the network does not see, and {weight.name!r} {kind}, "
                "which has no place for their values. Build the layer with storage='masked', or make it a sparse layer "
                "by `keras_dsr.sparsify`."
            )
