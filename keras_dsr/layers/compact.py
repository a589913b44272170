"""Compact storage: layers that hold the weights that exist and their positions, and nothing of the size of a kernel."""

import math
import numbers
import warnings
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_dsr.decisions.initial_mask import active_units, check_granularity, check_sparsity
from keras_dsr.decisions.positions import random_positions
from keras_dsr.layers.building import drawn_seed, unlocked
from keras_dsr.layers.drawing import check_draws_each_alone, draw
from keras_dsr.layers.refusing import RefusesVariants
from keras_dsr.placement import Initial
from keras_dsr.products.training import check_backend, is_supported, multiply


class CompactLayer(RefusesVariants):
    """Mixin for a Keras layer that is a product of its inputs with one matrix, whose weights are few.

    The trainable variable is `kernel_values`, of shape `(capacity,)`. Beside it lie `kernel_indices` (int64, of shape
    `(capacity, 2)`: the row and column of each weight in the matrix of `matrix_shape`, in row-major order),
    `kernel_count` (int32 scalar: how many there are; what lies beyond is zero) and `kernel_threshold` (float32 scalar:
    H of DSR). A step, a save and a reallocation take memory in proportion to the capacity. `layer.kernel` makes the
    dense kernel anew each time that it is read.

    Args:
        sparsity: float in [0, 1), the share of weights that are zero; or `{"kernel": 0.99}`. Of `n` places
            `round((1 - sparsity) * n)` have a weight at first, at least one.
        capacity: what the layer has room for, as reallocation may move weights to it from others: a float of at least 1
            is a multiple of the weights that it starts with, an int a number of weights.
        mask_seed: int, where the first weights lie. None draws one from Python's random numbers.
        method_state: what methods keep with the layer; Keras passes it when it loads a model.

    Raises:
        ValueError: a sparsity outside [0, 1) or a capacity below the weights; a kernel that is no matrix; a dtype other
            than float32 or float64; a constraint; an initializer whose values depend on one another.

    Attributes:
        stock_class: the Keras layer class of the same name that `strip` turns the layer into.
    """

    stock_class: ClassVar[type[keras.layers.Layer]]
    initializers: ClassVar[dict[str, str]] = {"kernel": "kernel_initializer"}
    granularity = "element"  # a unit is one weight; "kernel" where other layers of the model have it
    supports_jit = False  # the stock CSR operations are not compiled by XLA

    def __init__(
        self,
        *args,
        sparsity: float | dict[str, float] = 0.9,
        capacity: int | float = 1.5,
        mask_seed: int | None = None,
        method_state: dict[str, str] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.configure(sparsity, capacity, mask_seed, method_state)

    def configure(self, sparsity, capacity, mask_seed: int | None, method_state: dict | None) -> None:
        """Check and keep the arguments that the stock class does not have, and check those that it has."""
        owner = type(self).__name__
        check_backend(owner)
        if isinstance(sparsity, dict):
            if list(sparsity) != ["kernel"]:
                raise ValueError(
                    f"{owner}(sparsity=...) must be a number, or name the kernel alone: in compact storage the bias "
                    f"stays dense. Received: sparsity={sparsity!r}"
                )
            sparsity = sparsity["kernel"]
        self.sparsity = check_sparsity(sparsity, owner)
        self.capacity = _check_capacity(capacity, owner)
        self.mask_seed = drawn_seed(mask_seed)
        self.method_state = dict(method_state or {})
        if self.compute_dtype != self.variable_dtype or self.compute_dtype not in ("float32", "float64"):
            raise ValueError(
                f"{owner} computes in float32 or float64: the sparse product has no other. Use storage='masked' for "
                f"mixed precision. Received: dtype policy {self.dtype_policy.name!r}"
            )
        if self.kernel_constraint is not None:
            raise ValueError(
                f"{owner}(kernel_constraint=...) must be None: Keras would apply it to the list of weights, whose "
                f"shape is not the kernel's. Use `kernel_regularizer`. Received: {self.kernel_constraint!r}"
            )
        check_draws_each_alone(self.kernel_initializer, owner)
        self._check_is_product()

    def _check_is_product(self) -> None:
        """Raise `ValueError` if the layer is no product with one matrix."""

    def _rows_of_matrix(self, shape: tuple[int, ...]) -> int:
        """How many of the kernel's places, of the given shape, are one column of the matrix."""
        return math.prod(shape[:-1])

    def add_weight(self, *args, name=None, shape=None, initializer=None, **kwargs):
        if name != "kernel":
            return super().add_weight(*args, name=name, shape=shape, initializer=initializer, **kwargs)
        self.kernel_shape = tuple(shape)
        places = math.prod(self.kernel_shape)
        rows = self._rows_of_matrix(self.kernel_shape)
        self.matrix_shape = rows, places // rows
        count = active_units(places, self.sparsity)
        size = _capacity_of(self.capacity, count, places, type(self).__name__)
        positions = random_positions(places, count, self.mask_seed)

        def values(_, dtype):
            return ops.pad(draw(initializer, self.kernel_shape, count, dtype), (0, size - count))

        variable = super().add_weight(
            *args, name="kernel_values", shape=(size,), initializer=Initial(values), **{**kwargs, "autocast": False}
        )
        indices = np.stack(np.divmod(positions, self.matrix_shape[1]), axis=1)
        self._add_beside("kernel_indices", (size, 2), np.pad(indices, [(0, size - count), (0, 0)]), "int64")
        self._add_beside("kernel_count", (), np.asarray(count), "int32")
        self._add_beside("kernel_threshold", (), np.zeros(()), "float32")
        for state, dtype in self.method_state.items():
            self._add_beside(f"kernel_{state}", (size,), np.zeros(size), dtype)
        return variable

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
        with unlocked(self):
            self._add_beside(f"kernel_{name}", (size,), np.zeros(size), dtype)
        self.method_state = {**self.method_state, name: dtype}

    @property
    def kernel_values(self) -> keras.Variable:
        """The weights, of shape `(capacity,)`; what lies beyond `kernel_count` is zero."""
        return self._kernel

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

    def product(self, inputs):
        """The product of inputs of shape `(..., rows of the matrix)` with the matrix."""
        flat = ops.reshape(inputs, (-1, self.matrix_shape[0]))
        product = multiply(
            flat,
            self.kernel_values.value,
            self.kernel_indices.value,
            self.kernel_count.value,
            self.matrix_shape,
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
        return [getattr(self, f"kernel_{kind}") for kind in ("indices", "count", "threshold", *self.method_state)]

    @staticmethod
    def forget(layer: keras.layers.Layer) -> None:
        """Leave no trace in a layer that is of its stock class from now on."""
        for kind in ("indices", "count", "threshold", *layer.method_state):
            setattr(layer, f"kernel_{kind}", None)
            delattr(layer, f"kernel_{kind}")
        for name in ("sparsity", "capacity", "mask_seed", "method_state", "kernel_shape", "matrix_shape"):
            delattr(layer, name)

    def save_own_variables(self, store):
        if not self.built:
            return
        count = int(ops.convert_to_numpy(self.kernel_count))
        for name, variable in self._lists.items():
            store[name] = ops.convert_to_numpy(variable)[:count]
        indices = ops.convert_to_numpy(self.kernel_indices)[:count].astype("int32")
        store["kernel_rows"], store["kernel_columns"] = indices[:, 0], indices[:, 1]
        store["kernel_threshold"] = self.kernel_threshold
        if self.bias is not None:
            store["bias"] = self.bias

    def load_own_variables(self, store):
        if not self.built:
            return super().load_own_variables(store)
        entries: dict[str, Any] = {name: store[name] for name in store.keys()}  # noqa: SIM118 (no mapping)
        checked = self._checked(entries)
        own = {*self._lists, "kernel_rows", "kernel_columns", "kernel_threshold", "bias"}
        for name in sorted(set(entries) - own):
            self.add_state(name.removeprefix("kernel_"), str(entries[name].dtype))
        size, count = self.kernel_values.shape[0], len(checked["kernel_values"])
        indices = np.stack([checked["kernel_rows"], checked["kernel_columns"]], axis=1)
        self.kernel_indices.assign(np.pad(indices, [(0, size - count), (0, 0)]).astype("int64"))
        for name, variable in self._lists.items():  # a method that left nothing there begins anew
            given = checked.get(name, np.zeros(count))
            variable.assign(np.pad(given, (0, size - count)).astype(variable.dtype))
        self.kernel_count.assign(count)
        self.kernel_threshold.assign(entries["kernel_threshold"])
        if self.bias is not None:
            self.bias.assign(entries["bias"])

    def _checked(self, entries: dict) -> dict[str, np.ndarray]:
        """The stored lists, or a `ValueError` before anything is assigned."""
        missing = {"kernel_values", "kernel_rows", "kernel_columns", "kernel_threshold"} - set(entries)
        if missing or (self.bias is not None) != ("bias" in entries):
            raise ValueError(
                f"The weights that are loaded into {type(self).__name__} {self.name!r} are not those of a compact "
                f"layer like it: it expects kernel_values, kernel_rows, kernel_columns"
                f"{', bias' if self.bias is not None else ''}. Received: {', '.join(sorted(entries)) or 'nothing'}. "
                "Build the layer with the storage with which it was saved."
            )
        lists = {name: np.asarray(value) for name, value in entries.items() if np.ndim(value) == 1 and name != "bias"}
        positions = lists["kernel_rows"].astype("int64") * self.matrix_shape[1] + lists["kernel_columns"]
        inside = positions.size and positions[0] >= 0 and positions[-1] < math.prod(self.matrix_shape)
        if len({len(value) for value in lists.values()}) > 1 or not inside or (np.diff(positions) <= 0).any():
            raise ValueError(
                f"The positions that are loaded into {type(self).__name__} {self.name!r} are not distinct places of a "
                f"matrix of shape {self.matrix_shape} in increasing order: the file is damaged, or of another layer."
            )
        if len(positions) > self.kernel_values.shape[0]:
            raise ValueError(
                f"{type(self).__name__} {self.name!r} has room for {self.kernel_values.shape[0]:,} weights. Received: "
                f"{len(positions):,} in the file. Build it with a larger capacity, such as capacity={len(positions)}."
            )
        return lists

    def get_config(self):
        config = {"sparsity": self.sparsity, "capacity": self.capacity, "mask_seed": self.mask_seed}
        state = {"method_state": dict(self.method_state)} if self.method_state else {}
        return {**super().get_config(), **config, **state}


@keras.saving.register_keras_serializable(package="keras_dsr")
class CompactDense(CompactLayer, keras.layers.Dense):
    """What `SparseDense(..., storage="compact")` makes: `keras.layers.Dense` in compact storage."""

    stock_class = keras.layers.Dense

    def call(self, inputs, training=None):
        return self._finished(self.product(inputs))


@keras.saving.register_keras_serializable(package="keras_dsr")
class CompactEinsumDense(CompactLayer, keras.layers.EinsumDense):
    """What `SparseEinsumDense(..., storage="compact")` makes, of an equation that is a product with a matrix.

    It sums over the last axes of the inputs, which are the first of the kernel in the same order; the others of the
    kernel are the last of the outputs: `"...a,ab->...b"`, `"abc,cde->abde"`, `"abde,dec->abc"`.
    """

    stock_class = keras.layers.EinsumDense

    def _check_is_product(self) -> None:
        terms, _, outputs = self.equation.replace(" ", "").partition("->")
        inputs, _, kernel = terms.partition(",")
        summed = [axis for axis in kernel if axis in inputs and axis not in outputs]
        self._summed = len(summed)
        kept = inputs[: len(inputs) - len(summed)]
        if kernel[: len(summed)] != "".join(summed) or (kept + "".join(summed), kept + kernel[len(summed) :]) != (
            inputs,
            outputs,
        ):
            raise ValueError(
                "SparseEinsumDense(storage='compact') needs an equation that is a product with a matrix: the last axes "
                "of the inputs are summed over, and are the first of the kernel, as in '...a,ab->...b' or "
                f"'abc,cde->abde'. Use storage='masked' for another. Received: {self.equation!r}"
            )

    def _rows_of_matrix(self, shape):
        return math.prod(shape[: self._summed])

    def call(self, inputs, training=None):
        kept = ops.shape(inputs)[: len(inputs.shape) - self._summed]
        product = self.product(ops.reshape(inputs, (*kept, self.matrix_shape[0])))
        return self._finished(ops.reshape(product, (*kept, *self.kernel_shape[self._summed :])))


@keras.saving.register_keras_serializable(package="keras_dsr")
class CompactConv2D(CompactLayer, keras.layers.Conv2D):
    """What `SparseConv2D(..., storage="compact")` makes, of a window of 1, one group and channels last."""

    stock_class = keras.layers.Conv2D

    def _check_is_product(self) -> None:
        if set(self.kernel_size) != {1} or self.groups != 1 or self.data_format != "channels_last":
            raise ValueError(
                "SparseConv2D(storage='compact') needs a window of 1, one group and channels last: that is a product "
                "with a matrix. Use storage='masked' for another. Received: "
                f"kernel_size={self.kernel_size}, groups={self.groups}, data_format={self.data_format!r}"
            )

    def call(self, inputs):
        strides = (slice(None, None, stride) for stride in self.strides)
        return self._finished(self.product(inputs[(slice(None), *strides)]))


def _check_capacity(capacity: int | float, owner: str) -> int | float:
    """Return the capacity, or raise `ValueError` if it is neither a multiple of at least 1 nor a positive int."""
    is_number = isinstance(capacity, numbers.Real) and not isinstance(capacity, bool)
    if not is_number or not 1 <= capacity < math.inf:
        raise ValueError(
            f"{owner}(capacity=...) must be a float of at least 1, a multiple of the weights that the layer starts "
            f"with, or an int, a number of weights. Received: capacity={capacity!r}"
        )
    return int(capacity) if isinstance(capacity, numbers.Integral) else float(capacity)


def _capacity_of(capacity: int | float, count: int, places: int, owner: str) -> int:
    size = capacity if isinstance(capacity, int) else math.ceil(capacity * count)
    if size < count:
        raise ValueError(
            f"{owner}(capacity=...) must have room for the {count:,} weights that the layer starts with. "
            f"Received: capacity={capacity!r}"
        )
    return min(size, places)


COMPACT_LAYERS: tuple[type[CompactLayer], ...] = (CompactDense, CompactEinsumDense, CompactConv2D)


def check_storage(storage: str, capacity: int | float | None, kind: type[keras.layers.Layer]) -> str:
    """The storage that a sparse layer gets.

    Args:
        storage: as it was asked for.
        capacity: as it was asked for, or None.
        kind: the class of the layer.

    Raises:
        ValueError: no such storage, one that the layer cannot have, or a capacity where there is none.
    """
    if storage not in ("masked", "compact"):
        raise ValueError(
            f"{kind.__name__}(storage=...) must be 'masked' (a dense kernel and a mask) or 'compact' (the weights that "
            f"exist and their positions). Received: storage={storage!r}"
        )
    if storage == "masked" and capacity is not None:
        raise ValueError(
            f"{kind.__name__}(capacity=...) is for storage='compact': a masked layer has room for every place. "
            f"Received: capacity={capacity!r} with storage='masked'"
        )
    if storage == "compact" and kind.stock_class not in {one.stock_class for one in COMPACT_LAYERS}:
        raise ValueError(
            f"{kind.__name__}(storage='compact') does not exist: SparseDense, SparseEinsumDense and SparseConv2D with "
            "a window of 1 are products with a matrix and can be compact. Use storage='masked'."
        )
    if storage == "compact" and not is_supported():
        warnings.warn(
            f"{kind.__name__}(storage='compact') is made with storage='masked': {keras.backend.backend()} has no "
            "sparse product that was measured to be faster. Set KERAS_BACKEND=tensorflow for compact storage.",
            stacklevel=4,
        )
        return "masked"
    return storage


def to_compact(layer: keras.layers.Layer, sparsity, granularity: str, mask_seed: int | None, capacity) -> None:
    """Have a layer that has not been built be of the compact class of its kind."""
    layer.__class__ = next(one for one in COMPACT_LAYERS if one.stock_class is layer.stock_class)
    layer.granularity = check_granularity(granularity, type(layer).__name__)
    layer.configure(sparsity, 1.5 if capacity is None else capacity, mask_seed, None)
