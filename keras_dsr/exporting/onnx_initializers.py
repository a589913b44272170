"""Weights of an ONNX graph without their zeros: sparse initializers, or numbers and steps that stock nodes unpack."""

import numpy as np

LONGEST = 255  # the longest step from one stored number to the next that a byte holds


def with_sparse_initializers(model):
    """An ONNX model whose weights are sparse initializers where that takes fewer bytes.

    A float32 takes 12 bytes, since the specification of ONNX asks for int64 indices: it pays below a density of about
    1/3. onnxruntime makes dense tensors of them when it loads the model. What the file holds of a -0.0 is a 0.0.

    Args:
        model: an `onnx.ModelProto` with its weights in `graph.initializer`; it is changed.

    Returns:
        The same `onnx.ModelProto`.
    """
    from onnx import helper, numpy_helper

    dense = []
    for tensor in model.graph.initializer:
        values = _weights(tensor)
        if values is not None:
            positions = np.flatnonzero(values)
            kept = numpy_helper.from_array(values.reshape(-1)[positions], tensor.name)
            sparse = helper.make_sparse_tensor(kept, numpy_helper.from_array(positions), values.shape)
            if sparse.ByteSize() < tensor.ByteSize():
                model.graph.sparse_initializer.append(sparse)
                continue
        dense.append(tensor)
    return _with_initializers(model, dense)


def with_gaps(model):
    """An ONNX model that stores of its weights the numbers and the steps between them, where that takes fewer bytes.

    A float32 takes 5 bytes, and 5 more for each 255 zeros in a row. Stock nodes make dense tensors of them: `CumSum`
    turns steps into positions, `ScatterElements` puts the numbers there. They depend on no input, so a runtime that
    folds constants runs them once, when it loads the model; onnxruntime does unless its graph optimizations are off.

    Args:
        model: an `onnx.ModelProto` of opset 11 or higher with its weights in `graph.initializer`; it is changed.

    Returns:
        The same `onnx.ModelProto`.
    """
    initializers, unpacking = [], []
    for tensor in model.graph.initializer:
        values = _weights(tensor)
        if values is not None:
            packed, nodes = _unpacked(tensor.name, values)
            if sum(part.ByteSize() for part in [*packed, *nodes]) < tensor.ByteSize():
                initializers.extend(packed)
                unpacking.extend(nodes)
                continue
        initializers.append(tensor)
    nodes = [*unpacking, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return _with_initializers(model, initializers)


def steps_and_numbers(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The non-zero numbers of a tensor, and the step to the flat position of each from that of the one before.

    The first step is from position 0. Where a step is longer than 255 there are zeros on the way.

    Returns:
        The steps, uint8, whose running sum is the positions, and the numbers.
    """
    positions = np.flatnonzero(values)
    steps = np.diff(positions, prepend=0)
    zeros_before = np.maximum(steps - 1, 0) // LONGEST
    ends = np.cumsum(zeros_before + 1) - 1
    packed = np.full(len(steps) + zeros_before.sum(), LONGEST, dtype=np.uint8)
    packed[ends] = steps - LONGEST * zeros_before
    numbers = np.zeros(len(packed), dtype=values.dtype)
    numbers[ends] = values.reshape(-1)[positions]
    return packed, numbers


def _unpacked(name: str, values: np.ndarray):
    """Initializers with the steps and numbers of a tensor, and nodes that make it of them, under its name."""
    from onnx import TensorProto, helper, numpy_helper

    steps, numbers = steps_and_numbers(values)
    size, shape = np.array([values.size], dtype=np.int64), np.array(values.shape, dtype=np.int64)
    initializers = {"steps": steps, "numbers": numbers, "axis": np.int64(0), "size": size, "shape": shape}
    zero = numpy_helper.from_array(np.zeros(1, dtype=values.dtype))
    nodes = [
        ("Cast", ["steps"], "wide_steps", {"to": TensorProto.INT64}),
        ("CumSum", ["wide_steps", "axis"], "positions", {}),
        ("ConstantOfShape", ["size"], "zeros", {"value": zero}),
        ("ScatterElements", ["zeros", "positions", "numbers"], "flat", {"axis": 0}),
        ("Reshape", ["flat", "shape"], None, {}),
    ]
    inside = f"{name}/unpacked/"
    return (
        [numpy_helper.from_array(np.asarray(value), inside + part) for part, value in initializers.items()],
        [
            helper.make_node(kind, [inside + part for part in parts], [inside + result if result else name], **settings)
            for kind, parts, result, settings in nodes
        ],
    )


def _weights(tensor) -> np.ndarray | None:
    """The values of an initializer of floating point numbers; None of any other, such as a shape."""
    from onnx import TensorProto, numpy_helper

    if tensor.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE):
        return None
    return numpy_helper.to_array(tensor)


def _with_initializers(model, initializers):
    kept = list(initializers)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model
