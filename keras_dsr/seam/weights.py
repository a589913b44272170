"""Where a model keeps its sparse weights, and one face for each of them."""

from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

from keras_dsr.layers.masked import MaskedKernel


class SparseWeight:
    """One sparse weight tensor of a model.

    Attributes:
        layer: the layer that it belongs to.
        name: string, the path of its variable, such as `"dense/kernel"`.
        variable: the raw kernel, a Keras variable; dead places may hold anything.
        mask: the bool Keras variable of the same shape, true where a weight is active.
        threshold: the float32 scalar Keras variable that holds H, 0 until a method has set it.
        granularity: `"element"` or `"kernel"`.
        unit_axes: the axes that one unit spans.
    """

    def __init__(self, layer: MaskedKernel):
        self.layer = layer
        self.variable = layer._kernel
        self.name = self.variable.path
        self.mask = layer.kernel_mask
        self.threshold = layer.kernel_threshold
        self.granularity = layer.granularity
        self.unit_axes = layer.unit_axes

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the dense tensor."""
        return tuple(self.variable.shape)

    def count(self) -> int:
        """The number of active weights."""
        return int(ops.count_nonzero(ops.convert_to_tensor(self.mask)))

    def positions(self) -> np.ndarray:
        """Flat positions of the active weights, int64, in increasing order."""
        return np.flatnonzero(ops.convert_to_numpy(self.mask)).astype("int64")

    def values(self) -> np.ndarray:
        """Values of the active weights, in the order of `positions()`."""
        return ops.convert_to_numpy(self.variable).reshape(-1)[self.positions()]

    def __repr__(self) -> str:
        return f"<SparseWeight {self.name} shape={self.shape} active={self.count()}>"


def sparse_layers(model: keras.layers.Layer) -> list[MaskedKernel]:
    """The sparse layers of a built model or layer, in the order of the model, each once.

    Raises:
        ValueError: the model or one of its sparse layers has not been built.
    """
    layers = [layer for layer in _walk(model, set()) if isinstance(layer, MaskedKernel)]
    unbuilt = [layer.name for layer in layers if not layer.built]
    if unbuilt or not (model.built or layers):
        where = f"its sparse layers {unbuilt}" if unbuilt else f"the model {model.name!r}"
        raise ValueError(
            f"The sparse weights of {model.name!r} do not exist yet: {where} has not been built. "
            "Give the model an `Input`, call it once on a batch, or call `model.build(input_shape)` first."
        )
    return layers


def sparse_weights(model: keras.layers.Layer) -> list[SparseWeight]:
    """The sparse weights of a model of any kind, in the order of the model.

    Args:
        model: a built Keras model or layer; nested and subclassed models and shared layers are followed.

    Returns:
        A list of `SparseWeight`, empty if no layer is sparse.

    Raises:
        ValueError: the model has not been built.

    Example:

    >>> [(weight.name, weight.count()) for weight in keras_dsr.sparse_weights(model)]
    """
    return [SparseWeight(layer) for layer in sparse_layers(model)]


def _walk(layer, seen: set[int]) -> Iterator[keras.layers.Layer]:
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield layer
    for inner in layer._layers:
        yield from _walk(inner, seen)
