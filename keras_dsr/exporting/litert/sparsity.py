"""How a LiteRT file stores a sparse tensor: as the TACO compiler does (Kjolstad et al., OOPSLA 2017), per dimension
dense or compressed."""

import math

import numpy as np
from ai_edge_litert import schema_py_generated as schema

DENSE, COMPRESSED = schema.DimensionType.DENSE, schema.DimensionType.SPARSE_CSR
INDICES = [
    ("uint8", schema.SparseIndexVector.Uint8Vector, schema.Uint8VectorT),
    ("uint16", schema.SparseIndexVector.Uint16Vector, schema.Uint16VectorT),
    ("int32", schema.SparseIndexVector.Int32Vector, schema.Int32VectorT),
]


def packed(dense: np.ndarray, block: int = 1) -> tuple[np.ndarray, schema.SparsityParametersT]:
    """The values of a tensor whose last axis is compressed, and where they are.

    Args:
        dense: array of any rank from 2 on.
        block: int that divides the last axis: so many neighbours are kept together if any of them is not zero.
    """
    *outer, size = dense.shape
    blocks = dense.reshape(-1, size // block, block)
    rows, columns = np.nonzero(blocks.any(2))
    sparsity = schema.SparsityParametersT()
    sparsity.blockMap = [len(outer)] if block > 1 else []
    sparsity.traversalOrder = list(range(dense.ndim + len(sparsity.blockMap)))
    sparsity.dimMetadata = [_dense(length) for length in outer]
    sparsity.dimMetadata.append(_compressed(np.bincount(rows, minlength=len(blocks)), columns))
    sparsity.dimMetadata += [_dense(block) for _ in sparsity.blockMap]
    return blocks[rows, columns], sparsity


def unpacked(values: np.ndarray, sparsity: schema.SparsityParametersT, shape: tuple[int, ...]) -> np.ndarray | None:
    """The dense tensor of such a shape; None if it is stored in another way than `packed` does."""
    kinds = [dimension.format for dimension in sparsity.dimMetadata]
    block = int(sparsity.dimMetadata[-1].denseSize) if len(kinds) > len(shape) else 1
    if kinds != [DENSE] * (len(shape) - 1) + [COMPRESSED] + [DENSE] * (block > 1) or shape[-1] % block:
        return None
    if list(sparsity.traversalOrder) != list(range(len(kinds))):
        return None
    where = sparsity.dimMetadata[len(shape) - 1]
    segments, columns = (np.asarray(part.values, "int64") for part in (where.arraySegments, where.arrayIndices))
    dense = np.zeros((math.prod(shape[:-1]), shape[-1] // block, block), values.dtype)
    dense[np.repeat(np.arange(len(dense)), np.diff(segments)), columns] = values.reshape(-1, block)
    return dense.reshape(shape)


def _dense(size: int) -> schema.DimensionMetadataT:
    dimension = schema.DimensionMetadataT()
    dimension.format, dimension.denseSize = DENSE, size
    return dimension


def _compressed(counts: np.ndarray, columns: np.ndarray) -> schema.DimensionMetadataT:
    dimension = schema.DimensionMetadataT()
    dimension.format = COMPRESSED
    segments = np.concatenate([[0], np.cumsum(counts)])
    dimension.arraySegmentsType, dimension.arraySegments = _indices(segments)
    dimension.arrayIndicesType, dimension.arrayIndices = _indices(columns)
    return dimension


def _indices(numbers: np.ndarray) -> tuple:
    """Whole numbers in the fewest bits that hold them."""
    dtype, kind, vector = next(one for one in INDICES if numbers.max(initial=0) <= np.iinfo(one[0]).max)
    made = vector()
    made.values = numbers.astype(dtype)
    return kind, made
