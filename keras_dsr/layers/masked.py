"""The masked kernel: a mixin that gives a stock Keras layer a kernel with an exact number of non-zero weights."""

import contextlib
import contextvars
import random
from collections.abc import Iterable, Iterator

import keras
import numpy as np
from keras import ops

from keras_dsr.decisions.initial_mask import check_granularity, check_sparsity, random_mask
from keras_dsr.decisions.units import mask_gradient, mask_weights

_clean_layers: contextvars.ContextVar[frozenset[int]] = contextvars.ContextVar("clean_layers", default=frozenset())


class MaskedKernel:
    """Mixin for a Keras layer whose `kernel` is a property over `_kernel`, as in `Dense` and the convolutions.

    The layer stores a dense `_kernel`, and two variables that are saved with it: `kernel_mask` (bool, true where a
    weight is active) and `kernel_threshold` (float32 scalar: H of DSR; 0 until a method sets it). A method that keeps
    something for each weight has it in further variables of the kernel's shape (see `add_state`). `layer.kernel` is the
    kernel with every dead weight at exactly 0, whatever `_kernel` holds there, and it is all that the network and
    saved files ever see.

    Attributes:
        stock_class: The Keras layer class of the same name that `strip` turns the layer into.
    """

    stock_class: type[keras.layers.Layer]

    def __init__(
        self,
        *args,
        sparsity: float = 0.9,
        granularity: str = "element",
        seed: int | None = None,
        kernel_state: dict[str, str] | None = None,
        **kwargs,
    ) -> None:
        sparsity = check_sparsity(sparsity, type(self).__name__)
        granularity = check_granularity(granularity, type(self).__name__)
        super().__init__(*args, **kwargs)
        self.sparsity = sparsity
        self.granularity = granularity
        self.seed = random.randint(1, 10**9) if seed is None else seed
        self.kernel_state = dict(kernel_state or {})

    @property
    def unit_axes(self) -> tuple[int, ...]:
        """The axes of the kernel that one unit spans."""
        window = getattr(self, "kernel_size", ())
        is_slice = self.granularity == "kernel" and any(size > 1 for size in window)
        return tuple(range(len(window))) if is_slice else ()

    def add_weight(self, *args, name=None, shape=None, initializer=None, **kwargs):
        if name != "kernel":
            return super().add_weight(*args, name=name, shape=shape, initializer=initializer, **kwargs)
        mask = random_mask(shape, self.sparsity, self.unit_axes, self.seed)
        dense_initializer = keras.initializers.get(initializer or "glorot_uniform")

        # Both start as they should be: an assignment after creation is lost where Keras builds in a traced scope.
        def masked_initializer(shape, dtype=None):
            return mask_weights(dense_initializer(shape, dtype=dtype), mask)

        regularizer = kwargs.pop("regularizer", None)
        kernel = super().add_weight(*args, name=name, shape=shape, initializer=masked_initializer, **kwargs)
        self.kernel_mask = super().add_weight(
            name="kernel_mask",
            shape=shape,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(mask, dtype=dtype),
            dtype="bool",
            trainable=False,
            autocast=False,
        )
        self.kernel_threshold = super().add_weight(
            name="kernel_threshold", shape=(), initializer="zeros", dtype="float32", trainable=False, autocast=False
        )
        for state, dtype in self.kernel_state.items():
            self._add_state_variable(state, shape, dtype)
        self.regularize(kernel, regularizer)
        return kernel

    def add_state(self, name: str, dtype: str) -> keras.Variable:
        """Give the built layer a variable `kernel_<name>` of the kernel's shape, for a method; zeros at first.

        The layer's config announces it, so that a model that is loaded has it too.

        Raises:
            ValueError: the layer has something of that name.
        """
        if hasattr(self, f"kernel_{name}"):
            raise ValueError(
                f"A method cannot keep {name!r} with the layers: {type(self).__name__} has a `kernel_{name}` of its "
                "own. Give the list another name."
            )
        self._tracker.unlock()
        variable = self._add_state_variable(name, tuple(self._kernel.shape), dtype)
        self._tracker.lock()
        self.kernel_state = {**self.kernel_state, name: dtype}
        return variable

    def _add_state_variable(self, name: str, shape, dtype: str) -> keras.Variable:
        variable = super().add_weight(
            name=f"kernel_{name}", shape=shape, initializer="zeros", dtype=dtype, trainable=False, autocast=False
        )
        setattr(self, f"kernel_{name}", variable)
        return variable

    @property
    def state_variables(self) -> dict[str, keras.Variable]:
        """What the layer has beside the variables of its stock class, by attribute name."""
        names = ["kernel_mask", "kernel_threshold", *(f"kernel_{name}" for name in self.kernel_state)]
        return {name: getattr(self, name) for name in names}

    def regularize(self, kernel, regularizer) -> None:
        """Have Keras apply a regularizer to what the network sees of the kernel, not to what dead places hold."""

        def of_active_weights(weight):
            return regularizer(weight if self._is_clean else mask_weights(ops.convert_to_tensor(weight), self._mask()))

        kernel.regularizer = None if regularizer is None else of_active_weights

    @property
    def kernel(self):
        kernel = ops.convert_to_tensor(super().kernel)
        return (mask_gradient if self._is_clean else mask_weights)(kernel, self._mask())

    @property
    def _is_clean(self) -> bool:
        return id(self) in _clean_layers.get()

    def _mask(self):
        return ops.convert_to_tensor(self.kernel_mask)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        if self.built:
            for name, variable in self.state_variables.items():
                store[name] = variable

    def load_own_variables(self, store):
        if self.built:
            store = {name: store[name] for name in store.keys()}  # noqa: SIM118 (no mapping)
            for name in sorted(store):  # weights of a model that a method has used bring its state along
                if name.startswith("kernel_") and name not in self.state_variables:
                    self.add_state(name.removeprefix("kernel_"), str(store[name].dtype))
            for name, dtype in self.kernel_state.items():  # others have none of it: the method begins anew
                store.setdefault(f"kernel_{name}", np.zeros(tuple(self._kernel.shape), dtype))
        super().load_own_variables(store)
        if self.built:
            for name, variable in self.state_variables.items():
                variable.assign(store[name])

    def get_config(self):
        config = super().get_config()
        config = {**config, "sparsity": self.sparsity, "granularity": self.granularity, "seed": self.seed}
        return {**config, "kernel_state": dict(self.kernel_state)} if self.kernel_state else config


@contextlib.contextmanager
def reading_clean_kernels(layers: Iterable[MaskedKernel]) -> Iterator[None]:
    """Inside the block, `layer.kernel` of these layers skips the mask in the forward pass: the caller vouches for it.

    Masking in both passes costs a small network some 10% of a step. It is needed in one only as long as the stored dead
    weights are zero: with no gradient they stay so (see `seam.training`).
    """
    token = _clean_layers.set(frozenset(map(id, layers)))
    try:
        yield
    finally:
        _clean_layers.reset(token)
