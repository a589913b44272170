"""Which part of a LiteRT file XNNPACK multiplies sparse on ARM and in browsers, and what stands in the way.

XNNPACK (github.com/google/XNNPACK, `xnn_subgraph_rewrite_for_nchw`) multiplies convolutions with a window of 1 sparse
in a part of the graph from a convolution of an image of 3 channels to means over images, if each operation in between
is of a kind that it knows, padding is the same on each side, and more than two thirds of those weights are zero.
"""

from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_dsr.exporting.litert.graph import LiteRTGraph

UNARY = {
    *("ABS", "CEIL", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "NEG", "RELU", "RELU6"),
    *("RELU_N1_TO_1", "ROUND", "RSQRT", "SQRT", "SQUARE", "TANH"),
}
WINDOWS = ("CONV_2D", "DEPTHWISE_CONV_2D")
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID


class Obstacle(NamedTuple):
    """What keeps a file from having sparse convolutions.

    Attributes:
        operation: its name, or empty where it is none in particular.
        rule: what it would have to be, in words.
    """

    operation: str
    rule: str

    def __str__(self) -> str:
        return f"{self.operation}: {self.rule}" if self.operation else self.rule


class Part(NamedTuple):
    """A part of a graph in which XNNPACK multiplies sparse, or would if it were written in another way.

    Attributes:
        operators: from the first convolution to the means at its end.
        mirrored: whether only the mirrored form has padding that is the same on each side.
        padded: the operations whose padding must be written in another way.
    """

    operators: list
    mirrored: bool
    padded: list


class Window(NamedTuple):
    """How a window lies on an image, along one axis: pads before and after it that are read."""

    before: int
    after: int


def find_part(graph: LiteRTGraph) -> Part | Obstacle:
    """The part of a graph that can be sparse, or what stands in the way."""
    first = next((one for one in graph.operators if _is_first(graph, one)), None)
    if first is None:
        return Obstacle("", "it begins with no 3x3 convolution of stride 2 on an image of 3 channels")
    if min(graph.shape(first.inputs[0])) < 0:
        return Obstacle(
            "", "images must be of one size: input_signature=[keras.InputSpec(shape=(1, 224, 224, 3), ...)]"
        )
    inside, outputs = _reachable(graph, first)
    values = {int(one.outputs[0]) for one in inside}
    for operator in inside:
        rule = _rule_broken(graph, operator, values, operator is first)
        if rule:
            return Obstacle(_named(graph, operator), rule)
    if outputs:
        return Obstacle(repr(graph.name(outputs[0])), "an output of the network must come from a mean over images")
    part = _padding(graph, inside)
    if isinstance(part, Obstacle):
        return part
    read = [graph.constant(one.inputs[1]) for one in inside if graph.kind(one) == "CONV_2D" and one is not first]
    kernels = [kernel for kernel in read if kernel is not None]
    zeros, size = sum(int((kernel == 0).sum()) for kernel in kernels), sum(kernel.size for kernel in kernels)
    if zeros * 3 <= size * 2:
        return Obstacle("", f"{zeros:,} of the {size:,} weights with a window of 1 are zero: more than 2/3 must be")
    return part


def is_ready(graph: LiteRTGraph, part: Part) -> bool:
    """Whether XNNPACK multiplies a part sparse as it is."""
    return not (part.mirrored or part.padded or any(odd_constants(graph, one) for one in part.operators))


def _is_first(graph: LiteRTGraph, operator) -> bool:
    if graph.kind(operator) != "CONV_2D":
        return False
    options = operator.builtinOptions
    return graph.shape(operator.inputs[1])[1:] == (3, 3, 3) and options.strideH == options.strideW == 2


def is_mean(graph: LiteRTGraph, operator) -> bool:
    """Whether an operation is the mean over images."""
    if graph.kind(operator) != "MEAN" or len(graph.shape(operator.inputs[0])) != 4:
        return False
    axes = graph.constant(operator.inputs[1])
    return axes is not None and sorted(axis % 4 for axis in axes.reshape(-1).tolist()) == [1, 2]


def _is_image(graph: LiteRTGraph, tensor: int) -> bool:
    shape = graph.shape(tensor)
    return len(shape) == 4 and shape[1:3] != (1, 1) and not graph.is_constant(tensor)


def meets_an_image(graph: LiteRTGraph, tensor: int) -> bool:
    """Whether what is made of a tensor comes to an operation that has an image, too."""
    waiting, seen = [tensor], {tensor}
    while waiting:
        for reader in graph.readers(waiting.pop()):
            if any(_is_image(graph, one) for one in reader.inputs if one >= 0 and one not in seen):
                return True
            made = [int(one) for one in reader.outputs if one not in seen]
            seen.update(made)
            waiting += made
    return False


def _reachable(graph: LiteRTGraph, first) -> tuple[list, list[int]]:
    """The operations from the first convolution to the means at the end, in their order, and outputs among theirs."""
    waiting, inside, outputs = [int(first.outputs[0])], {id(first)}, []
    while waiting:
        value = waiting.pop()
        if value in graph.outputs:
            outputs.append(value)
        for reader in graph.readers(value):
            if id(reader) in inside:
                continue
            inside.add(id(reader))
            ends = is_mean(graph, reader) and not meets_an_image(graph, int(reader.outputs[0]))
            if not ends:
                waiting.append(int(reader.outputs[0]))
    return [operator for operator in graph.operators if id(operator) in inside], outputs


def _rule_broken(graph: LiteRTGraph, operator, values: set[int], is_first: bool) -> str:
    """What an operation would have to be for XNNPACK, but for its padding; empty if it is that."""
    kind = graph.kind(operator)
    others = {int(one): graph.constant(one) for one in operator.inputs if one >= 0 and one not in values}
    constants = {tensor: value for tensor, value in others.items() if value is not None}
    if not is_first and len(constants) < len(others):
        return "it must have no input that comes from somewhere else"
    if kind == "PAD":
        readers = graph.readers(int(operator.outputs[0]))
        only_windows = all(graph.kind(reader) in WINDOWS for reader in readers)
        return "" if only_windows else "an image is padded only before a convolution"
    if kind in WINDOWS:
        return _window_rule_broken(graph, operator, values, is_first)
    if kind in ("ADD", "MUL"):
        images = [graph.shape(one) for one in operator.inputs if int(one) not in constants]
        vectors = all(value.size in (1, (1, *value.shape)[-1]) for value in constants.values())
        if all(len(shape) == 4 for shape in images) and vectors:
            return ""
        return "an image is added to, or multiplied by, images, numbers or one number for each channel"
    if kind == "RESIZE_BILINEAR":
        return ""
    if kind in UNARY or is_mean(graph, operator):
        return ""
    return (
        "between the first convolution and the last mean there may be convolutions with a window of 1, depthwise ones "
        "of 3x3 and 5x5, sums, products, activations and resizing"
    )


def odd_constants(graph: LiteRTGraph, operator) -> list[int]:
    """Constants of sums and products that are not as XNNPACK wants them: the first input, with four axes."""
    if graph.kind(operator) not in ("ADD", "MUL"):
        return []
    held = [(at, int(one)) for at, one in enumerate(operator.inputs) if graph.is_constant(int(one))]
    return [one for at, one in held if at > 0 or len(graph.shape(one)) != 4]


def _named(graph: LiteRTGraph, operator) -> str:
    return f"{graph.kind(operator).lower()} {graph.name(operator.outputs[0])!r}"


def _window_rule_broken(graph: LiteRTGraph, operator, values: set[int], is_first: bool) -> str:
    options, kernel = operator.builtinOptions, graph.shape(operator.inputs[1])
    window, strides = kernel[1:3], {options.strideH, options.strideW}
    if any(int(one.outputs[0]) not in values for one in graph.readers(int(operator.inputs[1]))):
        return "its kernel must not be used elsewhere"
    if options.dilationHFactor != 1 or options.dilationWFactor != 1:
        return "it must have no dilation"
    if graph.kind(operator) == "DEPTHWISE_CONV_2D":
        if window not in ((3, 3), (5, 5)) or len(strides) > 1 or max(strides) > 2:
            return "a depthwise convolution must be of 3x3 or 5x5 and of stride 1 or 2"
        return "" if options.depthMultiplier == 1 else "a depthwise convolution must have depth_multiplier=1"
    if is_first:
        return ""
    if window != (1, 1) or strides != {1}:
        return "a convolution behind the first must have a window of 1 and stride 1"
    return "" if kernel[3] == graph.shape(operator.inputs[0])[3] else "it must have no groups"


def _padding(graph: LiteRTGraph, inside: list) -> Part | Obstacle:
    """Whether padding is, or can be made, the same on each side, as it is or mirrored."""
    windows = [one for one in inside if graph.kind(one) in WINDOWS and window_size(graph, one) != (1, 1)]
    lies = [_lies(graph, one) for one in windows]
    for mirrored in (False, True):
        fit = [_fits(graph, one, axes, mirrored) for one, axes in zip(windows, lies)]
        if all(fit) and not (mirrored and any(graph.kind(one) == "RESIZE_BILINEAR" for one in inside)):
            padded = [one for one in windows if (mirrored and _stride(one) > 1) or not _is_plain(graph, one)]
            return Part(inside, mirrored, padded)
    odd = next(one for one, fits in zip(windows, fit) if not fits)
    return Obstacle(
        _named(graph, odd), "its padding must be half of its window on one side, the same one as everywhere else"
    )


def _fits(graph: LiteRTGraph, operator, axes: list[Window], mirrored: bool) -> bool:
    """Whether padding by half of a window on each side would have the window where it is."""
    for axis, size in zip(axes, window_size(graph, operator)):
        near, far = (axis.after, axis.before) if mirrored else axis
        if near != size // 2 or not 0 <= size // 2 - far < _stride(operator):
            return False
    return True


def window_size(graph: LiteRTGraph, operator) -> tuple[int, int]:
    """Rows and columns of the window of an operation."""
    _, rows, columns, _ = graph.shape(operator.inputs[1])
    return rows, columns


def _stride(operator) -> int:
    return operator.builtinOptions.strideH


def pads_before(graph: LiteRTGraph, operator) -> tuple[Any, np.ndarray] | None:
    """The PAD that an operation with a window reads, and how much it pads before and after each axis, or None."""
    for made in graph.operators:
        if made.outputs[0] == operator.inputs[0] and graph.kind(made) == "PAD":
            amounts = graph.constant(made.inputs[1])
            return None if amounts is None else (made, amounts)
    return None


def _lies(graph: LiteRTGraph, operator) -> list[Window]:
    """How the window of an operation lies on the image before it was padded, along rows and columns."""
    found_pad = pads_before(graph, operator)
    pads = np.zeros((4, 2), int) if found_pad is None else found_pad[1]
    images = graph.shape(operator.inputs[0] if found_pad is None else found_pad[0].inputs[0])
    found = []
    for axis, size in zip((1, 2), window_size(graph, operator)):
        outputs, image = graph.shape(operator.outputs[0])[axis], images[axis]
        reach = (outputs - 1) * _stride(operator) + size
        padded = image + int(pads[axis].sum())
        same = max(reach - padded, 0) // 2 if operator.builtinOptions.padding == SAME else 0
        before = int(pads[axis][0]) + same
        found.append(Window(before, reach - before - image))
    return found


def _is_plain(graph: LiteRTGraph, operator) -> bool:
    """Whether XNNPACK sees padding by half of the window on each side: of stride 1, or given in numbers."""
    found = pads_before(graph, operator)
    if found is None:
        return _stride(operator) == 1 and operator.builtinOptions.padding == SAME
    pads = found[1]
    halves = [(size // 2, size // 2) for size in window_size(graph, operator)]
    return operator.builtinOptions.padding == VALID and [tuple(pads[axis]) for axis in (1, 2)] == halves
