"""Where a model keeps its sparse weights, and one face for each of them."""

import math

import keras
import numpy as np
from keras import ops

from keras_dsr.arguments import check_model, check_state_variable
from keras_dsr.backend.keras_layers import own_trainable_variables, walk
from keras_dsr.layers import CompactLayer, MaskedLayer
from keras_dsr.layers.compact_entries import check_positions
from keras_dsr.layers.einsum import initializer_of
from keras_dsr.layers.initial_scale import scaled
from keras_dsr.layers.initial_values import draw
from keras_dsr.layers.masked import unit_axes_of
from keras_dsr.layers.record import Record, check_counts, checked_mask, checked_threshold
from keras_dsr.layers.registry import SPARSE_CLASS_OF
from keras_dsr.ops.masking import mask_weights
from keras_dsr.ops.randomness import StepSeed
from keras_dsr.optimizers import SparseOptimizer
from keras_dsr.optimizers.checks import check_dense


class SparseWeight:
    """One sparse weight tensor of a model: the same face for one of a sparse layer and one of a `SparseOptimizer`.

    Attributes:
        holder: who holds its mask, a sparse layer or a `SparseOptimizer`.
        layer: the layer that it belongs to.
        role: string, what it is in the layer, such as `"kernel"`.
        name: string, the path of its variable, such as `"dense/kernel"`.
        variable: the raw weight, a Keras variable; pruned positions may hold anything.
        mask: the bool Keras variable of the same shape, true where a weight is active.
        threshold: the float32 scalar Keras variable that holds H, 0 until a method has set it.
        record: the int32 Keras variable with what is remembered of the mask (see `layers.record`).
        granularity: `"element"` or `"kernel"`.
        unit_axes: the axes that one unit spans.
    """

    def __init__(self, holder: MaskedLayer | SparseOptimizer, layer: keras.layers.Layer, role: str, held):
        self.holder = holder
        self.layer = layer
        self.role = role
        self._held = held  # how the holder holds it: a `HeldByLayer` or a `SparseVariable`
        self.variable = held.variable
        self.name = self.variable.path
        self.mask = held.mask
        self.threshold = held.threshold
        self.record = held.record
        self.granularity = getattr(holder, "granularity", "element")
        self.unit_axes = unit_axes_of(layer, role, self.granularity)

    @property
    def trainable(self) -> bool:
        """Whether the weight is trained. One that is frozen is neither pruned nor grown."""
        return self.variable.trainable

    @property
    def where(self) -> list[keras.Variable]:
        """The variables that say where the weights are: the mask."""
        return [self.mask]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the dense tensor."""
        return tuple(self.variable.shape)

    @property
    def size(self) -> int:
        """The number of positions of the dense tensor."""
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
        """Replace the mask, and clear the weights that are pruned by it. The weight's budget is that of the mask.

        Args:
            mask: bool array of the shape of the weight (or one of ones and zeros), with at least one true entry, in
                whole units.

        Raises:
            ValueError: no bool array, another shape, no true entry, or a unit that is partly there. Nothing was
                changed.
        """
        given, as_bools = mask, as_mask(mask)
        mask = np.zeros(0, bool) if as_bools is None else as_bools
        if as_bools is None or mask.shape != self.shape or not mask.any():
            found = "" if as_bools is None else f"shape {mask.shape} with {mask.sum()} true entries, "
            raise ValueError(
                f"SparseWeight.set_mask(mask=...) of {self.name!r} must be a bool array of shape {self.shape} with at "
                f"least one true entry. Received: {found}mask={given!r}"
            )
        checked_mask(mask, self.unit_axes, repr(self.name))
        record = Record.of(self.record)._replace(active=int(mask.sum()))
        self.variable.assign(mask_weights(ops.convert_to_tensor(self.variable), mask))
        self.mask.assign(mask)
        self.record.assign(record.array())

    def remember(self) -> None:
        """Take the number of active weights for its budget: where all came together from a file without a record."""
        self.record.assign(Record.of(self.record)._replace(active=self.count()).array())

    def check(self) -> None:
        """Raise `ValueError` if the mask, its record and H contradict each other: they came from elsewhere."""
        mask = checked_mask(ops.convert_to_numpy(self.mask), self.unit_axes, repr(self.name))
        check_counts(Record.of(self.record), int(mask.sum()), repr(self.name))
        checked_threshold(ops.convert_to_numpy(self.threshold), repr(self.name))

    @property
    def states(self) -> dict[str, keras.Variable]:
        """The variables in which methods keep something for each weight, by name."""
        return self._held.state

    @property
    def gradient(self) -> keras.Variable | None:
        """The moving average of the dense gradients, a float32 variable; None if none is kept."""
        return self._held.gradient

    def add_state(self, name: str, dtype: str) -> None:
        """Give the weight, and the others of its holder, a variable of its shape for a method; zeros at first."""
        check_state_variable(name, dtype, "SparseWeight.add_state")
        self.holder.add_state(name, dtype)

    def initial_values(self, seed: StepSeed):
        """A tensor of the shape of the weight, drawn by the layer's initializer of this weight from the given seed.

        It has the scale of first weights: what the layer's `initial_scale` says, at the density that it had at first.

        Raises:
            ValueError: it is unknown which initializer the layer has for it.
        """
        initializer = weight_initializer(self.layer, self.role)
        if initializer is None:
            raise ValueError(
                f"growth='initializer' needs to know how {self.name!r} is drawn, and {type(self.layer).__name__} is no "
                "layer whose initializers are known. Use growth='zeros'."
            )
        config = initializer.get_config() if isinstance(initializer, keras.initializers.Initializer) else {}
        if "seed" in config:
            initializer = type(initializer).from_config({**config, "seed": seed})
        values = initializer(self.shape, dtype=self.variable.dtype)
        return scaled(values, self.holder.scale_factor_of(self.role)) if self.holder is self.layer else values

    def __repr__(self) -> str:
        return f"<SparseWeight {self.name} shape={self.shape} active={self.count()}>"


class CompactWeight:
    """One sparse weight in compact storage: the face of `SparseWeight`, with no mask.

    Attributes:
        holder, layer: the layer that it belongs to, a `CompactLayer`.
        role: string, `"kernel"`.
        name: string, the path of its values, such as `"dense/kernel_values"`.
        variable: the values, a Keras variable of shape `(capacity,)`; what lies beyond the weights is zero.
        indices, weights_held: the integer variables that say where the weights are, and how many.
        mask: None.
        threshold: the float32 scalar Keras variable that holds H, 0 until a method has set it.
        unit_axes: `()`: a unit is one weight, whatever the granularity of other layers.
    """

    mask = None
    gradient = None
    unit_axes = ()

    def __init__(self, layer: CompactLayer):
        self.holder = self.layer = layer
        self.role = "kernel"
        self.variable = layer.kernel_values
        self.name = self.variable.path
        self.indices, self.weights_held = layer.kernel_indices, layer.kernel_count
        self.threshold = layer.kernel_threshold
        self.record = layer.kernel_record

    @property
    def trainable(self) -> bool:
        """Whether the weight is trained. One that is frozen is neither pruned nor grown."""
        return self.variable.trainable

    @property
    def where(self) -> list[keras.Variable]:
        """The variables that say where the weights are."""
        return [self.indices, self.weights_held]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the dense tensor."""
        return self.layer.kernel_shape

    @property
    def size(self) -> int:
        """The number of positions of the dense tensor."""
        return math.prod(self.shape)

    @property
    def capacity(self) -> int:
        """The number of weights that there is room for."""
        return self.variable.shape[0]

    def count(self) -> int:
        """The number of active weights."""
        return int(ops.convert_to_numpy(self.weights_held))

    def positions(self) -> np.ndarray:
        """Flat positions of the active weights, int64, in increasing order."""
        indices = ops.convert_to_numpy(self.layer.entries()[1])
        return indices[:, 0].astype("int64") * self.layer.matrix_shape[1] + indices[:, 1]

    def values(self) -> np.ndarray:
        """Values of the active weights, in the order of `positions()`."""
        return ops.convert_to_numpy(self.layer.entries()[0])

    def set_mask(self, mask: np.ndarray) -> None:
        """Refused: a mask has the size of the dense tensor."""
        raise NotImplementedError(
            f"{self.name!r} is in compact storage and takes no mask. Build the layer with storage='masked' for that."
        )

    def remember(self) -> None:
        """Take the number of active weights for its budget: where all came together from a file without a record."""
        self.record.assign(Record.of(self.record)._replace(active=self.count()).array())

    def check(self) -> None:
        """Raise `ValueError` if the positions, their record and H contradict each other: they came from elsewhere."""
        count, indices = self.count(), ops.convert_to_numpy(self.indices)
        if not 0 < count <= self.capacity:
            raise ValueError(
                f"The number of weights of {self.name!r} must be from 1 to {self.capacity:,}, for which there is room. "
                f"Received: {count:,}. Load the weights again."
            )
        check_positions(*indices[:count].T, self.layer.matrix_shape, repr(self.name))
        check_counts(Record.of(self.record), count, repr(self.name))
        checked_threshold(ops.convert_to_numpy(self.threshold), repr(self.name))

    @property
    def states(self) -> dict[str, keras.Variable]:
        """The variables in which methods keep something for each weight, by name."""
        return {name: getattr(self.layer, f"kernel_{name}") for name in self.layer.method_state}

    def add_state(self, name: str, dtype: str) -> None:
        """Give the weight a variable of shape `(capacity,)` for a method; zeros at first."""
        check_state_variable(name, dtype, "CompactWeight.add_state")
        self.layer.add_state(name, dtype)

    def initial_values(self, seed: StepSeed, count):
        """Values for `count` positions, as `SparseWeight.initial_values`."""
        drawn = draw(weight_initializer(self.layer, self.role), self.shape, count, self.variable.dtype, seed)
        return scaled(drawn, self.layer.scale_factor_of(self.role))

    def __repr__(self) -> str:
        return f"<CompactWeight {self.name} shape={self.shape} active={self.count()} capacity={self.capacity}>"


def as_mask(mask) -> np.ndarray | None:
    """What was given as a mask, of true and false or of ones and zeros, as a bool array; None: it is no such thing."""
    try:
        array = np.asarray(mask) if isinstance(mask, (np.ndarray, list, tuple)) else ops.convert_to_numpy(mask)
    except Exception:  # by what it is given, a backend raises about anything
        return None
    is_mask = array.dtype.kind in "biuf" and np.isin(array, (0, 1)).all()
    return array.astype(bool) if is_mask else None


def weight_initializer(layer: keras.layers.Layer, role: str):
    """The initializer that a layer draws a weight by; None if that is unknown."""
    initializers = getattr(SPARSE_CLASS_OF.get(type(layer), layer), "initializers", {})
    return initializer_of(layer, initializers.get(role, ""))


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
