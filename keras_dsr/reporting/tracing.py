"""The shapes that each layer of a model gets and returns, from one symbolic call of the model on a single example."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras

from keras_dsr.backend.keras_layers import walk

Shape = tuple[int | None, ...]


class Call(NamedTuple):
    """One call of a layer: the shape of its first input, and of its first output."""

    inputs: Shape
    output: Shape


class Trace(NamedTuple):
    """The calls of the layers of a model.

    Attributes:
        calls: the calls of each layer, by its identity.
        examples: int, in how many examples: 1, unless the model has a fixed batch size.
        problem: string, why there are none; None: there are.
    """

    calls: dict[int, list[Call]]
    examples: int
    problem: str | None


class _Called(keras.layers.Layer):
    """A layer that only calls a function, so that Keras works out symbolically what the function returns."""

    def __init__(self, function: Callable):
        super().__init__(dtype="float32")
        vars(self)["_function"] = function  # past Keras's tracking: the model is not to become a part of this layer

    def call(self, inputs):
        return self._function(inputs)


def trace(model: keras.Model) -> Trace:
    """Call a built model symbolically and note the shapes of every call of every layer in it, nested ones too.

    Nothing is computed, and the model is afterwards as it was.
    """
    try:
        inputs, examples = _inputs(model)
    except ValueError as error:
        return Trace({}, 1, str(error))
    calls: dict[int, list[Call]] = {}
    layers = [layer for layer, _ in walk(model) if layer is not model]
    try:
        with contextlib.ExitStack() as stack:
            for layer in layers:
                stack.enter_context(_noted(layer, calls.setdefault(id(layer), [])))
            _Called(functools.partial(model, training=False)).compute_output_spec(inputs)
    except Exception as error:  # what a model of the user's own raises where it is called symbolically is his
        return Trace({}, 1, f"the model cannot be called symbolically ({type(error).__name__})")
    return Trace(calls, examples, None)


def _inputs(model: keras.Model):
    """Symbolic inputs of one example, and of how many examples they are.

    Raises:
        ValueError: the shapes of the inputs are not known.
    """
    if isinstance(model, keras.Sequential):
        specs = model.inputs[0]
    elif getattr(model, "inputs", None):
        specs = model.input
    else:
        shapes = (model.get_build_config() or {}).get("input_shape")
        if shapes is None:
            raise ValueError("the shapes of the model's inputs are not known")
        specs = _symbolic(shapes)
    leaves = keras.tree.flatten(specs)
    if keras.backend.backend() != "tensorflow" and any(None in leaf.shape[1:] for leaf in leaves):
        raise ValueError("the model's input has an open size")  # other backends would fill in a number
    batches = {leaf.shape[0] for leaf in leaves if leaf.shape}
    examples = max((size for size in batches if size), default=1)
    inputs = keras.tree.map_structure(
        lambda leaf: keras.KerasTensor((leaf.shape[0] or examples, *leaf.shape[1:]), leaf.dtype), specs
    )
    return inputs, examples


def _symbolic(shapes):
    """Tensors of one example of the shapes that a subclassed model was built with, on whatever batch that was."""
    if isinstance(shapes, dict):
        return {name: _symbolic(shape) for name, shape in shapes.items()}
    if any(isinstance(size, (tuple, list, dict)) for size in shapes):
        return [_symbolic(shape) for shape in shapes]
    return keras.KerasTensor((1, *shapes[1:]))


@contextlib.contextmanager
def _noted(layer: keras.layers.Layer, calls: list[Call]) -> Iterator[None]:
    call = layer.call

    @functools.wraps(call)
    def noted(*args, **kwargs):
        outputs = call(*args, **kwargs)
        inputs, output = _first_shape((args, kwargs)), _first_shape(outputs)
        if inputs is not None and output is not None:
            calls.append(Call(inputs, output))
        return outputs

    vars(layer)["call"] = noted
    try:
        yield
    finally:
        del vars(layer)["call"]


def _first_shape(structure) -> Shape | None:
    tensors = [leaf for leaf in keras.tree.flatten(structure) if keras.ops.is_tensor(leaf)]
    return tuple(tensors[0].shape) if tensors else None
