"""A functional model as Keras records it: a flat list of calls, models inside taken apart; a tensor's maker."""

import collections
import dataclasses
from typing import NamedTuple

import keras


class Call(NamedTuple):
    """One call of a layer (or of an operation of `keras.ops`).

    Attributes:
        layer: what is called.
        node: Keras's record of the call.
        inputs: numbers of the tensors that it is given.
        outputs: numbers of the tensors that it returns.
        shared: whether the layer is called more than once.
        name: its name in a flat model; that of the layer, unless two layers have it.
    """

    layer: keras.layers.Layer
    node: object
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    shared: bool
    name: str


@dataclasses.dataclass
class Graph:
    """The calls of a model in an order in which they can be done, and its tensors.

    Attributes:
        tensors: the symbolic tensors; one that is handed to an inner model, or comes out of one, is there once.
        calls: the calls.
        inputs: numbers of the model's inputs.
        outputs: numbers of the model's outputs.
    """

    tensors: list = dataclasses.field(default_factory=list)
    calls: list[Call] = dataclasses.field(default_factory=list)
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    _numbers: dict[int, int] = dataclasses.field(default_factory=dict)

    def number(self, tensor) -> int:
        """The number of a symbolic tensor; a new one if it has none."""
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = len(self.tensors)
            self.tensors.append(tensor)
        return self._numbers[id(tensor)]

    def alias(self, tensor, number: int) -> None:
        """Let a symbolic tensor be one that is there."""
        self._numbers[id(tensor)] = number


def functional(model: keras.layers.Layer):
    """The functional model that a layer is, or stands for; None if it is none, or has a `call` of its own."""
    if isinstance(model, keras.Sequential):
        return model._functional if type(model).call is keras.Sequential.call else None
    if isinstance(model, keras.Model) and isinstance(model, keras.Function):
        stock = next(one for one in type(model).__mro__ if one.__module__ == "keras.src.models.functional")
        return model if type(model).call is stock.call else None
    return None


def flat_graph(model) -> Graph:
    """The graph of a functional model, in which inner models that are called once are taken apart."""
    graph = Graph()
    graph.inputs = tuple(graph.number(tensor) for tensor in model.inputs)
    _add_calls(graph, model, "")
    graph.outputs = tuple(graph.number(tensor) for tensor in model.outputs)
    times = collections.Counter(id(call.layer) for call in graph.calls)
    taken: dict[str, int] = {}
    for index, call in enumerate(graph.calls):
        name = call.layer.name
        if taken.setdefault(name, id(call.layer)) != id(call.layer):
            name = call.name
            taken[name] = id(call.layer)
        graph.calls[index] = call._replace(shared=times[id(call.layer)] > 1, name=name)
    return graph


def is_chain(graph: Graph) -> bool:
    """Whether each call takes what the one before it returns, and each layer is called once."""
    before = [graph.inputs, *(call.outputs for call in graph.calls)]
    return all(call.inputs == returned and not call.shared for call, returned in zip(graph.calls, before))


def _add_calls(graph: Graph, model, prefix: str) -> None:
    depths = sorted(model._nodes_by_depth, reverse=True)
    nodes = [node for depth in depths for node in model._nodes_by_depth[depth] if not node.is_input]
    times = collections.Counter(id(node.operation) for node in nodes)
    for node in nodes:
        inner = functional(node.operation) if times[id(node.operation)] == 1 else None
        name = f"{prefix}{node.operation.name}"
        inputs = tuple(graph.number(tensor) for tensor in node.input_tensors)
        if inner is not None and plainly_called(node) and _takes(inner, node.input_tensors):
            for tensor, number in zip(inner.inputs, inputs):
                graph.alias(tensor, number)
            _add_calls(graph, inner, f"{name}_")
            for tensor, of_inner in zip(node.outputs, inner.outputs):
                graph.alias(tensor, graph.number(of_inner))
        else:
            outputs = tuple(graph.number(tensor) for tensor in node.outputs)
            graph.calls.append(Call(node.operation, node, inputs, outputs, False, name))


def plainly_called(node) -> bool:
    """Whether a layer is called with tensors alone: with nothing that could change what it does."""
    arguments, keywords = node.arguments.args, node.arguments.kwargs
    more = [value for name, value in keywords.items() if not (name == "training" and value is False)]
    tensors = len(arguments) == 1 or all(isinstance(one, keras.KerasTensor) for one in arguments)
    return bool(arguments) and tensors and all(value is None for value in more)


def _takes(inner, tensors) -> bool:
    """Whether an inner model takes its inputs as they are."""
    return len(inner.inputs) == len(tensors) and all(
        one.dtype == other.dtype and len(one.shape) == len(other.shape) for one, other in zip(inner.inputs, tensors)
    )


def made_by(tensor: keras.KerasTensor) -> keras.Operation:
    """The layer or operation that a symbolic tensor is an output of."""
    return tensor._keras_history.operation


def has_mask(tensor: keras.KerasTensor) -> bool:
    """Whether a symbolic tensor carries a mask of time steps."""
    return getattr(tensor, "_keras_mask", None) is not None


def is_own_operation(operation: keras.Operation) -> bool:
    """Whether an operation is one of `keras.ops`."""
    return type(operation).__module__.startswith("keras.src.ops.")
