"""Few numbers among many positions, in few bytes: their values, and their positions as 8-bit gaps or as a bitmask.

Gaps: for each number the positions skipped since the one before it, from 0 to 254 in one byte; a byte of 255 skips 255
positions and goes on. Bitmask: one bit a position, the first position in the highest bit of the first byte. Of k
numbers spread among n positions, gaps take about k bytes and the bitmask n / 8: gaps are smaller below a density of
about 1 in 8.
"""

from typing import NamedTuple

import numpy as np

LONGEST = 255  # a byte that skips as many positions and holds no number


class Packed(NamedTuple):
    """A tensor of `shape` whose positions are all 0 but those of `values`.

    Attributes:
        values: 1D array of the numbers, in the order of their flat positions.
        code: 1D uint8 array that says where they are.
        is_gaps: whether `code` holds gaps (else it is a bitmask).
        shape: of the dense tensor.
    """

    values: np.ndarray
    code: np.ndarray
    is_gaps: bool
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the values and the code."""
        return self.values.nbytes + self.code.nbytes


def pack(tensor: np.ndarray) -> Packed:
    """Pack a tensor into what is not zero in it, with the smaller of the two codes; every bit comes back.

    A negative zero counts as a number, as its bits are not all 0.
    """
    flat = np.ascontiguousarray(tensor).reshape(-1)
    positions = np.flatnonzero((flat != 0) | np.signbit(flat))
    return Packed(flat[positions], *encode(positions, flat.size), tensor.shape)


def unpack(packed: Packed) -> np.ndarray:
    """The dense tensor, of the dtype of the values."""
    size = int(np.prod(packed.shape, dtype=np.int64))
    tensor = np.zeros(size, dtype=packed.values.dtype)
    tensor[decode(packed.code, packed.is_gaps, size)] = packed.values
    return tensor.reshape(packed.shape)


def packed_bytes(positions: np.ndarray, size: int, itemsize: int) -> int:
    """Bytes that `pack` takes for numbers of `itemsize` bytes at these positions, of `size` positions."""
    return len(positions) * itemsize + min(_gap_bytes(positions), _mask_bytes(size))


def encode(positions: np.ndarray, size: int) -> tuple[np.ndarray, bool]:
    """The smaller code of increasing flat positions, out of `size` positions, and whether it is one of gaps."""
    if _gap_bytes(positions) <= _mask_bytes(size):
        gaps = np.diff(positions, prepend=-1) - 1
        code = np.full(_gap_bytes(positions), LONGEST, dtype=np.uint8)
        code[np.cumsum(gaps // LONGEST + 1) - 1] = gaps % LONGEST
        return code, True
    bits = np.zeros(size, dtype=bool)
    bits[positions] = True
    return np.packbits(bits), False


def decode(code: np.ndarray, is_gaps: bool, size: int) -> np.ndarray:
    """The positions that `encode` was given, int64."""
    if not is_gaps:
        return np.flatnonzero(np.unpackbits(code, count=size))
    ends = np.cumsum(code.astype(np.int64) + (code < LONGEST))
    return ends[code < LONGEST] - 1


def _gap_bytes(positions: np.ndarray) -> int:
    return int(np.sum((np.diff(positions, prepend=-1) - 1) // LONGEST + 1))


def _mask_bytes(size: int) -> int:
    return -(-size // 8)
