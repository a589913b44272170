"""Where a model keeps its sparse weights, and one face for each of them."""

import math
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

from keras_dsr.decisions.randomness import StepSeed
from keras_dsr.decisions.units import mask_weights
from keras_dsr.layers.masked import MaskedKernel
from keras_dsr.layers.tied import TiedKernel


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

    @property
    def size(self) -> int:
        """The number of places of the dense tensor."""
        return math.prod(self.shape)

    def count(self) -> int:
        """The number of active weights."""
        return int(ops.count_nonzero(ops.convert_to_tensor(self.mask)))

    def positions(self) -> np.ndarray:
        """Flat positions of the active weights, int64, in increasing order."""
        return np.flatnonzero(ops.convert_to_numpy(self.mask)).astype("int64")

    def values(self) -> np.ndarray:
        """Values of the active weights, in the order of `positions()`."""
        return ops.convert_to_numpy(self.variable).reshape(-1)[self.positions()]

    def set_mask(self, mask: np.ndarray) -> None:
        """Replace the mask, and clear the weights that are dead by it.

        Args:
            mask: bool array of the shape of the weight, with at least one true entry.

        Raises:
            ValueError: another shape, or no true entry. Nothing was changed.
        """
        mask = np.asarray(mask, dtype=bool)
        if mask.shape != self.shape or not mask.any():
            raise ValueError(
                f"The mask of {self.name!r} must have shape {self.shape} and at least one true entry. "
                f"Received: shape {mask.shape} with {mask.sum()} true entries."
            )
        self.variable.assign(mask_weights(ops.convert_to_tensor(self.variable), mask))
        self.mask.assign(mask)

    def state(self, name: str) -> keras.Variable | None:
        """The variable in which a method keeps something for each weight; None if there is none of that name."""
        return getattr(self.layer, f"kernel_{name}") if name in self.layer.kernel_state else None

    def initial_values(self, seed: StepSeed):
        """A tensor of the shape of the weight, drawn by the layer's kernel initializer from the given seed."""
        initializer = self.layer.kernel_initializer
        config = initializer.get_config() if isinstance(initializer, keras.initializers.Initializer) else {}
        if "seed" in config:
            initializer = type(initializer).from_config({**config, "seed": seed})
        return initializer(self.shape, dtype=self.variable.dtype)

    def __repr__(self) -> str:
        return f"<SparseWeight {self.name} shape={self.shape} active={self.count()}>"


def sparse_layers(model: keras.layers.Layer) -> list[MaskedKernel]:
    """The sparse layers of a built model or layer, in the order of the model, each once.

    Raises:
        ValueError: the model or one of its sparse layers has not been built.
    """
    layers = _layers_of(model, MaskedKernel)
    if not (model.built or layers):
        raise _unbuilt(model, f"the model {model.name!r}")
    return layers


def tied_layers(model: keras.layers.Layer) -> list[TiedKernel]:
    """The tied layers of a built model or layer, in the order of the model, each once.

    Raises:
        ValueError: one of them has not been built.
    """
    return _layers_of(model, TiedKernel)


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


def _layers_of(model: keras.layers.Layer, kind: type) -> list:
    layers = [layer for layer in _walk(model, set()) if isinstance(layer, kind)]
    unbuilt = [layer.name for layer in layers if not layer.built]
    if unbuilt:
        raise _unbuilt(model, f"a layer of it, {unbuilt[0]!r},")
    return layers


def _unbuilt(model: keras.layers.Layer, where: str) -> ValueError:
    return ValueError(
        f"The weights of {model.name!r} do not exist yet: {where} has not been built. "
        "Give the model an `Input`, call it once on a batch, or call `model.build(input_shape)` first."
    )


def _walk(layer, seen: set[int]) -> Iterator[keras.layers.Layer]:
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield layer
    for inner in layer._layers:
        yield from _walk(inner, seen)
