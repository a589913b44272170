"""Masked weights: a mixin that gives a stock Keras layer weights with an exact number of non-zero entries."""

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_dsr.arguments import check_state, drawn_seed
from keras_dsr.backend.distribution import Initial, layout_beside, strategy_of
from keras_dsr.backend.keras_layers import track, unlocked
from keras_dsr.backend.keras_variants import RefusesVariants
from keras_dsr.layers.einsum import initializer_of
from keras_dsr.layers.in_place import SwappedInPlace
from keras_dsr.layers.initial_scale import check_initial_scale, scale_factor, scaled
from keras_dsr.layers.masked_weight import HeldByLayer, MaskedWeight, OfActiveWeights
from keras_dsr.layers.passed_back import GRADIENT, TRAINED, PassedBack
from keras_dsr.layers.record import RECORD_SHAPE, Record
from keras_dsr.layers.registry import SPARSE_CLASS_OF, enter
from keras_dsr.layers.saved_with_masks import SavedWithMasks
from keras_dsr.layers.units_by_pattern import renamed, units_of
from keras_dsr.ops.initial_masks import check_sparsity, random_mask
from keras_dsr.ops.masking import mask_weights
from keras_dsr.ops.patterns import Pattern, check_fits, check_pattern
from keras_dsr.ops.units import Units

Sparsity = float | dict[str, float]
OWN_STATE = ("mask", "threshold", "record")  # what the layer holds beside each sparse weight, whatever the method


class MaskedLayer(RefusesVariants, SwappedInPlace, SavedWithMasks):
    """Mixin for a Keras layer some of whose weights are sparse.

    For each sparse weight, such as `kernel`, the layer stores the dense variable, and beside it variables that are
    saved with it: `kernel_mask` (bool, true where a weight is active), `kernel_threshold` (float32 scalar: H of DSR; 0
    until a method sets it) and `kernel_record` (see `layers.record`). A method that keeps something for each weight has
    it in further variables of the weight's shape (see `add_state`). `layer.kernel` is the weight with every pruned
    position at exactly 0, and it is all that the network and saved files ever see.

    Args:
        sparsity: float in [0, 1), the fraction of weights that are zero in every sparse weight (every one in
            `initializers` but biases); or a dict from their names to such numbers: then the others stay dense. Of `n`
            units, `round((1 - sparsity) * n)` are active, at least one, and that number does not change in training.
        pattern: what is pruned and grown as a whole. `"element"`: single weights. `"kernel"`: slices of a convolution
            (one window of one input and one output channel). A pair, such as `(4, 1)`: blocks of 4 neighbouring inputs
            by 1 output, in convolutions at each tap of the window; blocks at the end of an axis may be smaller.
            `"N:M"`, such as `"2:4"`: single weights, of every M neighbouring inputs N. `"fan_in"`: single weights, as
            many in each output.
        mask_seed: int, where the first active weights lie. None draws one from Python's random numbers, which
            `keras.utils.set_random_seed` fixes.
        method_state: what methods keep with the layer (see `add_state`); Keras passes it when it loads a model.
        initial_scale: `"dense"`: first weights are what the initializers draw for a dense layer. `"active"`: they have
            the variance that the initializers promise for the active fan, the dense one times the density; so have
            those that a method grows from the initializers. It changes what is drawn by initializers that scale by
            fans: `VarianceScaling`, those of Glorot, He and LeCun, and `Orthogonal`.

    Raises:
        ValueError: a sparsity outside [0, 1) or of no weight of the layer, an unknown pattern or initial scale.

    Attributes:
        stock_class: The Keras layer class of the same name that `strip` turns the layer into.
        initializers: The weights that can be sparse, by attribute name, each with the attribute of its initializer.
    """

    why_not = "what it would store is not the sparse network"
    stock_class: ClassVar[type[keras.layers.Layer]]
    initializers: ClassVar[dict[str, str]] = {"kernel": "kernel_initializer", "bias": "bias_initializer"}

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        enter(SPARSE_CLASS_OF, cls)
        for role in cls.initializers if hasattr(cls, "stock_class") else ():
            setattr(cls, role, MaskedWeight(role, getattr(cls.stock_class, role, None)))

    def __init__(
        self,
        *args,
        sparsity: Sparsity = 0.9,
        pattern: Pattern = "element",
        mask_seed: int | None = None,
        method_state: dict[str, str] | None = None,
        initial_scale: str = "dense",
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.configure(sparsity, pattern, mask_seed, method_state, initial_scale)

    def configure(
        self,
        sparsity: Sparsity,
        pattern: Pattern,
        mask_seed: int | None,
        method_state: dict | None,
        initial_scale: str,
    ) -> None:
        """Check and keep the arguments that the stock class does not have."""
        if getattr(self, "lora_rank", None):
            self.enable_lora(self.lora_rank)
        if getattr(self, "quantization_mode", None):
            self.refuse_quantization()
        self.sparsity = self.check_sparsity(sparsity)
        self.pattern = check_pattern(pattern, type(self).__name__)
        check_fits(self.pattern, self.sparsity, type(self).__name__)
        self.mask_seed = drawn_seed(mask_seed, type(self).__name__)
        self.method_state = check_state(method_state, type(self).__name__, "method_state")
        self.initial_scale = check_initial_scale(initial_scale, type(self).__name__)

    @classmethod
    def check_sparsity(cls, sparsity: Sparsity) -> Sparsity:
        """Return the sparsity with floats in it, or raise `ValueError`."""
        if not isinstance(sparsity, dict):
            return check_sparsity(sparsity, cls.__name__)
        unknown = [role for role in sparsity if role not in cls.initializers]
        if unknown:
            raise ValueError(
                f"{cls.__name__}(sparsity=...) must name weights of the layer that can be sparse, of "
                f"{', '.join(map(repr, cls.initializers))}. Received: {unknown[0]!r} in sparsity={sparsity!r}"
            )
        return {role: check_sparsity(value, cls.__name__) for role, value in sparsity.items()}

    @property
    def sparse_roles(self) -> list[str]:
        """The weights of the built layer that are sparse, by attribute name."""
        return [role for role in self.initializers if f"{role}_mask" in vars(self)]

    def mask_of(self, role: str) -> keras.Variable:
        """The mask of a sparse weight."""
        return getattr(self, f"{role}_mask")

    def variable_of(self, role: str) -> keras.Variable:
        """The variable of a weight that can be sparse; pruned positions may hold anything."""
        return getattr(type(self), role).variable(self)

    @property
    def passed_back(self) -> dict[str, PassedBack]:
        """Of each sparse weight what passes back to it, if a method wants more than the gradient of active weights."""
        return vars(self).get("_passed_back", {})

    def held(self, role: str) -> HeldByLayer:
        """A sparse weight with all that the layer holds for it."""
        return HeldByLayer(self, role)

    def scale_factor_of(self, role: str) -> float:
        """What the draws for a sparse weight are multiplied by, at the density that it had at first."""
        shape = tuple(self.variable_of(role).shape)
        units = self.units_of_role(role)
        count = units.count(shape)
        density = units.number_at(count, self._sparsity_of(role) or 0.0) / count
        initializer = initializer_of(self, self.initializers[role])
        return scale_factor(self.initial_scale, initializer, shape, density)

    def units_of_role(self, role: str = "kernel", shape: tuple[int, ...] | None = None) -> Units:
        """What a weight is made of; `shape`: of one that does not exist yet."""
        return units_of(self, role, tuple(self.variable_of(role).shape) if shape is None else shape, self.pattern)

    def add_weight(self, *args, name=None, shape=None, initializer=None, **kwargs):
        sparsity = self._sparsity_of(name)
        if sparsity is None:
            return super().add_weight(*args, name=name, shape=shape, initializer=initializer, **kwargs)
        units = self.units_of_role(name, tuple(shape))
        index = list(self.initializers).index(name)
        seed = [self.mask_seed, index] if index else self.mask_seed
        mask = random_mask(shape, units.number_at(units.count(shape), sparsity), units, seed)
        dense_initializer = keras.initializers.get(initializer or "glorot_uniform")

        # Both start as they should be: an assignment after creation is lost where Keras builds in a traced scope.
        factor = scale_factor(self.initial_scale, dense_initializer, shape, float(mask.mean()))

        def first_weights(shape, dtype):
            return mask_weights(scaled(dense_initializer(shape, dtype=dtype), factor), mask)

        variable = super().add_weight(*args, name=name, shape=shape, initializer=Initial(first_weights), **kwargs)
        self._add_mask(name, variable, mask)
        OfActiveWeights.wrap(self, name, variable)
        return variable

    def _sparsity_of(self, role: str | None) -> float | None:
        """The sparsity that a weight is to be built with; None: it is to be dense."""
        if isinstance(self.sparsity, dict):
            return self.sparsity.get(role or "")
        return self.sparsity if role in _roles_by_default(self) else None

    def _add_mask(self, role: str, weight: keras.Variable, mask: np.ndarray) -> None:
        given = Initial(lambda shape, dtype: ops.convert_to_tensor(mask, dtype=dtype))
        self._add_beside(weight, f"{role}_mask", mask.shape, given, "bool")
        self._add_beside(weight, f"{role}_threshold", (), "zeros", "float32")
        begun = Record.begun(mask, self.units_of_role(role, mask.shape)).array()
        record = Initial(lambda shape, dtype: ops.convert_to_tensor(begun, dtype=dtype))
        self._add_beside(weight, f"{role}_record", RECORD_SHAPE, record, "int32")
        for name, dtype in self.method_state.items():
            self._add_state_of(role, weight, name, dtype)

    def _add_beside(
        self, weight: keras.Variable, name: str, shape: tuple[int, ...], initializer, dtype: str
    ) -> keras.Variable:
        """Add a variable as `add_weight` would, which has no argument for where it lies: where the weight does."""
        with strategy_of(weight), keras.name_scope(self.name, caller=self):
            variable = keras.Variable(
                keras.initializers.get(initializer),
                shape=shape,
                dtype=dtype,
                trainable=False,
                autocast=False,
                layout=layout_beside(weight, shape),
                name=name,
            )
        track(self, variable)
        setattr(self, name, variable)
        return variable

    def add_state(self, name: str, dtype: str) -> None:
        """Give the built layer, for each sparse weight, a variable `<weight>_<name>` of its shape; zeros at first.

        It is for a method. The layer's config announces it, so that a model that is loaded has it too.

        Raises:
            ValueError: the layer has something of that name.
        """
        taken = [f"{role}_{name}" for role in self.sparse_roles if hasattr(self, f"{role}_{name}")]
        if taken:
            raise ValueError(
                f"A method cannot keep {name!r} with the layers: {type(self).__name__} has a `{taken[0]}` of its own. "
                "Give the list another name."
            )
        with unlocked(self):
            for role in self.sparse_roles:
                self._add_state_of(role, self.variable_of(role), name, dtype)
        self.method_state = {**self.method_state, name: dtype}

    def _add_state_of(self, role: str, weight: keras.Variable, name: str, dtype: str) -> None:
        variable = self._add_beside(weight, f"{role}_{name}", tuple(weight.shape), "zeros", dtype)
        if name in (GRADIENT, TRAINED):
            vars(self).setdefault("_passed_back", {})  # not by setattr: Keras tracks what is set
            self.passed_back.setdefault(role, PassedBack()).add(name, variable)

    @property
    def state_variables(self) -> dict[str, keras.Variable]:
        """What the layer has beside the variables of its stock class, by attribute name."""
        kinds = (*OWN_STATE, *self.method_state)
        return {f"{role}_{kind}": getattr(self, f"{role}_{kind}") for role in self.sparse_roles for kind in kinds}

    @contextlib.contextmanager
    def reading_once(self) -> Iterator[None]:
        """Inside the block each sparse weight is masked once and then read as that tensor: for loops over time."""
        with self._reading({role: getattr(self, role) for role in self.sparse_roles}):
            yield

    @contextlib.contextmanager
    def _reading(self, weights: dict[str, Any]) -> Iterator[None]:
        """Inside the block the attributes of these weights are what is given."""
        vars(self)["_read"] = weights
        try:
            yield
        finally:
            del vars(self)["_read"]

    def sparse_config(self) -> dict:
        """The part of the config that is not the stock layer's."""
        sparsity = dict(self.sparsity) if isinstance(self.sparsity, dict) else self.sparsity
        config = {"sparsity": sparsity, "pattern": self.pattern, "mask_seed": self.mask_seed}
        config |= {"initial_scale": self.initial_scale}
        return {**config, "method_state": dict(self.method_state)} if self.method_state else config

    def get_config(self):
        return {**super().get_config(), **self.sparse_config()}

    @classmethod
    def from_config(cls, config):
        return super().from_config(renamed(config))


def _roles_by_default(layer: MaskedLayer) -> list[str]:
    return [role for role in layer.initializers if role != "bias"]
