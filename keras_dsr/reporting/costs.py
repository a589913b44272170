"""What a kernel costs in multiply-adds: how often each weight of it is used for one example."""

import math
from collections.abc import Callable
from typing import NamedTuple

from keras import layers

from keras_dsr.layers.registry import stock_class_of
from keras_dsr.reporting.kernels import Kernel
from keras_dsr.reporting.tracing import Call, Trace


class Uses(NamedTuple):
    """How many multiply-adds each weight of a kernel takes part in, for one example; if `count` is None, why not."""

    count: int | None
    reason: str = ""


def uses_of(kernel: Kernel, trace: Trace) -> Uses:
    """How often each weight of a kernel is used for one example, summed over the calls of its layer.

    A product with a kernel uses each weight equally often: a dense layer once a row, a convolution once a pixel of its
    output (positions of the padding included), a recurrent cell once a step. FLOPs are `2 * count * weights`: those of
    every position if the product is dense, those of the active weights if it is sparse. A layer that the model calls in
    a loop of its own (`keras.ops.scan`) counts as often as the loop is traced.

    Args:
        kernel: a kernel.
        trace: of its model.
    """
    if len(kernel.shape) < 2:
        return Uses(None, f"a {kernel.role} is no factor of a product: not counted")
    kind = stock_class_of(type(kernel.layer))
    if kind is layers.Embedding:
        return Uses(0)
    if trace.problem is not None:
        return Uses(None, trace.problem)
    if any(isinstance(owner, layers.TimeDistributed) for owner in kernel.owners):
        return Uses(None, "the layer lies in a TimeDistributed")
    loops = [owner for owner in kernel.owners if isinstance(owner, layers.RNN)]
    rule = CELL_RULES.get(kind) if loops else RULES.get(kind)
    if rule is None:
        return Uses(None, f"no rule for {type(kernel.layer).__name__}" + (" in a recurrent layer" if loops else ""))
    caller = loops[-1] if loops else kernel.layer
    calls = trace.calls.get(id(caller), [])
    if not calls:
        return Uses(None, "the model does not call the layer")
    counts = [rule(kernel.layer, call) for call in calls]
    if None in counts:
        return Uses(None, "what the layer gets or returns has an open size, such as a length")
    if sum(counts) % trace.examples:
        return Uses(None, "the layer mixes the examples of a batch")
    return Uses(sum(counts) // trace.examples)


def _product(shape) -> int | None:
    return None if None in shape else math.prod(shape)


def _over_output(channels: Callable) -> Callable[..., int | None]:
    """Each weight works once for each number of the output in its channel."""

    def rule(layer, call: Call) -> int | None:
        size = _product(call.output)
        return None if size is None else size // channels(layer, call)

    return rule


def _over_input(layer, call: Call) -> int | None:
    """A transposed convolution spreads each number of the input."""
    size = _product(call.inputs)
    axis = 1 if layer.data_format == "channels_first" else -1
    return None if size is None else size // call.inputs[axis]


def _over_steps(layer, call: Call) -> int | None:
    return _product(call.inputs[:2])


def _einsum(layer, call: Call) -> int | None:
    """Every dimension of the input that the kernel has not."""
    operands, _ = layer.equation.replace(" ", "").split("->")
    inputs, kernel = operands.split(",")
    if "..." in inputs:
        before, after = inputs.split("...")
        labels = before + "." * (len(call.inputs) - len(before) - len(after)) + after
    else:
        labels = inputs
    return _product([size for label, size in zip(labels, call.inputs) if label not in kernel])


def _output_channels(layer, call: Call) -> int:
    return call.output[1 if layer.data_format == "channels_first" else -1]


RULES = {
    layers.Dense: _over_output(lambda layer, call: layer.units),
    layers.EinsumDense: _einsum,
    **dict.fromkeys(
        (
            *(layers.Conv1D, layers.Conv2D, layers.Conv3D),
            *(layers.DepthwiseConv1D, layers.DepthwiseConv2D),
            *(layers.SeparableConv1D, layers.SeparableConv2D),
        ),
        _over_output(_output_channels),
    ),
    **dict.fromkeys((layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose), _over_input),
}
CELL_RULES = dict.fromkeys((layers.SimpleRNNCell, layers.LSTMCell, layers.GRUCell), _over_steps)
