"""The fully connected operations of a LiteRT file, and the forms that their weights can have in it."""

import dataclasses

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_dsr.exporting.litert.graph import LiteRTGraph, replace_input
from keras_dsr.exporting.litert.sparsity import packed

BLOCKS = {"float32": 4, "int8": 16}  # inputs that LiteRT's products take at once
FORMS = ("dense", "unpacked", "single", "blocks")
DIRECT = ("single", "blocks")  # the forms that are multiplied as they are stored
# Versions of FULLY_CONNECTED: the first that takes sparse weights, which XNNPACK leaves to LiteRT's own product, dense
# ones of that version too; and the first that keeps axes.
SPARSE_VERSION, KEEPS_AXES_VERSION = 8, 5
INT8_CONVOLUTION_VERSION = 3


@dataclasses.dataclass
class Product:
    """Weights of fully connected operations.

    Attributes:
        weight: index of the tensor that they read.
        inputs: indices of the tensors that they multiply, one for each operation.
        kernel: float32 or int8 array of shape `(outputs, inputs)`, zeros included.
        form: how the file stores it and what it multiplies by: `"dense"`; `"unpacked"`, sparse, unpacked once when the
            file is loaded; `"single"` weights or `"blocks"` of inputs, multiplied as they are stored.
    """

    weight: int
    inputs: list[int]
    kernel: np.ndarray
    form: str


def products_of(graph: LiteRTGraph) -> list[Product]:
    """The products of a file whose weights nothing else reads."""
    found: dict[int, Product] = {}
    for operator in graph.operators:
        if graph.kind(operator) != "FULLY_CONNECTED":
            continue
        weight, multiplied = int(operator.inputs[1]), int(operator.inputs[0])
        if weight in found:
            found[weight].inputs.append(multiplied)
            continue
        kernel = graph.constant(weight)
        if kernel is not None and str(kernel.dtype) in BLOCKS and _is_read_by_products_alone(graph, weight):
            found[weight] = Product(weight, [multiplied], kernel, _form(graph, weight))
    return list(found.values())


def possible_forms(graph: LiteRTGraph, product: Product) -> tuple[str, ...]:
    """The forms that a product can have: LiteRT has no product of single weights in int8."""
    fits = product.kernel.shape[1] % BLOCKS[str(product.kernel.dtype)] == 0
    if product.kernel.dtype == "float32":
        return FORMS if fits else FORMS[:-1]
    matrices = all(len(graph.shape(one)) == 2 for one in product.inputs)
    return ("dense", *(("unpacked",) if matrices else ()), *(("blocks",) if fits else ()))


def set_form(graph: LiteRTGraph, product: Product, form: str) -> None:
    """Store the weights of a product in another form, one of `possible_forms`; in int8, those of a dense one."""
    if form == product.form:
        return
    readers, stored, source = graph.readers(product.weight), product.weight, graph.source(product.weight)
    if source is not None:
        stored = int(source.inputs[0])
        graph.operators.remove(source)
    is_int8 = product.kernel.dtype == "int8"
    kernel, block = product.kernel, {"dense": 0, "single": 1, "blocks": BLOCKS[str(product.kernel.dtype)]}.get(form)
    if form == "unpacked" and is_int8:  # XNNPACK takes what is unpacked to int8 in convolutions alone
        kernel = kernel.reshape(len(kernel), 1, 1, -1)
        graph.tensors[stored].shape = list(kernel.shape)
    graph.store(stored, kernel, _smallest_block(kernel) if block is None else block)
    read = stored
    if form == "unpacked":
        read = graph.like(stored, "unpacked")
        graph.add_operator(0, "DENSIFY", [stored], read)
    for reader in readers:
        if reader is source:
            continue
        replace_input(reader, product.weight, read)
        if form == "unpacked" and is_int8:
            _make_convolution(graph, reader)
        elif form in DIRECT:
            graph.set_kind(reader, "FULLY_CONNECTED", SPARSE_VERSION)
        elif product.form in DIRECT:
            graph.set_kind(reader, "FULLY_CONNECTED", KEEPS_AXES_VERSION if reader.builtinOptions.keepNumDims else 1)
    product.weight, product.form = read, form


def _make_convolution(graph: LiteRTGraph, operator) -> None:
    """Make a product of matrices the convolution of images of one pixel, which it is."""
    given, product, kernel = int(operator.inputs[0]), int(operator.outputs[0]), int(operator.inputs[1])
    outputs, _, _, inputs = graph.shape(kernel)
    bias = [int(one) for one in operator.inputs[2:] if one >= 0] or [_zero_bias(graph, given, kernel)]
    options = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.VALID, 1, 1
    options.fusedActivationFunction = operator.builtinOptions.fusedActivationFunction
    pixels, results = _pixels(graph, given, inputs), _pixels(graph, product, outputs)
    operator.inputs, operator.outputs = [pixels, kernel, *bias], [results]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
    graph.set_kind(operator, "CONV_2D", INT8_CONVOLUTION_VERSION)
    at = graph.operators.index(operator)
    graph.add_reshape(at + 1, results, product, [-1, outputs])
    graph.add_reshape(at, given, pixels, [-1, 1, 1, inputs])


def _zero_bias(graph: LiteRTGraph, given: int, kernel: int) -> int:
    bias = graph.add_constant(np.zeros(graph.shape(kernel)[0], "int32"), f"{graph.name(kernel)}_no_bias")
    scales = np.asarray(graph.tensors[kernel].quantization.scale) * graph.tensors[given].quantization.scale[0]
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = scales.astype("float32"), np.zeros(len(scales), "int64")
    graph.tensors[bias].quantization = quantization
    return bias


def _pixels(graph: LiteRTGraph, matrix: int, columns: int) -> int:
    """A tensor like a matrix of so many columns, as images of one pixel."""
    new = graph.like(matrix, "pixels")
    held = graph.tensors[new]
    rows, is_open = int(held.shape[0]), held.shapeSignature is not None
    held.shape = [rows, 1, 1, columns]
    held.shapeSignature = [-1, 1, 1, columns] if is_open else None
    return new


def _smallest_block(kernel: np.ndarray) -> int:
    """In blocks of how many neighbours a kernel takes the fewest bytes: more than 1 where most of these are full."""
    block = BLOCKS[str(kernel.dtype)]
    if kernel.ndim > 2 or kernel.shape[1] % block:
        return 1
    return min((1, block), key=lambda block: sum(part.nbytes for part in _stored_parts(kernel, block)))


def _stored_parts(kernel: np.ndarray, block: int) -> list[np.ndarray]:
    values, sparsity = packed(kernel, block)
    return [values, sparsity.dimMetadata[1].arrayIndices.values]


def _is_read_by_products_alone(graph: LiteRTGraph, tensor: int) -> bool:
    return tensor not in graph.outputs and all(
        graph.kind(one) == "FULLY_CONNECTED" and list(one.inputs).index(tensor) == 1 for one in graph.readers(tensor)
    )


def _form(graph: LiteRTGraph, weight: int) -> str:
    if graph.source(weight) is not None:
        return "unpacked"
    sparsity = graph.tensors[weight].sparsity
    if sparsity is None:
        return "dense"
    return "single" if len(sparsity.dimMetadata) == 2 else "blocks"


def product_file(kernel: np.ndarray, rows: int, form: str) -> bytes:
    """A file of one product alone: `rows` rows of inputs by a kernel of shape `(outputs, inputs)` in a form.

    A kernel in int8 is in units of 1/128, inputs and outputs of 1/16 and 1.
    """
    outputs, inputs = kernel.shape
    model, main = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [main], [schema.BufferT() for _ in range(4)]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 4 if kernel.dtype == "int8" else 1
    model.operatorCodes, main.tensors = [code], []
    shapes = {"inputs": (rows, inputs), "kernel": (outputs, inputs), "outputs": (rows, outputs)}
    for buffer, (name, shape) in enumerate(shapes.items(), 1):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer, tensor.hasRank = name.encode(), list(shape), buffer, True
        tensor.type = schema.TensorType.INT8 if kernel.dtype == "int8" else schema.TensorType.FLOAT32
        if kernel.dtype == "int8":
            tensor.quantization = schema.QuantizationParametersT()
            scale = {"inputs": 1 / 16, "kernel": 1 / 128, "outputs": 1.0}[name]
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [0]
        main.tensors.append(tensor)
    model.buffers[2].data = np.frombuffer(np.ascontiguousarray(kernel).tobytes(), "uint8")
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, -1], [2]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    main.operators, main.inputs, main.outputs = [operator], [0], [2]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    graph = LiteRTGraph(bytes(builder.Output()))
    (product,) = products_of(graph)
    set_form(graph, product, form)
    return graph.content()
