"""One sparse weight of a layer: how it is read, what the layer holds for it, and what Keras applies to it."""

from collections.abc import Callable

import keras
from keras import ops

from keras_dsr.layers.passed_back import GRADIENT, TRAINED
from keras_dsr.ops.masking import mask_weights


def as_seen(layer, role: str, weight):
    """A sparse weight of a layer as the network sees it, from the variable or a tensor of what it holds."""
    weight, mask = ops.convert_to_tensor(weight), ops.convert_to_tensor(layer.mask_of(role))
    passed_back = layer.passed_back.get(role)
    return mask_weights(weight, mask) if passed_back is None else passed_back.masked(weight, mask)


class MaskedWeight:
    """Descriptor of a layer's weight: reads it with 0 at every pruned position, whatever the variable holds there.

    Args:
        role: string, the attribute, such as `"kernel"`.
        stock: what the stock class has under that name: a property over `_<role>` (as in `Dense`), or None if it
            assigns the variable to the attribute itself (as the recurrent cells do).
    """

    def __init__(self, role: str, stock: property | None):
        self._role = role
        self._stock = stock

    def __get__(self, layer, owner=None):
        if layer is None:
            return self
        if self._role in vars(layer).get("_read", ()):
            return layer._read[self._role]
        if self._stock is None and self._role not in vars(layer):  # Keras looks for attributes before they are there
            raise AttributeError(f"{type(layer).__name__!r} has no {self._role!r} before it is built")
        value = vars(layer)[self._role] if self._stock is None else self._stock.__get__(layer, owner)
        if value is None or self._role not in layer.sparse_roles:
            return value
        return as_seen(layer, self._role, value)

    def __set__(self, layer, value):
        vars(layer)[self._role] = value

    def variable(self, layer) -> keras.Variable | None:
        """The raw variable; None if the layer has none, or is not built."""
        return vars(layer).get(self._role if self._stock is None else f"_{self._role}")


class HeldByLayer:
    """A sparse weight, and what its layer holds for it: its mask, H, and the record of both."""

    def __init__(self, layer, role: str):
        self._layer = layer
        self._role = role
        self.variable = layer.variable_of(role)
        self.mask = layer.mask_of(role)
        self.threshold = getattr(layer, f"{role}_threshold")
        self.record = getattr(layer, f"{role}_record")
        self.units = layer.units_of_role(role)

    @property
    def state(self) -> dict[str, keras.Variable]:
        """What methods keep for each weight, by name."""
        names = [name for name in self._layer.method_state if name not in (GRADIENT, TRAINED)]
        return {name: getattr(self._layer, f"{self._role}_{name}") for name in names}

    @property
    def gradient(self) -> keras.Variable | None:
        """The running mean of its dense gradient; None if none is kept."""
        if GRADIENT not in self._layer.method_state:
            return None
        self._layer.passed_back[self._role].settle()
        return getattr(self._layer, f"{self._role}_{GRADIENT}")


class OfActiveWeights:
    """A regularizer or a constraint of what the network sees of a sparse weight."""

    def __init__(self, layer, role: str, of: Callable):
        self._layer = layer
        self._role = role
        self.of = of

    def __call__(self, weight):
        return self.of(as_seen(self._layer, self._role, weight))

    @classmethod
    def wrap(cls, layer, role: str, variable: keras.Variable) -> None:
        """Have Keras apply the regularizer and the constraint of a variable to the active weights in it."""
        if variable.regularizer is not None:
            variable.regularizer = cls(layer, role, variable.regularizer)
        # JAX has the optimizer apply constraints where the mask would be the constant that it was at the first trace.
        if variable.constraint is not None and keras.backend.backend() != "jax":
            variable.constraint = cls(layer, role, variable.constraint)

    @classmethod
    def unwrap(cls, variable: keras.Variable) -> None:
        """Undo `wrap`."""
        for name in ("regularizer", "constraint"):
            function = getattr(variable, name)
            if isinstance(function, cls):
                setattr(variable, name, function.of)
