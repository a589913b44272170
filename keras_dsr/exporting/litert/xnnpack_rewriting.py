"""A LiteRT file written in another way, as the same function, so that XNNPACK multiplies its convolutions sparse.

Where windows have a stride, XNNPACK takes padding that is the same on each side alone; Keras pads (0, 1) on images of
even sizes. Turn the image and every kernel round by half a turn, and the function is the same, with a padding of
(1, 0), for which (1, 1) does: the row that is added is never read.
"""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_dsr.exporting.litert.graph import LiteRTGraph, replace_input
from keras_dsr.exporting.litert.xnnpack_rules import (
    VALID,
    WINDOWS,
    Part,
    is_mean,
    meets_an_image,
    odd_constants,
    pads_before,
    window_size,
)


def qualify(graph: LiteRTGraph, part: Part) -> None:
    """Change a graph so that XNNPACK multiplies a part of it sparse: the function stays the same."""
    for operator in part.operators:
        for constant in odd_constants(graph, operator):
            values = graph.constant(constant)
            assert values is not None, graph.name(constant)
            other = next(int(one) for one in operator.inputs if one != constant)
            shape = (1,) * (4 - values.ndim) + values.shape
            operator.inputs = [graph.add_constant(values.reshape(shape), f"{graph.name(constant)}_4d"), other]
    if part.mirrored:
        for kernel in {int(one.inputs[1]) for one in part.operators if graph.kind(one) in WINDOWS}:
            _turn(graph, kernel)
    for operator in part.padded:
        _pad(graph, operator)
    if part.mirrored:
        at = graph.operators.index(part.operators[0]) - 1  # the PAD of the first convolution, whose stride is 2
        image = int(graph.operators[at].inputs[0])
        mirrored = graph.like(image, "mirrored")
        axes = graph.add_constant(np.array([1, 2], "int32"), f"{graph.name(image)}_axes")
        replace_input(graph.operators[at], image, mirrored)
        graph.add_operator(at, "REVERSE_V2", [image, axes], mirrored, ("ReverseV2Options", schema.ReverseV2OptionsT()))


def end_parts(graph: LiteRTGraph) -> None:
    """Put a reshape to the same shape behind each mean over images after which there is no image any more.

    It ends what XNNPACK takes for sparse. Without it that goes on to a convolution of the single pixel that is left,
    whose axes are then mixed up: the file does not load on ARM and in browsers.
    """
    if not any(graph.kind(one) == "DENSIFY" for one in graph.operators):
        return
    for operator in list(graph.operators):
        if is_mean(graph, operator) and not meets_an_image(graph, int(operator.outputs[0])):
            pooled = int(operator.outputs[0])
            if len(graph.shape(pooled)) == 4:
                _reshape(graph, pooled, graph.operators.index(operator) + 1)


def _turn(graph: LiteRTGraph, kernel: int) -> None:
    """Turn the windows of a kernel by half a turn."""
    source = graph.source(kernel)
    values = graph.constant(kernel)
    if values is None or values.shape[1:3] == (1, 1):
        return
    graph.store(kernel if source is None else int(source.inputs[0]), values[:, ::-1, ::-1], int(source is not None))


def _pad(graph: LiteRTGraph, operator) -> None:
    """Pad what an operation with a window reads by half of the window on each side, and by nothing else."""
    pads = [size // 2 for size in window_size(graph, operator)]
    found = pads_before(graph, operator)
    pad = None if found is None else found[0]
    image = int(operator.inputs[0] if pad is None else pad.inputs[0])
    amounts = np.array([(0, 0), (pads[0], pads[0]), (pads[1], pads[1]), (0, 0)], "int32")
    padded = graph.like(image, f"padded_for_{len(graph.tensors)}")
    shape, signature = graph.tensors[padded].shape, graph.tensors[padded].shapeSignature
    grown = amounts.sum(1).tolist()
    graph.tensors[padded].shape = [int(size) + more for size, more in zip(shape, grown)]
    if signature is not None:
        sizes = [int(size) + more if size >= 0 else -1 for size, more in zip(signature, grown)]
        graph.tensors[padded].shapeSignature = sizes
    constant = graph.add_constant(amounts, f"{graph.name(padded)}_amounts")
    at = graph.operators.index(operator)
    graph.add_operator(at, "PAD", [image, constant], padded, ("PadOptions", schema.PadOptionsT()))
    replace_input(operator, int(operator.inputs[0]), padded)
    operator.builtinOptions.padding = VALID
    if pad is not None and not graph.readers(int(pad.outputs[0])):
        graph.operators.remove(pad)


def _reshape(graph: LiteRTGraph, tensor: int, at: int) -> None:
    """Have all that reads a tensor read it from behind a reshape to its own shape."""
    readers, same = graph.readers(tensor), graph.like(tensor, "same")
    held = graph.tensors[tensor]
    shape = held.shape if held.shapeSignature is None else held.shapeSignature
    graph.add_reshape(at, tensor, same, list(map(int, shape)))
    for reader in readers:
        replace_input(reader, tensor, same)
