"""What the layers of a network compute in. Whatever it is, they hold their weights in float32."""

import contextlib
from collections.abc import Iterator

import keras

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Layers and models that are made inside compute in that precision, one of `PRECISIONS`.

    Under `mixed_float16` a model of them compiles with a scaled loss.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
