"""How long the product with a kernel takes here, dense and by TensorFlow's stock CSR operations."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from keras_dsr.exporting.csr_kinds import is_product, matrix_of
from keras_dsr.reporting.kernels import Kernel

SECONDS_A_PRODUCT = 0.3
SECONDS_IN_ALL = 30.0
LARGEST = 2**28  # positions: a dense product with more is not tried


class Measured(NamedTuple):
    """Median seconds of one product; `sparse` by CSR."""

    batch_size: int
    dense: float
    sparse: float


def measured(kernel: Kernel, uses: int, batch_size: int) -> Measured | None:
    """Time the product with a sparse kernel at a batch size; None where it cannot be done.

    Args:
        kernel: of a `Dense` layer or a convolution with a window of 1.
        uses: rows of activations that one example has for this kernel (see `costs.Uses`).
        batch_size: int, examples.
    """
    if not _is_product(kernel):
        return None
    try:
        from keras_dsr.exporting.csr_timing import measure
    except ImportError:  # no TensorFlow: its product cannot be timed here
        return None
    matrix = matrix_of(kernel.values())
    if not matrix.any():
        return None
    taken = measure(matrix, uses * batch_size, seconds=SECONDS_A_PRODUCT)
    return Measured(batch_size, taken.dense, taken.csr)


def measure_all(
    kernels: Sequence[tuple[Kernel, int | None]], batch_sizes: Sequence[int]
) -> tuple[dict[Kernel, list[Measured]], int]:
    """Time the products with sparse kernels, the largest first, for half a minute at most.

    Args:
        kernels: pairs of a kernel and its uses; None: unknown, not timed.
        batch_sizes: ints.

    Returns:
        What was measured, by kernel, and how many kernels there was no time left for.
    """
    found: dict[Kernel, list[Measured]] = {}
    timed = [(kernel, uses) for kernel, uses in kernels if uses and batch_sizes and _is_product(kernel)]
    end = time.perf_counter() + SECONDS_IN_ALL
    left = 0
    for kernel, uses in sorted(timed, key=lambda pair: -pair[0].size * pair[1]):
        if time.perf_counter() > end:
            left += 1
            continue
        taken = [measured(kernel, uses, batch_size) for batch_size in batch_sizes]
        if None not in taken:
            found[kernel] = taken
    return found, left


def _is_product(kernel: Kernel) -> bool:
    return kernel.is_sparse and kernel.role == "kernel" and kernel.size <= LARGEST and is_product(kernel.layer)
