"""Random numbers that depend on (seed, tensor, step) alone: nothing to save, the same on every replica."""

import copy
import hashlib
import math

import keras
from keras import ops

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


def random_keys(shape, seed: StepSeed):
    """Uniform int32 keys in `[0, MAX_KEY]` of the given shape, for `select_smallest`."""
    # Drawn flat: the same numbers, and XLA compiles them in half the time.
    keys = keras.random.randint((math.prod(shape),), 0, MAX_KEY + 1, dtype="int32", seed=seed)
    return ops.reshape(keys, shape)
