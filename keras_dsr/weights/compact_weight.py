"""One sparse weight in compact storage."""

import math

import keras
import numpy as np
from keras import ops

from keras_dsr.arguments import check_state_variable
from keras_dsr.layers import CompactLayer
from keras_dsr.layers.compact_entries import check_positions
from keras_dsr.layers.initial_scale import scaled
from keras_dsr.layers.initial_values import draw
from keras_dsr.layers.record import Record, check_counts, checked_threshold
from keras_dsr.ops.initial_masks import check_sparsity
from keras_dsr.ops.randomness import StepSeed
from keras_dsr.weights.sparse_weight import weight_initializer


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
        pattern: `"element"` or `"kernel"`.
        units: `ops.units.Units`, what the dense tensor is made of by it.
        unit_size: how many weights are a unit.
    """

    mask = None
    gradient = None

    def __init__(self, layer: CompactLayer):
        self.holder = self.layer = layer
        self.role = "kernel"
        self.variable = layer.kernel_values
        self.name = self.variable.path
        self.indices, self.weights_held = layer.kernel_indices, layer.kernel_count
        self.threshold = layer.kernel_threshold
        self.record = layer.kernel_record
        self.pattern, self.units, self.unit_size = layer.pattern, layer.kernel_units, layer.unit_size

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

    def active_units(self) -> int:
        """The number of active units."""
        return self.count() // self.unit_size

    def units_at(self, sparsity: float) -> int:
        """How many units are active at a sparsity, in [0, 1): at least one."""
        check_sparsity(sparsity, "CompactWeight.units_at")
        return self.units.number_at(self.units.count(self.shape), sparsity)

    def positions(self) -> np.ndarray:
        """Flat positions of the active weights, int64, in increasing order."""
        indices = ops.convert_to_numpy(self.indices)[: self.count()]
        return indices[:, 0].astype("int64") * self.layer.matrix_shape[1] + indices[:, 1]

    def values(self) -> np.ndarray:
        """Values of the active weights, in the order of `positions()`."""
        return ops.convert_to_numpy(self.variable)[: self.count()]

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
        check_positions(*indices[:count].T, self.layer.matrix_shape, self.unit_size, repr(self.name))
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
