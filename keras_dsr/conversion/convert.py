"""Turn the layers of a model sparse, and back into the stock layers of Keras, in place, for good or for a while."""

import contextlib
import math
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_dsr.backend.keras_layers import (
    kernel_of,
    naming,
    replace_kernel,
    track_not_trainable,
    unlocked,
    untrack,
    walk,
)
from keras_dsr.backend.keras_owners import holds, models_holding, optimizers_alive, own_optimizers
from keras_dsr.backend.keras_slots import clear_dead_places, optimizer_slots
from keras_dsr.backend.keras_training import renew_compiled_functions, set_optimizer
from keras_dsr.backend.memory import machine_memory
from keras_dsr.layers import (
    CompactLayer,
    MaskedContainer,
    MaskedLayer,
    TiedKernel,
)
from keras_dsr.layers.registry import COMPACT_CLASS_OF, SPARSE_CLASS_OF, SPARSE_CONTAINER_OF
from keras_dsr.ops.patterns import Pattern
from keras_dsr.optimizers import fresh_without_masks, without_masks
from keras_dsr.weights.sparse_weights import check_has_weights, layers_of, sparse_optimizer, sparse_weights


class Conversion(NamedTuple):
    """What one layer is to be made.

    Attributes:
        layer: a built layer, of a class in `SPARSE_CLASS_OF`.
        masks: bool arrays by the names of its weights.
        storage: `"masked"` or `"compact"`.
    """

    layer: keras.layers.Layer
    masks: dict[str, np.ndarray]
    storage: str


def convert(
    model: keras.Model,
    conversions: list[Conversion],
    pattern: Pattern,
    seed: int,
    capacity: int | float | None = None,
    initial_scale: str = "dense",
) -> None:
    """Make layers of a model sparse, in place: graph, optimizer and the values of active weights stay.

    Every model that holds these layers goes on as the same network. A layer that is made compact gets another variable.
    The optimizer has no state for that, so compiled models with such layers get a fresh optimizer of the same
    configuration, at iteration 0.

    Args:
        model: a built Keras model.
        conversions: what its layers are to be made.
        pattern: of the masks.
        seed: int; the layers get it and those that follow, for their configs.
        capacity: of layers in compact storage.
        initial_scale: `"active"`: the values of active weights are scaled to the active fan (see `MaskedLayer`).

    Raises:
        ValueError: an optimizer that is not a compiled model's holds the kernel of a layer that is to be compact.
    """
    has_compact = any(conversion.storage == "compact" for conversion in conversions)
    holders = models_holding(conversion.layer for conversion in conversions)
    if has_compact:
        _check_renewable(holders, "sparsify(storage='compact')")
    for index, (layer, masks, storage) in enumerate(conversions):
        if storage == "compact":
            COMPACT_CLASS_OF[type(layer)].convert(
                layer, masks["kernel"], capacity, pattern, seed + index, initial_scale
            )
        else:
            SPARSE_CLASS_OF[type(layer)].convert(layer, masks, pattern, seed + index, initial_scale)
    changed = [conversion.layer for conversion in conversions]
    for holder in holders:
        for layer, _ in walk(holder):
            container = SPARSE_CONTAINER_OF.get(type(layer))
            if container is not None and any(isinstance(inner, MaskedLayer) for inner, _ in walk(layer)):
                container.to_sparse(layer)
    optimizers = optimizers_alive()
    for weight in sparse_weights(model):
        if weight.mask is not None:
            slots = [slot for optimizer in optimizers for slot in optimizer_slots(optimizer, weight.variable)]
            clear_dead_places(weight.variable, ops.convert_to_tensor(weight.mask), slots)
    if has_compact:
        _renew_optimizers(holders)
        for part in _compiled(holders):
            wanted = part.jit_compile
            part.jit_compile = False
            part.jit_compile = wanted  # Keras says so, and leaves it off, where a layer cannot have it
    renew_compiled_functions(changed)


def densify(model: keras.Model) -> keras.Model:
    """Undo `sparsify`, in place: stock Keras layers with the values that they have, zeros where weights are pruned.

    Masks are dropped, so training goes on dense, pruned positions included. A compiled model keeps its optimizer; of a
    `SparseOptimizer` the one inside, with its state. Training, test and prediction functions are traced again when next
    used.

    A layer in compact storage gets a variable of its full kernel. The optimizer has no state for that variable, so a
    compiled model with such layers gets a fresh optimizer of the same configuration, at iteration 0.

    Args:
        model: a built Keras model of any kind.

    Returns:
        The same model.

    Raises:
        TypeError: something that is no model of Keras 3.
        ValueError: the model has not been built.
        MemoryError: kernels in compact storage that would not fit when dense. The model is as it was.

    Example:

    >>> keras_dsr.densify(model)
    """
    check_has_weights(model, "densify")
    _make_stock(model, (MaskedLayer, MaskedContainer), CompactLayer)
    return model


def strip(model: keras.Model) -> keras.Model:
    """Turn sparse and tied layers into their stock Keras layers, in place: the same network, free of keras_dsr.

    Pruned weights are stored as exact zeros; outputs do not change. Masks are dropped, so training goes on dense. A
    compiled model keeps its optimizer (of a `SparseOptimizer` the one inside); its training, test and prediction
    functions are traced again when next used.

    A tied layer gets a variable of its full kernel in place of its bank. The optimizer has no state for that variable,
    so a compiled model with tied layers gets a fresh optimizer of the same configuration, at iteration 0.

    Args:
        model: a built Keras model of any kind.

    Returns:
        The same model.

    Raises:
        TypeError: something that is no model of Keras 3.
        ValueError: the model has not been built.

    Example:

    >>> keras_dsr.strip(model).save("plain.keras")
    """
    check_has_weights(model, "strip")
    _make_stock(model, (MaskedLayer, MaskedContainer), (CompactLayer, TiedKernel))
    return model


@contextlib.contextmanager
def stripped(model: keras.Model) -> Iterator[keras.Model]:
    """The model with stock layers inside the `with` block, and as it was after it, also on an error.

    Raises:
        MemoryError: kernels in compact storage that would not fit when dense.
    """
    _check_fits(layers_of(model, CompactLayer))
    layers = [(layer, type(layer)) for layer in layers_of(model, (MaskedLayer, MaskedContainer))]
    expanded = [(layer, type(layer)) for layer in layers_of(model, (TiedKernel, CompactLayer))]
    swapped, held = [], []
    try:
        for layer, _ in expanded:
            held.append(_expand_kernel(layer))
        for layer, sparse_class in layers:
            layer.to_stock()
            swapped.append((layer, sparse_class))
        yield model
    finally:
        for (layer, own_class), values in zip(expanded, held):
            layer.__class__ = own_class
            replace_kernel(layer, values)
            with unlocked(layer):
                track_not_trainable(layer, layer.beside_kernel)
        for layer, sparse_class in swapped:
            sparse_class.to_sparse(layer)


def _make_stock(model: keras.Model, swapped: tuple[type, ...], expanded: type | tuple[type, ...]) -> None:
    """Have layers of a model be of their stock classes for good.

    Args:
        model: a built Keras model.
        swapped: classes of layers that hold their kernels.
        expanded: classes of layers that hold something else in the place of them.
    """
    masked, others = layers_of(model, swapped), layers_of(model, expanded)
    _check_fits([layer for layer in others if isinstance(layer, CompactLayer)])
    holders = models_holding([*masked, *others])
    if others:
        _check_renewable(holders, "densify or strip of layers without a variable of the full kernel")
    for layer in masked:
        sparse_class = type(layer)
        layer.to_stock()
        sparse_class.forget(layer)
    if sparse_optimizer(model) is not None:
        set_optimizer(model, without_masks(model.optimizer))
    for layer in others:
        own_class = type(layer)
        _expand_kernel(layer)
        own_class.forget(layer)
    if others:
        _renew_optimizers(holders)
    renew_compiled_functions([model, *masked, *others])


def _compiled(models: list[keras.Model]) -> list[keras.Model]:
    """Those of the models that are compiled with an optimizer."""
    return [model for model in models if getattr(model, "optimizer", None) is not None]


def _renew_optimizers(models: list[keras.Model]) -> None:
    """Give compiled models that have other variables than before fresh optimizers of the same configuration."""
    for model in _compiled(models):
        if not all(holds(model.optimizer, variable) for variable in model.trainable_variables):
            set_optimizer(model, fresh_without_masks(model.optimizer))
            model.optimizer.build(model.trainable_variables)


def _check_renewable(models: list[keras.Model], act: str) -> None:
    """Raise `ValueError` if a model trains with an optimizer of its own, which cannot be told of other variables."""
    for model in models:
        for name, optimizer in own_optimizers(model).items():
            if optimizer.built:
                raise ValueError(
                    f"{act} makes other variables, of which the optimizer {name!r} of {model.name!r} would not know: "
                    "it was built for the old ones, and only the optimizer that a model is compiled with can be made "
                    f"anew. Received: a {type(optimizer).__name__} in {type(model).__name__}.{name}. Use "
                    "storage='masked', or convert the model before its optimizers are built."
                )


def _expand_kernel(layer) -> keras.Variable:
    """Swap the class, and put a variable of the full kernel where the bank or the list was; return that."""
    held = kernel_of(layer)
    with naming(layer):
        kernel = keras.Variable(layer.kernel, dtype=held.dtype, trainable=held.trainable, name="kernel")
    kernel.regularizer = layer.kernel_regularizer
    with unlocked(layer):
        untrack(layer, layer.beside_kernel)
    replace_kernel(layer, kernel)
    layer.__class__ = layer.stock_class
    return held


def _check_fits(layers: list[CompactLayer]) -> None:
    """Raise `MemoryError` if the dense kernels of layers are more than the memory of this machine."""
    memory = machine_memory()
    needed = sum(math.prod(layer.kernel_shape) * np.dtype(layer.variable_dtype).itemsize for layer in layers)
    if memory is not None and needed > memory:
        raise MemoryError(
            f"Stock layers have dense kernels, and those of the {len(layers)} layers in compact storage would take "
            f"{needed / 1e9:,.1f} GB; this machine has {memory / 1e9:,.1f} GB. To save the model as it is, use "
            "keras_dsr.save(model, path, resumable=True)."
        )
