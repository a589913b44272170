"""The fully connected operations of a LiteRT file, and the forms that their weights can have in it."""

import dataclasses

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_dsr.exporting.litert.graph import LiteRTGraph, replace_input
from keras_dsr.exporting.litert.sparsity import packed

BLOCK = 4  # inputs that LiteRT's product in float32 takes at once
FORMS = ("dense", "unpacked", "single", "blocks")
DIRECT = ("single", "blocks")  # the forms that are multiplied as they are stored
# Versions of FULLY_CONNECTED: the first that takes sparse weights, which XNNPACK leaves to LiteRT's own product, dense
# ones of that version too; and the first that keeps axes.
SPARSE_VERSION, KEEPS_AXES_VERSION = 8, 5


@dataclasses.dataclass
class Product:
    """Weights of fully connected operations.

    Attributes:
        weight: index of the tensor that they read.
        inputs: indices of the tensors that they multiply, one for each operation.
        kernel: float32 array of shape `(outputs, inputs)`, zeros included.
        form: how the file stores it and what it multiplies by: `"dense"`; `"unpacked"`, sparse, unpacked once when the
            file is loaded; `"single"` weights or `"blocks"` of 4 inputs, multiplied as they are stored.
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
        if kernel is not None and kernel.dtype == "float32" and _is_read_by_products_alone(graph, weight):
            found[weight] = Product(weight, [multiplied], kernel, _form(graph, weight))
    return list(found.values())


def set_form(graph: LiteRTGraph, product: Product, form: str) -> None:
    """Store the weights of a product in another form."""
    if form == product.form:
        return
    readers, stored, source = graph.readers(product.weight), product.weight, graph.source(product.weight)
    if source is not None:
        stored = int(source.inputs[0])
        graph.operators.remove(source)
    blocks = {"dense": 0, "single": 1, "blocks": BLOCK}
    graph.store(stored, product.kernel, blocks[form] if form in blocks else _smallest_block(product.kernel))
    read = stored
    if form == "unpacked":
        read = graph.like(stored, "unpacked")
        graph.add_operator(0, "DENSIFY", [stored], read)
    for reader in readers:
        if reader is not source:
            replace_input(reader, product.weight, read)
            dense_version = KEEPS_AXES_VERSION if reader.builtinOptions.keepNumDims else 1
            graph.set_kind(reader, "FULLY_CONNECTED", SPARSE_VERSION if form in DIRECT else dense_version)
    product.weight, product.form = read, form


def _smallest_block(kernel: np.ndarray) -> int:
    """In blocks of how many neighbours a kernel takes the fewest bytes: of 4 where most of these are full."""
    if kernel.shape[1] % BLOCK:
        return 1
    return min((1, BLOCK), key=lambda block: sum(part.nbytes for part in _stored_parts(kernel, block)))


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
    """A file of one product alone: `rows` rows of inputs by a kernel of shape `(outputs, inputs)` in a form."""
    outputs, inputs = kernel.shape
    model, main = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [main], [schema.BufferT() for _ in range(4)]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 1
    model.operatorCodes, main.tensors = [code], []
    shapes = {"inputs": (rows, inputs), "kernel": (outputs, inputs), "outputs": (rows, outputs)}
    for buffer, (name, shape) in enumerate(shapes.items(), 1):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer, tensor.hasRank = name.encode(), list(shape), buffer, True
        tensor.type = schema.TensorType.FLOAT32
        main.tensors.append(tensor)
    model.buffers[2].data = np.frombuffer(np.ascontiguousarray(kernel, "<f4").tobytes(), "uint8")
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
