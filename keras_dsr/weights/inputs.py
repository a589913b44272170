"""What a method is given, read from the sparse weights of a model."""

from typing import Any, NamedTuple, cast

import keras
from keras import ops

from keras_dsr.layers.record import SINCE
from keras_dsr.layers.units_by_pattern import outputs_of
from keras_dsr.methods.base import MethodInputs
from keras_dsr.ops.positions import position_dtype
from keras_dsr.ops.unit_lists import units_of_list
from keras_dsr.ops.units import SINGLE, Slices
from keras_dsr.weights.compact_weight import CompactWeight


class Read(NamedTuple):
    """Tensors that the inputs of a method are made of, as they are stored.

    Attributes:
        step: int32 scalar, since the method began.
        learning_rate: float32 scalar.
        weights, masks, gradients: lists, None in the place of what a weight does not have.
        lists: dict; for the index of each weight in compact storage the positions and the number of its weights.
    """

    step: Any
    learning_rate: Any
    weights: list
    masks: list
    gradients: list | None
    lists: dict


class InputsOf:
    """The inputs of a method for sparse weights.

    Args:
        weights: list of `SparseWeight` and `CompactWeight`.
        seed: int, of the method's random numbers.
    """

    def __init__(self, weights: list, seed: int):
        self._weights = weights
        self._seed = seed

    def read(self, optimizer: keras.optimizers.Optimizer | None, with_gradients: bool) -> Read:
        """What is stored now, at the present step of the optimizer."""
        taken = ops.cast(0 if optimizer is None else optimizer.iterations, "int32")
        return Read(
            step=taken - ops.convert_to_tensor(self._weights[0].record)[SINCE],
            learning_rate=ops.convert_to_tensor(_learning_rate(optimizer), "float32"),
            weights=[ops.convert_to_tensor(weight.variable) for weight in self._weights],
            masks=[_tensor(weight.mask) for weight in self._weights],
            gradients=[_tensor(weight.gradient) for weight in self._weights] if with_gradients else None,
            lists={
                index: [ops.convert_to_tensor(variable) for variable in weight.where]
                for index, weight in enumerate(self._weights)
                if isinstance(weight, CompactWeight)
            },
        )

    def of_one(self, index: int, entries, read: Read):
        """What there is for each entry of a weight's variable, in compact storage by units."""
        if index not in read.lists:
            return entries
        return units_of_list(entries, self._weights[index].unit_size, read.lists[index][1])

    def by_units(self, entries: list, read: Read) -> list:
        """As `of_one`, for all weights."""
        return [self.of_one(index, each, read) for index, each in enumerate(entries)]

    def made_of(self, read: Read, seen: dict | None = None, **others) -> MethodInputs:
        """The inputs.

        Args:
            read: what is stored.
            seen: what `CompactGradients.take` found; None: nothing.
            **others: of `MethodInputs.of`.
        """
        masks, positions, candidates = [*read.masks], {}, {}
        gradients = [*(read.gradients or [])]
        units = [weight.units for weight in self._weights]
        for index, (indices, count) in read.lists.items():
            of_it = cast(CompactWeight, self._weights[index])
            room, size = of_it.capacity // of_it.unit_size, of_it.unit_size
            exists = ops.arange(room, dtype="int32") < count // size
            masks[index] = exists if size == 1 else ops.repeat(exists[:, None], size, axis=1)
            units[index] = SINGLE if size == 1 else Slices((1,))
            rows, columns = (ops.cast(indices[:room, axis], position_dtype()) for axis in (0, 1))
            positions[index] = rows * of_it.layer.matrix_shape[1] + columns
        for index, (of_existing, *of_others) in (seen or {}).items():
            gradients[index] = self.of_one(index, of_existing, read)
            candidates[index] = tuple(of_others)
        return MethodInputs.of(
            step=read.step,
            seed=self._seed,
            learning_rate=read.learning_rate,
            names=[weight.name for weight in self._weights],
            outputs=[outputs_of(weight.layer, weight.role, weight.shape, weight.units) for weight in self._weights],
            sizes=[weight.units.count(weight.shape) for weight in self._weights],
            units=units,
            weights=self.by_units(read.weights, read),
            masks=masks,
            gradients=gradients or None,
            positions=positions,
            candidates=candidates,
            **others,
        )


def _tensor(variable: keras.Variable | None):
    return None if variable is None else ops.convert_to_tensor(variable)


def _learning_rate(optimizer) -> float:
    if optimizer is None or hasattr(optimizer, "optimizers"):
        return float("nan")
    return optimizer.learning_rate
