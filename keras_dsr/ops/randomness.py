"""Random numbers that depend on (seed, tensor, step) alone: nothing to save, the same on every replica."""

import copy
import hashlib
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_dsr.ops.segments import Segments
from keras_dsr.ops.selection import MAX_KEY


class StepSeed(keras.random.SeedGenerator):
    """A seed for `keras.random` that is a function of (seed, tensor, step) and holds no variable.

    Args:
        seed: int, the seed of the run.
        tensor: int, the index of the tensor that the numbers are for.
        step: int32 scalar tensor (it may be traced), the training step.
        purpose: string, keeps independent draws for one tensor and step apart.
    """

    def __init__(self, seed: int, tensor: int, step, purpose: str):
        # The parent's constructor would make a state variable; this generator has no state.
        digest = hashlib.sha256(f"{seed}/{tensor}/{purpose}".encode()).digest()
        self._word = int.from_bytes(digest[:4], "little") & 0x7FFFFFFF
        self._step = step

    def in_round(self, number) -> "StepSeed":
        """A seed for one of several draws for the same purpose; `number` is an int32 scalar tensor."""
        other = copy.copy(self)
        if keras.backend.backend() == "jax":  # which has no integers of 64 bits
            other._word = ops.bitwise_and(ops.cast(number, "uint32") * 1000003 + self._word, 0x7FFFFFFF)
        else:
            other._word = ops.cast((ops.cast(number, "int64") * 1000003 + self._word) % 2147483647, "int32")
        return other

    def next(self, ordered=True):
        if keras.backend.backend() == "torch":  # torch adds the two words up: mix them into one
            mixed = (ops.cast(self._step, "int64") * 2654435761 + self._word * 40503) % 2147483647
            return ops.stack([mixed, mixed * 0])
        dtype = "uint32" if keras.backend.backend() == "jax" else "int32"
        return ops.stack([ops.cast(self._word, dtype), ops.cast(self._step, dtype)])


def random_keys(segments: Segments, seeds: Sequence[StepSeed]):
    """Uniform int32 keys in `[0, MAX_KEY]` for `select_smallest`, joined; each tensor has a seed of its own.

    Args:
        segments: how the keys are joined.
        seeds: of each tensor, all of one step.

    They are those that `keras.random.randint` draws for the entries of each tensor. (On JAX one program for each tensor
    would take long to compile; there they are drawn together.)
    """
    if keras.backend.backend() == "jax":
        return _random_keys_on_jax(segments, seeds)
    keys = [
        keras.random.randint((size,), 0, MAX_KEY + 1, dtype="int32", seed=seed)
        for size, seed in zip(segments.sizes, seeds, strict=True)
    ]
    return segments.join(keys)


def _random_keys_on_jax(segments: Segments, seeds: Sequence[StepSeed]):
    """What `jax.random.randint` makes of Threefry's bits: entry i of a tensor has those of counter i."""
    words = ops.convert_to_tensor(np.array([seed._word for seed in seeds], "uint32"))
    steps = ops.zeros_like(words) + ops.cast(seeds[0]._step, "uint32")
    # It splits the seed in two. The bits of the first have no weight: 2**32 is 0 in 32 bits.
    seeds = _threefry(words, steps, ops.ones_like(words))
    high, low = _threefry(*[segments.spread(word) for word in seeds], ops.cast(segments.indices(), "uint32"))
    return ops.cast((high ^ low) % (MAX_KEY + 1), "int32")


def _threefry(first_word, second_word, counters) -> list:
    """Threefry-2x32 (Salmon et al., SC 2011) of 20 rounds, of counters below 2**32; two uint32 tensors."""
    words = [first_word, second_word, first_word ^ second_word ^ 0x1BD11BDA]
    left, right = first_word, counters + second_word
    for group in range(5):
        for rotation in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            left = left + right
            right = ((right << rotation) | (right >> (32 - rotation))) ^ left
        left = left + words[(group + 1) % 3]
        right = right + words[(group + 2) % 3] + (group + 1)
    return [left, right]
