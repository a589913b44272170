"""One sparse weight with a mask, of a layer or of a `SparseOptimizer`."""

import math

import keras
import numpy as np
from keras import ops

from keras_dsr.arguments import check_state_variable
from keras_dsr.layers import MaskedLayer
from keras_dsr.layers.einsum import initializer_of
from keras_dsr.layers.initial_scale import scaled
from keras_dsr.layers.record import Record, check_counts, checked_mask, checked_threshold
from keras_dsr.layers.registry import SPARSE_CLASS_OF
from keras_dsr.ops.initial_masks import check_sparsity
from keras_dsr.ops.masking import mask_weights
from keras_dsr.ops.randomness import StepSeed
from keras_dsr.optimizers import SparseOptimizer


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
        pattern: what is pruned and grown as a whole, such as `"element"`, `"kernel"` or `(4, 1)`.
        units: `ops.units.Units`, what the tensor is made of by it.
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
        self.pattern = holder.pattern
        self.units = held.units

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

    def active_units(self) -> int:
        """The number of active units."""
        return int(ops.count_nonzero(self.units.active(ops.convert_to_tensor(self.mask))))

    def units_at(self, sparsity: float) -> int:
        """How many units are active at a sparsity, in [0, 1): at least one."""
        check_sparsity(sparsity, "SparseWeight.units_at")
        return self.units.number_at(self.units.count(self.shape), sparsity)

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
        checked_mask(mask, self.units, repr(self.name))
        record = Record.of(self.record)._replace(active=int(mask.sum()))
        self.variable.assign(mask_weights(ops.convert_to_tensor(self.variable), mask))
        self.mask.assign(mask)
        self.record.assign(record.array())

    def remember(self) -> None:
        """Take the number of active weights for its budget: where all came together from a file without a record."""
        self.record.assign(Record.of(self.record)._replace(active=self.count()).array())

    def check(self) -> None:
        """Raise `ValueError` if the mask, its record and H contradict each other: they came from elsewhere."""
        mask = checked_mask(ops.convert_to_numpy(self.mask), self.units, repr(self.name))
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
