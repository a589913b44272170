"""What the weights of a layer are made of, by the pattern that the user named."""

import math
from typing import Any

import keras

from keras_dsr.layers.einsum import summed_axes
from keras_dsr.ops.patterns import SINGLE, Blocks, Pattern, Slices, Units

# Their kernels have outputs before inputs.
_TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)


def units_of(layer: keras.layers.Layer | None, role: str, shape: tuple[int, ...], pattern: Pattern) -> Units:
    """What a weight of a layer, sparse or stock, is made of by a pattern.

    Args:
        layer: of a stock or of a sparse class; None: it is not known.
        role: what the weight is in it, such as `"kernel"`.
        shape: of the weight.
        pattern: as `ops.patterns.check_pattern` returned it.

    Raises:
        ValueError: blocks of a weight that is no matrix and holds none.
    """
    if isinstance(pattern, str):
        window = getattr(layer, "kernel_size", ()) if role in ("kernel", "depthwise_kernel") else ()
        is_slice = pattern == "kernel" and any(size > 1 for size in window)
        return Slices(tuple(range(len(window)))) if is_slice else SINGLE
    if len(shape) < 2:
        of_layer = "" if layer is None else f" of {type(layer).__name__} {layer.name!r}"
        raise ValueError(
            f"pattern={pattern!r} is of blocks of inputs by outputs, and {role!r}{of_layer} has the shape "
            f"{tuple(shape)}. Leave it dense, or use pattern='element'."
        )
    if isinstance(layer, keras.layers.EinsumDense):
        rows = math.prod(shape[: summed_axes(layer.equation)])
        return Blocks(pattern, (1, rows, math.prod(shape) // rows))
    view = math.prod(shape[:-2]), shape[-2], shape[-1]
    return Blocks(pattern[::-1] if isinstance(layer, _TRANSPOSED) else pattern, view)


def renamed(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a sparse layer; version 0.1.0 called the pattern granularity."""
    if "granularity" not in config:
        return config
    return {("pattern" if name == "granularity" else name): value for name, value in config.items()}
