"""Which weights of a model could be sparse, and why the others cannot."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras

from keras_dsr.backend.keras_layers import own_trainable_variables, walk
from keras_dsr.layers import CompactLayer, MaskedLayer, TiedKernel
from keras_dsr.layers.registry import SPARSE_CLASS_OF, SPARSE_CONTAINER_OF


class Candidate(NamedTuple):
    """A trainable weight of a model.

    Attributes:
        layer: the layer that it belongs to; None for a variable of which none is known.
        role: string, what it is in the layer, such as `"kernel"`.
        variable: its Keras variable.
        owners: the layers that the layer lies in, from the model on.
        obstacle: string, why no sparse layer can hold it; None: one can.
    """

    layer: keras.layers.Layer | None
    role: str
    variable: keras.Variable
    owners: tuple[keras.layers.Layer, ...]
    obstacle: str | None

    @property
    def name(self) -> str:
        """The path of the variable, such as `"dense/kernel"`."""
        return self.variable.path

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the dense tensor."""
        return tuple(self.variable.shape)

    @property
    def size(self) -> int:
        """The number of positions of the dense tensor."""
        return math.prod(self.shape)


def candidates(model: keras.layers.Layer) -> list[Candidate]:
    """Every weight of a built model that is trained (or frozen for now), in the order of the model, each once."""
    found, seen = [], set()
    for layer, owners in walk(model):
        weights = [variable for variable in own_trainable_variables(layer) if id(variable) not in seen]
        seen.update(map(id, weights))
        if not weights:
            continue
        roles = _roles(layer)
        obstacle = _obstacle(layer, owners)
        for variable in weights:
            role = roles.get(id(variable))
            unknown = f"{type(layer).__name__} has no sparse form of it"
            found.append(
                Candidate(layer, role or variable.name, variable, owners, obstacle or (None if role else unknown))
            )
    return found


def candidates_among(variables: Sequence[keras.Variable], layers: Sequence[keras.layers.Layer]) -> list[Candidate]:
    """What is known of variables that come without their model: the layers that hold them.

    Args:
        variables: those that an optimizer is built for. If a model has all of them, it is that model that names its
            layers; of several the one with the fewest others.
        layers: all that are alive, models among them.
    """
    wanted = {id(variable) for variable in variables}
    holding = []
    for model in layers:
        own = candidates(model) if isinstance(model, keras.Model) else []
        known = {id(one.variable): one for one in own if id(one.variable) in wanted}
        if known:
            holding.append((-len(known), len(own), known))
    known = {}
    for *_, of_model in sorted(holding, key=lambda found: found[:2]):
        known = {**of_model, **known}
    missing = {id(variable) for variable in variables} - set(known)
    for layer in layers if missing else ():
        own = candidates(layer)
        known |= {id(one.variable): one for one in own if id(one.variable) in missing and id(one.variable) not in known}
    return [
        known.get(id(variable), Candidate(None, variable.path.split("/")[-1], variable, (), "no layer is known"))
        for variable in variables
    ]


def unbuilt_layers(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers of a model that will have weights that could be sparse, but have none yet."""
    kinds = {*SPARSE_CLASS_OF, *SPARSE_CONTAINER_OF}
    return [layer for layer, _ in walk(model) if type(layer) in kinds and not layer.built]


def _roles(layer) -> dict[int, str]:
    """The weights of a layer that can be sparse, by the identity of their variables."""
    sparse_class = SPARSE_CLASS_OF.get(type(layer))
    if sparse_class is None:
        return {}
    variables = {role: getattr(sparse_class, role).variable(layer) for role in sparse_class.initializers}
    return {id(variable): role for role, variable in variables.items() if variable is not None}


def _obstacle(layer, owners) -> str | None:
    """Why no weight of a layer can be made sparse; None: nothing speaks against it."""
    kind = type(layer)
    if any(isinstance(one, keras.layers.SpectralNormalization) for one in (layer, *owners)):
        return "SpectralNormalization writes the kernel itself"
    if isinstance(layer, (MaskedLayer, CompactLayer)):
        return "the layer is sparse already"
    if isinstance(layer, TiedKernel):
        return "its kernel shares the values of a bank (HashedNet)"
    if kind not in SPARSE_CLASS_OF:
        stock = next((parent.__name__ for parent in kind.__mro__ if parent in SPARSE_CLASS_OF), None)
        return f"no sparse class for {kind.__name__}" + (f", a subclass of {stock}" if stock else "")
    if getattr(layer, "quantization_mode", None) is not None:
        return f"the layer is quantized ({layer.quantization_mode})"
    if getattr(layer, "lora_enabled", False):
        return "the layer has LoRA weights"
    return None
