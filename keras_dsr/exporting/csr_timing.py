"""How long a product takes on this machine: dense, and by CSR."""

import statistics
import time
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_dsr.exporting.csr import csr_matrix, multiply


class ProductTime(NamedTuple):
    """Medians of the seconds of one product of `rows` rows of activations with a kernel."""

    rows: int
    dense: float
    csr: float

    @property
    def speedup(self) -> float:
        """How many times as fast the CSR product is as the dense one."""
        return self.dense / self.csr


def measure(kernel: np.ndarray, rows: int, rounds: int = 11, seconds: float = 1.0) -> ProductTime:
    """Time a product with a kernel, dense and by CSR, in turn.

    Args:
        kernel: float32 or float64 matrix of shape `(inputs, outputs)`, with at least one number that is not 0.
        rows: int, how many rows of activations are multiplied at once: the batch size for a `Dense` layer of vectors,
            for a 1x1 convolution times the pixels of an image.
        rounds: int, how often each is done at most, after one that does not count.
        seconds: float, after how long no further round is begun; at least 3 are done.

    Example:

    >>> measure(kernel, rows=64).speedup
    """
    transposed = np.ascontiguousarray(kernel.T)
    positions = np.flatnonzero(transposed)
    matrix = csr_matrix(transposed.reshape(-1)[positions], positions, transposed.shape)
    dense_kernel = tf.constant(kernel)
    inputs = tf.random.stateless_normal([rows, kernel.shape[0]], seed=(1, 2), dtype=kernel.dtype)

    @tf.function(autograph=False, jit_compile=False)
    def dense(inputs, kernel):
        return tf.matmul(inputs, kernel)

    @tf.function(autograph=False, jit_compile=False)
    def csr(inputs, matrix):
        return multiply(inputs, matrix, kernel.shape[1])

    times = {dense: [], csr: []}
    end = time.perf_counter() + seconds
    for number in range(rounds + 1):
        if number > 3 and time.perf_counter() > end:
            break
        for product, argument in ((dense, dense_kernel), (csr, matrix)):
            start = time.perf_counter()
            product(inputs, argument).numpy()
            if number:
                times[product].append(time.perf_counter() - start)
    return ProductTime(rows, statistics.median(times[dense]), statistics.median(times[csr]))
