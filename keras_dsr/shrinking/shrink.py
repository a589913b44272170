"""Remove the neurons and channels that sparsity has left without input or output."""

import collections
import math

import keras
import numpy as np

from keras_dsr.arguments import check_model
from keras_dsr.backend.keras_graph import Graph, flat_graph, functional, is_chain
from keras_dsr.conversion.convert import stripped
from keras_dsr.shrinking.analysis import Analysis, Network, analyse
from keras_dsr.shrinking.channel_rules import Barrier, Linear
from keras_dsr.shrinking.from_keras import read
from keras_dsr.shrinking.reasons import JOINED, LAST, OPAQUE, OUTPUT, PADDED, causes
from keras_dsr.shrinking.report import LeftRow, ShrinkReport, ShrunkRow
from keras_dsr.shrinking.to_keras import rebuild

REASONS = {
    LAST: "a layer keeps one unit at least",
    JOINED: "other branches of {!r} use the same channels",
    PADDED: "constant, not 0, and {!r} pads with zeros: no bias stands for it at the edges",
    OPAQUE: "{!r} is not looked through",
    OUTPUT: "an output of the model",
}


def shrink(model: keras.Model) -> ShrinkReport:
    """Make a smaller, dense, plain Keras model with equal outputs, without the units that sparsity has left dead.

    At a sparsity of 0.95 to 0.99 many neurons and channels have no weight left to what follows: nothing depends on
    them. Others have no weight from what comes before: they are constant, and the constant is taken into the biases of
    what follows (a layer without a bias gets one if it must). Both go, and with them what only they depended on,
    through batch normalization, elementwise activations, pooling, flattening, depthwise convolutions, concatenations
    and residual joins. What cannot be removed is left, and the report says why:

    - a constant that is not 0 before a convolution that pads with zeros: at the edges it acts otherwise than inside;
    - a channel of a residual join (`Add`, `Multiply`, ...) that is dead in one branch and alive in another. An operand
      of `Add` that is zero as a whole is removed with all that makes it;
    - what a layer reads or returns that is not looked through: recurrent layers, attention, embeddings, softmax and
      other layers that mix channels, layers of one's own, layers with weights that are called more than once, channels
      first; and the inputs and outputs of the model.

    The outputs are equal at inference, up to rounding. Training goes on from a different point: batch statistics of
    constants and regularization of dead weights are gone. Inner models are taken apart, so that the new model is flat;
    a layer keeps its name, or, where two have the same, has that of its inner model before it. A sequential model stays
    one, unless an inner model has branches.

    Args:
        model: a built functional or sequential Keras model, with inner ones or without, sparse in any way that
            keras_dsr knows, or dense with zeros in it. It is not changed.

    Returns:
        A `ShrinkReport`, which prints as tables. Its `model` is the new model; it is not compiled, shares no variable
        with the other one, and needs nothing of keras_dsr, in memory or in a file.

    Raises:
        TypeError: something that is no model of Keras 3.
        ValueError: a subclassed model, an unbuilt model, or a layer that cannot be made from its configuration.

    Example:

    >>> report = keras_dsr.shrink(model)
    >>> print(report)
    >>> report.model.save("small.keras")
    """
    _check_model(model)
    with stripped(model):
        source = functional(model)
        graph = flat_graph(source)
        network = read(graph)
        found = analyse(network)
        smaller, new_layers = rebuild(source, graph, network, found)
        if isinstance(model, keras.Sequential) and is_chain(graph):
            smaller = keras.Sequential(smaller.layers, name=model.name)
        rows = _rows(graph, network, found, new_layers)
    return ShrinkReport(smaller, rows, _left(graph, network, found), _barriers(graph, network, found))


def _check_model(model) -> None:
    check_model(model, "shrink", kind=keras.Model)
    if isinstance(model, keras.Sequential) and not model.built:
        raise ValueError(
            f"shrink(model=...) needs a built model: {model.name!r} has no weights yet. Give it an `Input`, call it "
            f"once on a batch, or call `model.build(input_shape)` first. Received: model={model!r}"
        )
    if functional(model) is None:
        raise ValueError(
            "shrink(model=...) must be able to follow the tensors from layer to layer, so `model` must be functional "
            f"or sequential, without a `call` of its own. Received: {model.name!r}, of the class "
            f"{type(model).__name__}. Build it as keras.Model(inputs, outputs) of the same layers."
        )


def _rows(graph: Graph, network: Network, found: Analysis, new_layers: list) -> tuple[ShrunkRow, ...]:
    """What each layer with weights had and has; a layer that is called several times has one row."""
    rows: dict[int, ShrunkRow] = {}
    for call, new_layer in zip(graph.calls, new_layers):
        before = _count_weights(call.layer)
        if before and (new_layer is not None or id(call.layer) not in rows):
            index = call.outputs[0]
            units = 0 if new_layer is None else int(found.kept[index].sum())
            rows[id(call.layer)] = ShrunkRow(
                call.name,
                type(call.layer).__name__,
                (network.sizes[index], units),
                (before, 0 if new_layer is None else _count_weights(new_layer)),
            )
    return tuple(rows.values())


def _count_weights(layer) -> int:
    return sum(math.prod(weight.shape) for weight in getattr(layer, "weights", ()))


def _left(graph: Graph, network: Network, found: Analysis) -> tuple[LeftRow, ...]:
    """The units of dense layers and convolutions that are constant or without effect, and stay, by reason."""
    why = causes(network, found)
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for call, step in zip(graph.calls, network.steps):
        index = call.outputs[0]
        if isinstance(step, Linear) and found.reached[index]:
            dead = ~np.isnan(found.constants[index]) | ~found.wanted[index] | found.needed[index]
            for cause in why[index][found.kept[index] & dead]:
                kind, position = divmod(int(cause), len(graph.calls))
                counts[call.name, REASONS[kind].format(graph.calls[position].name)] += 1
    return tuple(LeftRow(name, count, reason) for (name, reason), count in counts.items())


def _barriers(graph: Graph, network: Network, found: Analysis) -> tuple[tuple[str, str], ...]:
    calls = [
        call
        for call, step in zip(graph.calls, network.steps)
        if isinstance(step, Barrier) and any(found.reached[index] for index in call.outputs)
    ]
    return tuple(dict.fromkeys((call.name, type(call.layer).__name__) for call in calls))
