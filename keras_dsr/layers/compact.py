"""Compact storage: layers that hold the weights that exist and their positions, and nothing of the size of a kernel."""

import math
from typing import ClassVar

import keras
import numpy as np
from keras import ops

from keras_dsr.arguments import check_state, drawn_seed
from keras_dsr.backend.distribution import Initial, strategy_of
from keras_dsr.backend.keras_layers import kernel_of, naming, remove_attributes, replace_kernel, unlocked, untrack
from keras_dsr.backend.keras_variants import RefusesVariants
from keras_dsr.backend.planes import Window
from keras_dsr.backend.seen_gradients import SeenGradients
from keras_dsr.backend.sparse_matmul import multiply
from keras_dsr.layers.capacity import CAPACITY, check_capacity, room_for
from keras_dsr.layers.compact_limits import CompactLimits
from keras_dsr.layers.einsum import initializer_of
from keras_dsr.layers.initial_scale import check_initial_scale, scale_factor, scaled
from keras_dsr.layers.initial_values import draw
from keras_dsr.layers.record import RECORD_SHAPE, Record
from keras_dsr.layers.registry import COMPACT_CLASS_OF, enter
from keras_dsr.layers.saved_as_list import SavedAsList
from keras_dsr.layers.units_by_pattern import renamed, units_of
from keras_dsr.ops.initial_masks import active_units, check_sparsity
from keras_dsr.ops.patterns import Pattern, check_pattern
from keras_dsr.ops.positions import random_positions
from keras_dsr.ops.unit_lists import weights_of_units
from keras_dsr.ops.units import Units

OWN_STATE = ("indices", "count", "threshold", "record")  # what the layer holds beside the values, whatever the method


class CompactLayer(CompactLimits, RefusesVariants, SavedAsList):
    """Mixin for a Keras layer that is a product with one matrix, or a convolution, whose weights are few.

    The trainable variable is `kernel_values`, of shape `(capacity,)`. Beside it lie `kernel_indices` (int32 of shape
    `(capacity, 2)`: the row and column of each weight in the matrix of `matrix_shape`, in row-major order),
    `kernel_count` (int32 scalar: how many there are; what lies beyond is zero), `kernel_threshold` (float32 scalar: H
    of DSR) and `kernel_record` (see `layers.record`). A step, a save and a reallocation take memory in proportion to
    the capacity. `layer.kernel` makes the dense kernel anew each time that it is read.

    Args:
        sparsity: float in [0, 1), the fraction of weights that are zero; or `{"kernel": 0.99}`. Of `n` positions
            `round((1 - sparsity) * n)` have a weight at first, at least one.
        capacity: what the layer has room for, as reallocation may move weights to it from others: a float of at least 1
            is a multiple of the weights that it starts with, an int a number of weights. None: 1.5.
        pattern: `"element"`, or `"kernel"`: whole slices of a window, as `MaskedLayer`; not blocks.
        mask_seed: int, where the first weights lie. None draws one from Python's random numbers.
        method_state: what methods keep with the layer; Keras passes it when it loads a model.
        initial_scale: `"dense"` or `"active"`, as `MaskedLayer`.

    Raises:
        ValueError: a sparsity outside [0, 1) or a capacity below the weights; a kernel that is no matrix; a dtype other
            than float32 or float64; a constraint, or a regularizer of more than single weights; an initializer whose
            values depend on one another; on JAX, more than 2**30 positions.

    Attributes:
        stock_class: the Keras layer class of the same name that `strip` turns the layer into.
    """

    stock_class: ClassVar[type[keras.layers.Layer]]
    initializers: ClassVar[dict[str, str]] = {"kernel": "kernel_initializer"}

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        enter(COMPACT_CLASS_OF, cls)

    def __init__(
        self,
        *args,
        sparsity: float | dict[str, float] = 0.9,
        capacity: int | float | None = None,
        mask_seed: int | None = None,
        method_state: dict[str, str] | None = None,
        initial_scale: str = "dense",
        pattern: Pattern = "element",
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.configure(sparsity, capacity, pattern, mask_seed, method_state, initial_scale)

    def configure(
        self,
        sparsity,
        capacity,
        pattern: Pattern,
        mask_seed: int | None,
        method_state: dict | None,
        initial_scale: str,
    ) -> None:
        """Check and keep the arguments that the stock class does not have, and check those that it has."""
        owner = type(self).__name__
        self.check_possible(self, sparsity)
        self.sparsity = check_sparsity(sparsity["kernel"] if isinstance(sparsity, dict) else sparsity, owner)
        self.capacity = check_capacity(CAPACITY if capacity is None else capacity, owner)
        self.pattern = check_pattern(pattern, owner)
        self.check_can_have(self.pattern)
        self.mask_seed = drawn_seed(mask_seed, owner)
        self.method_state = check_state(method_state, owner, "method_state")
        self.initial_scale = check_initial_scale(initial_scale, owner)
        self.seen_gradients = SeenGradients()
        self.supports_jit = keras.backend.backend() == "jax"  # XLA has neither TensorFlow's CSR operations nor Python's

    def _rows_of_matrix(self, shape: tuple[int, ...]) -> int:
        """How many of the kernel's positions, of the given shape, are one column of the matrix."""
        return math.prod(shape[:-1])

    def add_weight(self, *args, name=None, shape=None, initializer=None, **kwargs):
        if name != "kernel":
            return super().add_weight(*args, name=name, shape=shape, initializer=initializer, **kwargs)
        self.check_possible(self, self.sparsity)  # its dtype can depend on its path, which is known only now
        self.check_shape(shape)
        units = self.kernel_units_of(tuple(shape))
        chosen = random_positions(units.count(shape), active_units(units.count(shape), self.sparsity), self.mask_seed)
        positions = weights_of_units(chosen, units.size(shape), units.count(shape)).reshape(-1)

        def first_weights(dtype):
            drawn = draw(initializer, self.kernel_shape, len(positions), dtype)
            return scaled(drawn, self.scale_factor_of("kernel"))

        return self._hold(shape, positions, first_weights, *args, **kwargs)

    def kernel_units_of(self, shape: tuple[int, ...]) -> Units:
        """What a kernel of a shape is made of."""
        return units_of(self, "kernel", shape, self.pattern)

    @property
    def kernel_units(self) -> Units:
        """What the kernel is made of."""
        return self.kernel_units_of(self.kernel_shape)

    @property
    def unit_size(self) -> int:
        """How many weights are a unit."""
        return self.kernel_units.size(self.kernel_shape)

    def scale_factor_of(self, role: str) -> float:
        """What the draws for the kernel are multiplied by, at the density that it had at first."""
        units = self.kernel_units.count(self.kernel_shape)
        density = active_units(units, self.sparsity) / units
        initializer = initializer_of(self, self.initializers[role])
        return scale_factor(self.initial_scale, initializer, self.kernel_shape, density)

    def _hold(self, shape, positions: np.ndarray, values, *args, **kwargs) -> keras.Variable:
        """Make the variables of the layer, with weights at flat positions; `values` makes them, of a dtype."""
        self.kernel_shape = tuple(shape)
        places, count = math.prod(shape), len(positions)
        rows = self._rows_of_matrix(self.kernel_shape)
        self.matrix_shape = rows, places // rows
        size = room_for(self.capacity, count, places, type(self).__name__, unit_size=self.unit_size)
        initial = Initial(lambda _, dtype: ops.pad(values(dtype), (0, size - count)))
        variable = super().add_weight(
            *args, name="kernel_values", shape=(size,), initializer=initial, **{**kwargs, "autocast": False}
        )
        indices = np.stack(np.divmod(positions, self.matrix_shape[1]), axis=1)
        self._add_beside("kernel_indices", (size, 2), np.pad(indices, [(0, size - count), (0, 0)]), "int32")
        self._add_beside("kernel_count", (), np.asarray(count), "int32")
        self._add_beside("kernel_threshold", (), np.zeros(()), "float32")
        self._add_beside("kernel_record", RECORD_SHAPE, Record(count, count).array(), "int32")
        for state, dtype in self.method_state.items():
            self._add_beside(f"kernel_{state}", (size,), np.zeros(size), dtype)
        return variable

    @classmethod
    def convert(
        cls,
        layer: keras.layers.Layer,
        mask: np.ndarray,
        capacity: int | float | None,
        pattern: Pattern,
        mask_seed: int,
        initial_scale: str,
    ) -> None:
        """Turn a built layer of the stock class into one of this class, in place, with the weights under a mask.

        Args:
            layer: a built layer whose class is `cls.stock_class`.
            mask: bool array of the shape of its kernel, with at least one true entry.
            capacity: see the class.
            pattern: of the mask.
            mask_seed: int, for the config.
            initial_scale: `"dense"`, or `"active"` for weights that are as the layer's initializer drew them: then
                they are scaled.

        Raises:
            ValueError: as the class. The layer is as it was.
        """
        cls.check_possible(layer, 0.0)
        cls.check_shape(mask.shape)
        kernel, positions = kernel_of(layer), np.flatnonzero(mask)
        held = ops.convert_to_numpy(kernel).reshape(-1)[positions]
        room_for(capacity, len(positions), mask.size, cls.__name__)
        layer.__class__ = cls
        vars(layer)["converted"] = True  # not by setattr: Keras tracks what is set
        layer.configure(1 - float(mask.mean()), capacity, pattern, mask_seed, None, initial_scale)

        def values_kept(dtype):
            return scaled(ops.convert_to_tensor(held, dtype), layer.scale_factor_of("kernel"))

        with unlocked(layer), strategy_of(kernel), naming(layer):
            values = layer._hold(mask.shape, positions, values_kept, trainable=kernel.trainable)
            untrack(layer, [values])
        values.regularizer = kernel.regularizer
        replace_kernel(layer, values)

    def _add_beside(self, name: str, shape: tuple[int, ...], value: np.ndarray, dtype: str) -> None:
        given = Initial(lambda _, dtype: ops.convert_to_tensor(value, dtype=dtype))
        variable = super().add_weight(
            name=name, shape=shape, initializer=given, dtype=dtype, trainable=False, autocast=False
        )
        setattr(self, name, variable)

    def add_state(self, name: str, dtype: str) -> None:
        """Give the built layer a variable `kernel_<name>` of shape `(capacity,)`, zeros at first, for a method.

        Raises:
            ValueError: the layer has something of that name.
        """
        if hasattr(self, f"kernel_{name}"):
            raise ValueError(
                f"A method cannot keep {name!r} with the layers: {type(self).__name__} has a `kernel_{name}` of its "
                "own. Give the list another name."
            )
        size = self.kernel_values.shape[0]
        with unlocked(self), strategy_of(self.kernel_values):
            self._add_beside(f"kernel_{name}", (size,), np.zeros(size), dtype)
        self.method_state = {**self.method_state, name: dtype}

    @property
    def kernel_values(self) -> keras.Variable:
        """The weights, of shape `(capacity,)`; what lies beyond `kernel_count` is zero."""
        return kernel_of(self)

    @property
    def kernel(self):
        """The dense kernel, a tensor that is made now: of the full size."""
        values, indices = self.entries()
        return ops.reshape(ops.scatter(indices, values, self.matrix_shape), self.kernel_shape)

    def __dir__(self):
        # Keras's saving reads every attribute that `dir` names: it would make the dense kernel, and not write it.
        return [name for name in super().__dir__() if name != "kernel"]

    def entries(self) -> tuple:
        """The weights that exist, and their rows and columns in the matrix: tensors of shapes `(n,)` and `(n, 2)`."""
        return tuple(part.value[: self.kernel_count.value] for part in (self.kernel_values, self.kernel_indices))

    @property
    def window(self) -> Window:
        """The layer as a product: with a matrix, or over a window."""
        return Window(*self.matrix_shape)

    def product(self, inputs):
        """The product of inputs of shape `(..., rows of the matrix)` with the matrix."""
        flat = ops.reshape(inputs, (-1, self.matrix_shape[0]))
        product = multiply(
            flat,
            self.kernel_values.value,
            self.kernel_indices.value,
            self.kernel_count.value,
            self.window,
            self.seen_gradients,
        )
        return ops.reshape(product, (*ops.shape(inputs)[:-1], self.matrix_shape[1]))

    def _finished(self, outputs):
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    @property
    def _lists(self) -> dict[str, keras.Variable]:
        """The variables of shape `(capacity,)`, by name."""
        return {f"kernel_{kind}": getattr(self, f"kernel_{kind}") for kind in ("values", *self.method_state)}

    @property
    def beside_kernel(self) -> list[keras.Variable]:
        """The variables that go with the values."""
        return [getattr(self, f"kernel_{kind}") for kind in (*OWN_STATE, *self.method_state)]

    @staticmethod
    def forget(layer: keras.layers.Layer) -> None:
        """Leave no trace in a layer that is of its stock class from now on."""
        variables = [f"kernel_{kind}" for kind in (*OWN_STATE, *layer.method_state)]
        own = (
            "seen_gradients",
            "sparsity",
            "capacity",
            "mask_seed",
            "method_state",
            "initial_scale",
            "kernel_shape",
            "matrix_shape",
        )
        remove_attributes(layer, [*variables, *own, "pattern", "storage_choice", "converted"])
        layer.supports_jit = True

    def get_config(self):
        config = {"sparsity": self.sparsity, "capacity": self.capacity, "mask_seed": self.mask_seed}
        config |= {"initial_scale": self.initial_scale, "pattern": self.pattern}
        state = {"method_state": dict(self.method_state)} if self.method_state else {}
        return {**super().get_config(), **config, **state}

    @classmethod
    def from_config(cls, config):
        return super().from_config(renamed(config))
