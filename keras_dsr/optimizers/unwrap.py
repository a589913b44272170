"""Optimizers without masks: what is left of one when nothing is to be sparse any more, or in files of plain Keras."""

import keras

from keras_dsr.optimizers.sparse_optimizer import SparseOptimizer


def without_masks(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer with its state, but for a `SparseOptimizer` in it: in its place is the one that it wraps."""
    if isinstance(optimizer, SparseOptimizer):
        return optimizer.inner_optimizer
    if hasattr(optimizer, "inner_optimizer"):
        optimizer.inner_optimizer = without_masks(optimizer.inner_optimizer)
    return optimizer


def fresh_without_masks(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """A new optimizer of the same configuration, that has taken no step, without a `SparseOptimizer` in it."""
    if isinstance(optimizer, SparseOptimizer):
        return fresh_without_masks(optimizer.inner_optimizer)
    config = optimizer.get_config()
    if hasattr(optimizer, "inner_optimizer"):
        inner = fresh_without_masks(optimizer.inner_optimizer)
        config["inner_optimizer"] = keras.saving.serialize_keras_object(inner)
    return type(optimizer).from_config(config)
