"""Who holds a layer or a variable: models and optimizers that nothing in Keras leads to from there."""

from collections.abc import Iterable

import keras

from keras_dsr.backend.keras_layers import has_layers, walk
from keras_dsr.backend.keras_slots import innermost_optimizers
from keras_dsr.backend.live_objects import alive


def layers_alive() -> list[keras.layers.Layer]:
    """Every layer that is alive, models among them, but for one that is just being made."""
    return [layer for layer in alive(keras.layers.Layer) if has_layers(layer)]


def models_holding(layers: Iterable[keras.layers.Layer]) -> list[keras.Model]:
    """Every model that is alive and has one of these layers in it, at any depth, or is one of them."""
    wanted = set(map(id, layers))
    models = [model for model in alive(keras.Model) if has_layers(model)]  # not one that is just being made
    return [model for model in models if any(id(layer) in wanted for layer, _ in walk(model))]


def optimizers_alive() -> list[keras.optimizers.Optimizer]:
    """Every optimizer that is alive, but for those inside another one."""
    # Not what is left of one whose construction was refused.
    optimizers = [one for one in alive(keras.optimizers.Optimizer) if hasattr(one, "_trainable_variables")]
    inner = {id(part) for optimizer in optimizers for part in _parts(optimizer)}
    return [optimizer for optimizer in optimizers if id(optimizer) not in inner]


def own_optimizers(model: keras.Model) -> dict[str, keras.optimizers.Optimizer]:
    """The optimizers that a model has beside the one that it is compiled with, by attribute."""
    compiled_with = getattr(model, "optimizer", None)
    return {
        name: value
        for name, value in vars(model).items()
        if isinstance(value, keras.optimizers.Optimizer) and value is not compiled_with
    }


def holds(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> bool:
    """Whether a variable is among those that an optimizer was built for."""
    return any(known is variable for part in innermost_optimizers(optimizer) for known in part._trainable_variables)


def _parts(optimizer: keras.optimizers.Optimizer) -> list[keras.optimizers.Optimizer]:
    inner = getattr(optimizer, "inner_optimizer", None)
    return [inner] if inner is not None else list(getattr(optimizer, "optimizers", ()))
