"""The main graph of a LiteRT file, to be read and changed: tensors by index, and operations in order."""

import copy
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_dsr.exporting.litert.sparsity import packed, unpacked

NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
TYPES = {schema.TensorType.FLOAT32: "<f4", schema.TensorType.INT32: "<i4", schema.TensorType.INT8: "<i1"}


class LiteRTGraph:
    """What a file holds, to be changed and written again.

    Attributes:
        operators: the operations (`OperatorT` of the schema), in the order in which they run.
        tensors: the tensors (`TensorT`), which operations name by their index.
        outputs: indices of the tensors that the graph gives.

    Args:
        content: bytes of the file.
    """

    def __init__(self, content: bytes):
        self._model = schema.ModelT.InitFromPackedBuf(content, 0)
        self._graph = self._model.subgraphs[0]
        self.operators, self.tensors = list(self._graph.operators), self._graph.tensors
        self.outputs = list(map(int, self._graph.outputs))

    def content(self) -> bytes:
        """The file."""
        self._graph.operators = self.operators
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def kind(self, operator) -> str:
        """The name of an operation in the schema, such as `"CONV_2D"`."""
        code = self._model.operatorCodes[operator.opcodeIndex]
        return NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def set_kind(self, operator, kind: str, version: int = 1) -> None:
        """Make an operation another, of a version."""
        number = getattr(schema.BuiltinOperator, kind)
        for index, code in enumerate(self._model.operatorCodes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == number and code.version == version:
                operator.opcodeIndex = index
                return
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
        self._model.operatorCodes.append(code)
        operator.opcodeIndex = len(self._model.operatorCodes) - 1

    def add_operator(
        self, at: int, kind: str, inputs: Sequence[int], output: int, options: tuple[str, Any] | None = None
    ) -> Any:
        """An operation put before the one at an index; `options` are the name of their class and an object of it."""
        operator = schema.OperatorT()
        self.set_kind(operator, kind)
        operator.inputs, operator.outputs = list(inputs), [output]
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options[0])
            operator.builtinOptions = options[1]
        self.operators.insert(at, operator)
        return operator

    def add_reshape(self, at: int, tensor: int, reshaped: int, shape: Sequence[int]) -> None:
        """A reshape of one tensor to another, of a shape with one -1 at most, before the operation at an index."""
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        to = self.add_constant(np.array(shape, "int32"), f"{self.name(reshaped)}_shape")
        self.add_operator(at, "RESHAPE", [tensor, to], reshaped, ("ReshapeOptions", options))

    def shape(self, tensor: int) -> tuple[int, ...]:
        """The shape of a tensor: 1 for a batch whose size is open, -1 for another axis."""
        held = self.tensors[tensor]
        sizes = [int(size) for size in (held.shape if held.shapeSignature is None else held.shapeSignature)]
        return tuple(1 if axis == 0 and size < 0 else size for axis, size in enumerate(sizes))

    def name(self, tensor: int) -> str:
        """The name of a tensor: of the Keras operations that it stands for, the first."""
        name = self.tensors[tensor].name or b""
        return (name.decode() if isinstance(name, bytes) else name).split(";")[0]

    def like(self, tensor: int, suffix: str) -> int:
        """A new tensor of the shape and type of another, without values."""
        new = copy.copy(self.tensors[tensor])
        new.name, new.buffer, new.sparsity = f"{self.name(tensor)}_{suffix}".encode(), self._add_buffer(b""), None
        self.tensors.append(new)
        return len(self.tensors) - 1

    def add_constant(self, values: np.ndarray, name: str) -> int:
        """A new tensor with values in float32, int32 or int8."""
        new = schema.TensorT()
        new.name, new.shape, new.hasRank = name.encode(), list(values.shape), True
        new.type = next(number for number, dtype in TYPES.items() if values.dtype == dtype)
        new.buffer = self._add_buffer(np.ascontiguousarray(values).tobytes())
        self.tensors.append(new)
        return len(self.tensors) - 1

    def source(self, tensor: int):
        """The DENSIFY that unpacks a tensor, or None."""
        made = (one for one in self.operators if self.kind(one) == "DENSIFY")
        return next((one for one in made if one.outputs[0] == tensor), None)

    def is_constant(self, tensor: int) -> bool:
        """Whether a tensor has values in the file."""
        data = self._model.buffers[self.tensors[tensor].buffer].data
        return self.source(tensor) is not None or (data is not None and len(data) > 0)

    def constant(self, tensor: int) -> np.ndarray | None:
        """The values of a constant in float32, int32 or int8, unpacked; None if it is something else."""
        source = self.source(tensor)
        held = self.tensors[tensor if source is None else source.inputs[0]]
        data = self._model.buffers[held.buffer].data
        if held.type not in TYPES or data is None or not len(data):
            return None
        shape, stored = tuple(map(int, held.shape)), np.frombuffer(np.asarray(data).tobytes(), TYPES[held.type])
        return stored.reshape(shape) if held.sparsity is None else unpacked(stored, held.sparsity, shape)

    def store(self, tensor: int, values: np.ndarray, block: int = 0) -> None:
        """Give a constant other values: dense (0), or sparse in blocks of so many neighbours (1: single weights)."""
        held = self.tensors[tensor]
        values, held.sparsity = packed(values, block) if block else (values, None)
        data = np.ascontiguousarray(values, TYPES[held.type]).tobytes()
        if sum(one.buffer == held.buffer for graph in self._model.subgraphs for one in graph.tensors) > 1:
            held.buffer = self._add_buffer(data)
        else:
            self._model.buffers[held.buffer].data = np.frombuffer(data, "uint8")

    def readers(self, tensor: int) -> list:
        """The operations that read a tensor."""
        return [operator for operator in self.operators if tensor in operator.inputs]

    def _add_buffer(self, data: bytes) -> int:
        buffer = schema.BufferT()
        if data:
            buffer.data = np.frombuffer(data, "uint8")
        self._model.buffers.append(buffer)
        return len(self._model.buffers) - 1


def replace_input(operator, old: int, new: int) -> None:
    """Have an operation read another tensor."""
    operator.inputs = [new if one == old else int(one) for one in operator.inputs]
