"""Arrays in memory that was used before: the pages of fresh memory cost as much as the arithmetic that fills them."""

import math
import sys
import time

import numpy as np

ALIGNED = 64  # bytes, by which TensorFlow takes an array as it is
FORGOTTEN = 10.0  # seconds, after which memory that nobody asked for again is given back
_UNUSED = 3  # references to an array that only `_bases` holds, counted inside of the loop over them

_bases: dict[int, list] = {}  # by bytes: pairs of memory and when it was last given out
_looked_through = 0.0


def empty(shape: tuple[int, ...], dtype) -> np.ndarray:
    """An array that is not initialized. Its memory is used again when neither it nor a view of it is left."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    now = time.monotonic()
    if now > _looked_through + FORGOTTEN:
        _forget(now)
    pairs = _bases.setdefault(size, [])
    for pair in pairs:
        base = pair[0]
        if sys.getrefcount(base) <= _UNUSED:
            pair[1] = now
            break
    else:
        base = np.empty(size + ALIGNED, "uint8")
        pairs.append([base, now])
    start = -base.ctypes.data % ALIGNED
    return base[start : start + size].view(dtype).reshape(shape)


def _forget(now: float) -> None:
    global _looked_through
    _looked_through = now
    for size, pairs in list(_bases.items()):
        _bases[size] = [pair for pair in pairs if pair[1] > now - FORGOTTEN]
        if not _bases[size]:
            del _bases[size]
