"""A selection that is saved with an optimizer: which of the variables that it trains are meant."""

from collections.abc import Iterable, Mapping

import keras

from keras_dsr.selectors.candidates import Candidate
from keras_dsr.selectors.language import (
    KERNEL_NAMES,
    Selector,
    check_matched,
    checked_selectors,
    left_dense_by_default,
    matches,
)

_BY_DEFAULT = {"by_default": True}


class Selection:
    """What an argument of `owner` selects: selectors, or what is sparse by default.

    Args:
        given: selectors; None: what is sparse by default.
        owner, argument: who was given it, and as what, for messages.

    Raises:
        ValueError: it is no selector.
    """

    def __init__(self, given: Selector | Iterable[Selector] | None, owner: str, argument: str):
        self.given = given
        self._owner, self._argument = owner, argument
        self._selectors = None if given is None else checked_selectors(given, owner, argument)

    def variables(self, found: Iterable[Candidate]) -> list[keras.Variable]:
        """The variables that are meant, in their order."""
        if self._selectors is None:
            return [one.variable for one in found if left_dense_by_default(one) is None]
        return [one.variable for one in found if any(matches(selector, one) for selector in self._selectors)]

    def checked_variables(self, found: list[Candidate]) -> list[keras.Variable]:
        """As `variables`; raises `ValueError` if a selector matches none, or none is meant."""
        for selector in self._selectors or ():
            check_matched(selector, found, self._owner, self._argument)
        chosen = self.variables(found)
        if not chosen:
            names = ", ".join(repr(one.name) for one in found[:8]) + (", ..." if len(found) > 8 else "")
            raise ValueError(
                f"{self._owner}({self._argument}=...) selects no trainable variable. Received: "
                f"{self._argument}={self.given!r}; there are {names}. None means all kernels; name what is to be "
                f"sparse with {self._argument}=."
            )
        return chosen

    def config(self) -> str | dict | list:
        """The selection as JSON: a layer by its name, a class by the name that Keras knows it by."""
        if self._selectors is None:
            return _BY_DEFAULT
        configs = [_selector_config(selector) for selector in self._selectors]
        return configs if isinstance(self.given, (list, tuple)) else configs[0]


def selection_from_config(config, custom_objects: Mapping | None = None) -> Selector | list[Selector] | None:
    """What was given to a `Selection`, from its config.

    Raises:
        ValueError: layers of a class that Keras does not know.
    """
    if config is None:  # what version 0.1.0 wrote for all kernels, which it knew by their names
        return is_kernel_by_name
    if config == _BY_DEFAULT:
        return None
    if isinstance(config, (list, tuple)):
        return [_selector_from_config(one, custom_objects) for one in config]
    return _selector_from_config(config, custom_objects)


@keras.saving.register_keras_serializable("keras_dsr")
def is_kernel_by_name(variable: keras.Variable) -> bool:
    """What version 0.1.0 made sparse by default: kernels by the last part of their path, and not depthwise by shape."""
    shape = tuple(variable.shape)
    is_depthwise = len(shape) >= 3 and shape[-1] == 1
    return variable.path.split("/")[-1] in KERNEL_NAMES and len(shape) >= 2 and not is_depthwise


def _selector_config(selector: Selector) -> str | dict:
    if isinstance(selector, str):
        return selector
    if isinstance(selector, keras.layers.Layer):
        return selector.name
    if isinstance(selector, type):
        return {"layers_of_class": keras.saving.get_registered_name(selector)}
    return keras.saving.serialize_keras_object(selector)


def _selector_from_config(config: str | dict, custom_objects: Mapping | None) -> Selector:
    if isinstance(config, str):
        return config
    name = config.get("layers_of_class")
    if name is None:
        return keras.saving.deserialize_keras_object(config, custom_objects=custom_objects)
    kind = keras.saving.get_registered_object(name, custom_objects) or getattr(keras.layers, name, None)
    if kind is None:
        raise ValueError(
            f"Layers are selected by the class {name!r}, which is not registered. Register it with "
            "`@keras.saving.register_keras_serializable()`, or load with custom_objects=."
        )
    return kind
