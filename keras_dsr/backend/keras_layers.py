"""What layers hold: the layers in them, their variables, and how those are added, replaced and left out."""

import contextlib
from collections.abc import Iterable, Iterator

import keras
from keras.src.initializers import random_initializers


@contextlib.contextmanager
def unlocked(layer: keras.layers.Layer) -> Iterator[None]:
    """Inside the block variables can be added to, and taken from, a built layer."""
    layer._tracker.unlock()
    try:
        yield
    finally:
        layer._tracker.lock()


def remove_attributes(layer: keras.layers.Layer, names: Iterable[str]) -> None:
    """Delete attributes of a layer, and what Keras on TensorFlow remembers of them to look for in a SavedModel."""
    names = [name for name in names if name in vars(layer)]
    for name in names:
        setattr(layer, name, None)  # deleting a variable itself would collect garbage once for each
        delattr(layer, name)
    if hasattr(layer, "_tracked"):
        layer._tracked[:] = [name for name in layer._tracked if name not in names]


def fans(shape: tuple[int, ...], input_axes=None, output_axes=None) -> tuple[int, int]:
    """The number of inputs and of outputs of a unit, as Keras's initializers count them."""
    return random_initializers.compute_fans(shape, input_axes, output_axes)


def own_trainable_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """The variables that a layer itself made to be trained, frozen or not, without those of the layers in it."""
    return layer._trainable_variables


def has_layers(layer: keras.layers.Layer) -> bool:
    """Whether it is known which layers lie in a layer: not while it is being made."""
    return hasattr(layer, "_layers")


def kernel_of(layer: keras.layers.Layer) -> keras.Variable:
    """The variable that a layer of Keras reads as its kernel, which is more than that where it has LoRA weights."""
    return layer._kernel


def naming(layer: keras.layers.Layer) -> contextlib.AbstractContextManager:
    """Inside the block variables are named as those that the layer makes when it is built."""
    return layer._open_name_scope()


def track(layer: keras.layers.Layer, variable: keras.Variable) -> None:
    """Have a layer count a variable among its own."""
    layer._track_variable(variable)


def untrack(layer: keras.layers.Layer, variables: Iterable[keras.Variable]) -> None:
    """Have a layer, which must be unlocked, not count these variables among its own any more."""
    for variable in variables:
        layer._tracker.untrack(variable)


def track_not_trainable(layer: keras.layers.Layer, variables: Iterable[keras.Variable]) -> None:
    """Have a layer, which must be unlocked, count these variables among those that are not trained."""
    for variable in variables:
        layer._tracker.add_to_store("non_trainable_variables", variable)


# The layers in which attention keeps its projections, by what they project.
ATTENTION_PROJECTIONS = {
    "query": "_query_dense",
    "key": "_key_dense",
    "value": "_value_dense",
    "gate": "_gate_dense",
    "attention_output": "_output_dense",
}


def replace_kernel(layer, variable: keras.Variable) -> None:
    """Have a variable take the kernel's place: in the attribute, and in the layer's list, whose order files follow."""
    replaced = layer._kernel
    layer._tracker.replace_tracked_value("trainable_variables", replaced, variable)
    layer._post_untrack_variable(replaced)
    layer._kernel = variable
    layer._post_track_variable(variable)


def walk(model: keras.layers.Layer) -> Iterator[tuple[keras.layers.Layer, tuple[keras.layers.Layer, ...]]]:
    """Every layer in a model, itself first, each once, with the layers that it lies in, from the model on."""
    seen: set[int] = set()

    def walk_into(layer, owners):
        if id(layer) not in seen:
            seen.add(id(layer))
            yield layer, owners
            for inner in layer._layers:
                yield from walk_into(inner, (*owners, layer))

    return walk_into(model, ())
