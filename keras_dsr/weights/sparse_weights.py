"""Where a model has its sparse weights."""

import keras

from keras_dsr.arguments import check_model
from keras_dsr.backend.keras_layers import own_trainable_variables, walk
from keras_dsr.layers import CompactLayer, MaskedLayer
from keras_dsr.optimizers import SparseOptimizer
from keras_dsr.optimizers.checks import check_dense
from keras_dsr.weights.compact_weight import CompactWeight
from keras_dsr.weights.sparse_weight import SparseWeight


def sparse_weights(model: keras.layers.Layer) -> list[SparseWeight | CompactWeight]:
    """The sparse weights of a model of any kind, in the order of the model: of its layers, then of a `SparseOptimizer`.

    Args:
        model: a built Keras model or layer; nested and subclassed models and shared layers are followed. If it is
            compiled with a `SparseOptimizer` that has not been built, that is done now.

    Returns:
        A list of `SparseWeight`, and of `CompactWeight` for layers in compact storage; empty if nothing is sparse.

    Raises:
        TypeError: something that is no model of Keras 3.
        ValueError: the model has not been built, or a weight is sparse twice.

    Example:

    >>> [(weight.name, weight.count()) for weight in keras_dsr.sparse_weights(model)]
    """
    check_model(model, "sparse_weights")
    weights = layer_weights(model)
    optimizer = sparse_optimizer(model)
    if optimizer is None:
        return weights
    if not optimizer.built:
        model.optimizer.build(model.trainable_variables)
    check_dense([held.variable for held in optimizer.sparse_variables], [weight.variable for weight in weights])
    owner = {id(variable): layer for layer, _ in walk(model) for variable in own_trainable_variables(layer)}
    for held in optimizer.sparse_variables:
        weights.append(SparseWeight(optimizer, owner[id(held.variable)], held.variable.name, held))
    return weights


def layer_weights(model: keras.layers.Layer) -> list[SparseWeight | CompactWeight]:
    """The sparse weights of the layers of a model, without those of a `SparseOptimizer`, which may not be built."""
    weights: list[SparseWeight | CompactWeight] = []
    for layer in layers_of(model, (MaskedLayer, CompactLayer)):
        if isinstance(layer, CompactLayer):
            weights.append(CompactWeight(layer))
        else:
            weights += [SparseWeight(layer, layer, role, layer.held(role)) for role in layer.sparse_roles]
    return weights


def sparse_optimizer(model: keras.layers.Layer) -> SparseOptimizer | None:
    """The `SparseOptimizer` that a model is compiled with, also inside another one; None if there is none."""
    optimizer = getattr(model, "optimizer", None)
    while optimizer is not None and not isinstance(optimizer, SparseOptimizer):
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return optimizer


def check_has_weights(model: keras.layers.Layer, owner: str, argument: str = "model", **settings) -> None:
    """Raise `TypeError` if this is no model (see `check_model`), `ValueError` if its weights do not exist yet."""
    check_model(model, owner, argument, **settings)
    layers_of(model, (MaskedLayer, CompactLayer), f"{owner}({argument}=...)")


def layers_of(
    model: keras.layers.Layer, kind: type | tuple[type, ...], call: str = "sparse_weights(model=...)"
) -> list:
    """The layers of a kind in a built model or layer, in the order of the model, each once.

    Args:
        model: a model or layer.
        kind: a class, or a tuple of classes.
        call: who asks, for the message.

    Raises:
        ValueError: the model or one of these layers has not been built.
    """
    layers = [layer for layer, _ in walk(model) if isinstance(layer, kind)]
    unbuilt = [layer.name for layer in layers if not layer.built]
    if unbuilt or not (model.built or model.variables):  # one without `call` is never built, and its parts are
        where = f"a layer of it, {unbuilt[0]!r}," if unbuilt else f"the model {model.name!r}"
        raise ValueError(
            f"{call}: the weights of {model.name!r} do not exist yet: {where} has not been built. Give the model an "
            f"`Input`, call it once on a batch, or call `model.build(input_shape)` first. Received: {model!r}"
        )
    return layers
