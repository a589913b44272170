"""The kernels of a model: what its layers multiply with, and which of their weights are active."""

import dataclasses
import math
from collections.abc import Mapping
from typing import cast

import keras
import ml_dtypes
import numpy as np

from keras_dsr.exporting.packing import packed_bytes
from keras_dsr.layers.units_by_pattern import units_of
from keras_dsr.ops.units import Groups
from keras_dsr.selectors.candidates import candidates
from keras_dsr.weights.sparse_weights import sparse_weights


@dataclasses.dataclass(frozen=True, eq=False)
class Kernel:
    """One kernel of a model.

    Attributes:
        name: the path of its variable, such as `"dense/kernel"`.
        layer: the layer that it belongs to.
        owners: the layers that the layer lies in, from the model on.
        role: what it is in the layer, such as `"kernel"`.
        shape: of the dense tensor.
        variable: its Keras variable; pruned positions may hold anything. In compact storage, the list of its weights.
        positions: flat positions of the active weights, int64, increasing; None: every weight is active.
    """

    name: str
    layer: keras.layers.Layer
    owners: tuple[keras.layers.Layer, ...]
    role: str
    shape: tuple[int, ...]
    variable: keras.Variable
    positions: np.ndarray | None

    @property
    def size(self) -> int:
        """The number of positions of the dense tensor."""
        return math.prod(self.shape)

    @property
    def is_sparse(self) -> bool:
        """Whether some positions are known to be empty."""
        return self.positions is not None

    @property
    def active(self) -> int:
        """The number of active weights."""
        return len(self.positions) if self.is_sparse else self.size

    @property
    def sparsity(self) -> float:
        """The fraction of positions without a weight, in [0, 1]."""
        return 1 - self.active / self.size if self.size else 0.0

    @property
    def itemsize(self) -> int:
        """Bytes of one value."""
        return itemsize_of(self.variable)

    @property
    def dense_bytes(self) -> int:
        """Bytes of the dense tensor."""
        return self.size * self.itemsize

    @property
    def packed_bytes(self) -> int:
        """Bytes of the active values and their positions, in the smaller code; of a dense kernel, all of it."""
        return packed_bytes(self.positions, self.size, self.itemsize) if self.is_sparse else self.dense_bytes

    @property
    def fits_sparse_tensor_cores(self) -> bool:
        """Whether at most two of every four neighbouring inputs are active: what NVIDIA's sparse tensor cores take."""
        if self.positions is None or self.role != "kernel" or 2 * self.active > self.size:
            return False
        try:
            groups = cast(Groups, units_of(self.layer, self.role, self.shape, "2:4"))
        except ValueError:  # its inputs are no multiple of 4
            return False
        matrix, row, column = np.unravel_index(self.positions, groups.view)
        output, given = (row, column) if groups.outputs_first else (column, row)
        outputs, inputs = groups.view[1:] if groups.outputs_first else groups.view[:0:-1]
        of_group = ((matrix * outputs + output) * (inputs // 4) + given // 4).astype("int64")
        return bool(np.unique(of_group, return_counts=True)[1].max(initial=0) <= 2)

    def values(self) -> np.ndarray:
        """The dense tensor, zeros where there is no weight."""
        stored = keras.ops.convert_to_numpy(self.variable)
        if not self.is_sparse:
            return stored
        values = np.zeros(self.size, stored.dtype)
        is_compact = tuple(stored.shape) != self.shape
        values[self.positions] = stored[: self.active] if is_compact else stored.reshape(-1)[self.positions]
        return values.reshape(self.shape)


def kernels_of(model: keras.Model, masks: Mapping[str, np.ndarray] | None = None) -> list[Kernel]:
    """The kernels of a model, in its order, dense ones included.

    Which weights are active is what the masks of the model say. Where the model has none and none are given, as after
    `strip`, it is those that are not zero.

    Args:
        model: a built Keras model of any kind.
        masks: bool arrays by the names of the kernels, of a model that has no masks itself; other kernels are dense.

    Raises:
        ValueError: the model has not been built.
    """
    held = {id(weight.variable): weight for weight in sparse_weights(model)}
    by_zeros = not held and masks is None
    kernels = []
    for one in candidates(model):
        weight = held.get(id(one.variable))
        if weight is None and (len(one.shape) < 2 or "bias" in one.role):
            continue
        if weight is not None:
            positions = weight.positions()
        elif by_zeros:
            positions = np.flatnonzero(keras.ops.convert_to_numpy(one.variable))
            positions = positions if len(positions) < one.size else None
        else:
            mask = (masks or {}).get(one.name)
            positions = None if mask is None else np.flatnonzero(mask)
        role, shape = (one.role, one.shape) if weight is None else (weight.role, weight.shape)
        kernels.append(Kernel(one.name, one.layer, one.owners, role, shape, one.variable, positions))
    return kernels


def other_parameters(model: keras.Model, kernels: list[Kernel]) -> tuple[int, int]:
    """The number of trainable parameters outside the kernels, and their bytes."""
    taken = {id(kernel.variable) for kernel in kernels}
    others = [variable for variable in model.trainable_variables if id(variable) not in taken]
    sizes = [math.prod(variable.shape) for variable in others]
    return sum(sizes), sum(size * itemsize_of(variable) for size, variable in zip(sizes, others))


def itemsize_of(variable: keras.Variable) -> int:
    """Bytes of one value of a variable."""
    return np.dtype(getattr(ml_dtypes, variable.dtype, variable.dtype)).itemsize
