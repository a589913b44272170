"""Tied weights: every position of a kernel reads one value of a small bank, which a fixed random draw picks for it.

This is HashedNet (Chen et al. 2015, "Compressing Neural Networks with the Hashing Trick", arXiv 1504.04788). A draw of
pseudo-random numbers takes the place of the two hash functions: a function of (seed, position) all the same.
"""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_dsr.arguments import is_number, is_whole
from keras_dsr.ops.segments import segment_sum


def check_budget(budget: int | float, owner: str) -> int | float:
    """Return the budget as an int or a float, or raise `ValueError` if it is not an int >= 1 or a float in (0, 1).

    Args:
        budget: the number of values in the bank, or its fraction of the kernel's positions.
        owner: who asks, in call form (`"TiedDense"`), for the message.
    """
    if is_whole(budget) and budget >= 1:
        return int(budget)
    if is_number(budget) and 0 < budget < 1:
        return float(budget)
    raise ValueError(
        f"{owner}(budget=...) must be an int >= 1, the number of values that the kernel is made of, or a float in "
        f"(0, 1), their fraction of the kernel's positions (0.1 makes ten weights share one value). "
        f"Received: budget={budget!r}"
    )


def bank_size(budget: int | float, shape: Sequence[int], owner: str) -> int:
    """The number of values in the bank of a kernel: a float budget is rounded, and gives at least one.

    Args:
        budget: int >= 1 or float in (0, 1).
        shape: the shape of the kernel.
        owner: who asks, in call form, for the message.

    Raises:
        ValueError: an int budget larger than the number of positions.
    """
    positions = math.prod(shape)
    size = budget if isinstance(budget, int) else max(1, round(budget * positions))
    if size > positions:
        raise ValueError(
            f"{owner}(budget=...) must be at most {positions}, the number of positions of its kernel of shape "
            f"{tuple(shape)}: with more values some could never be read. Use the stock layer to tie nothing. "
            f"Received: budget={budget!r}"
        )
    return size


def draw_index(positions: int, size: int, seed: int) -> np.ndarray:
    """h(i): the place in the bank that each position reads, uniform and independent.

    Args:
        positions: int, the number of positions of the kernel.
        size: int, the number of values in the bank.
        seed: int >= 0.

    Returns:
        An int32 array of shape `(positions,)` with entries in `[0, size)`; the same on every backend and machine.
    """
    return (_raw_numbers(positions, seed, purpose=0) % np.uint64(size)).astype("int32")


def draw_signs(positions: int, seed: int) -> np.ndarray:
    """xi(i): an int8 array of shape `(positions,)` of -1 and +1, uniform and independent of `draw_index`."""
    return np.where(_raw_numbers(positions, seed, purpose=1) >> np.uint64(63), 1, -1).astype("int8")


def expand_bank(bank, index, signs=None):
    """The kernel's weights: `bank[h(i)]`, or `bank[h(i)] * xi(i)` (eq. 3 and 7 of the paper).

    The gradient of a bank value is the sum over the positions that read it, with their signs (eq. 12). It is a dense
    tensor, and a sum of half-precision numbers is taken in float32 and rounded once.

    Args:
        bank: float tensor of shape `(size,)`.
        index: int32 array of shape `(positions,)`, entries in `[0, size)`.
        signs: int8 array of shape `(positions,)` of -1 and +1, or `None` for no signs.

    Returns:
        A tensor of shape `(positions,)` in the dtype of the bank.
    """
    # Not a variable: TensorFlow wants a gradient for each that `expand` reads. A reshape is a read on every backend.
    bank = ops.reshape(bank, (-1,))
    size, dtype = bank.shape[0], keras.backend.standardize_dtype(bank.dtype)
    index = ops.convert_to_tensor(index)
    signs = None if signs is None else ops.cast(ops.convert_to_tensor(signs), dtype)

    def signed(values):
        return values if signs is None else values * signs

    @ops.custom_gradient
    def expand(bank):
        def gradient(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            wide = dtype if dtype == "float64" else "float32"
            return ops.cast(segment_sum(ops.cast(signed(upstream), wide), index, size), dtype)

        return signed(ops.take(bank, index, axis=0)), gradient

    return expand(bank)


def _raw_numbers(count: int, seed: int, purpose: int) -> np.ndarray:
    # Raw words: numpy keeps the stream of a bit generator for ever, but not what `default_rng` makes of it. A file
    # holds the seed alone, so another stream would load another network.
    return np.random.PCG64(np.random.SeedSequence([seed, purpose])).random_raw(count)
