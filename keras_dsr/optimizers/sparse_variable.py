"""One variable that is kept sparse, and what is held for it."""

import dataclasses

import keras

from keras_dsr.backend.keras_slots import Slot
from keras_dsr.ops.units import SINGLE, Units


@dataclasses.dataclass(eq=False)
class SparseVariable:
    """One variable that a `SparseOptimizer` keeps sparse, with what the optimizer holds for it.

    Attributes:
        variable: the trainable variable of the model; 0 at every pruned position.
        mask: the bool Keras variable of its shape, true where a weight is active.
        threshold: the float32 scalar Keras variable that holds H of DSR, one for all; 0 until a method has set it.
        record: the int32 Keras variable with what is remembered of the mask (see `layers.record`).
        slots: list of `Slot`, what the wrapped optimizer holds for it.
        units: what it is made of.
        state: what a method keeps for each weight, a dict of Keras variables of its shape by name.
        gradient: the float32 Keras variable with the running mean of its dense gradient; None if none is kept.
    """

    variable: keras.Variable
    mask: keras.Variable
    threshold: keras.Variable
    record: keras.Variable
    slots: list[Slot]
    units: Units = SINGLE
    state: dict[str, keras.Variable] = dataclasses.field(default_factory=dict)
    gradient: keras.Variable | None = None

    @property
    def name(self) -> str:
        """The path of the variable, such as `"dense/kernel"`."""
        return self.variable.path
