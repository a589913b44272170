"""What the weights of a layer are made of, by the pattern that the user named."""

import dataclasses
import math
from typing import Any, cast

import keras

from keras_dsr.layers.einsum import summed_axes
from keras_dsr.ops.patterns import Pattern, n_of_m
from keras_dsr.ops.units import SINGLE, Blocks, FanIn, NOfM, Slices, Units

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
        ValueError: blocks or groups of a weight that is no matrix and holds none; N:M of inputs that are no multiple of
            M.
    """
    in_groups = pattern == "fan_in" or n_of_m(pattern) is not None
    if isinstance(pattern, str) and not in_groups:
        window = getattr(layer, "kernel_size", ()) if role in ("kernel", "depthwise_kernel") else ()
        is_slice = pattern == "kernel" and any(size > 1 for size in window)
        return Slices(tuple(range(len(window)))) if is_slice else SINGLE
    of_layer = "" if layer is None else f" of {type(layer).__name__} {layer.name!r}"
    if len(shape) < 2:
        raise ValueError(
            f"pattern={pattern!r} is of inputs by outputs, and {role!r}{of_layer} has the shape {tuple(shape)}. Leave "
            "it dense, or use pattern='element'."
        )
    outputs_first = isinstance(layer, _TRANSPOSED)
    if isinstance(layer, keras.layers.EinsumDense):
        rows = math.prod(shape[: summed_axes(layer.equation)])
        view = 1, rows, math.prod(shape) // rows
    else:
        view = math.prod(shape[:-2]), shape[-2], shape[-1]
    if not in_groups:
        pair = cast(tuple[int, int], pattern)
        return Blocks(pair[::-1] if outputs_first else pair, view)
    numbers = n_of_m(pattern)
    if numbers is None:
        return FanIn(view, outputs_first)
    inputs = view[2] if outputs_first else view[1]
    if inputs % numbers[1]:
        raise ValueError(
            f"pattern={pattern!r} is of {numbers[1]} neighbouring inputs, and {role!r}{of_layer} has {inputs} inputs, "
            f"which is no multiple of {numbers[1]}. Leave it dense (`exclude=` of `sparsify`), or use another pattern."
        )
    return NOfM(view, outputs_first, *numbers)


def outputs_of(layer: keras.layers.Layer | None, role: str, shape: tuple[int, ...], units: Units) -> FanIn | None:
    """How the units of a weight, as the arguments of `units_of`, belong to outputs; None: it has none."""
    if len(shape) < 2:
        return None
    of_weights = cast(FanIn, units_of(layer, role, shape, "fan_in"))
    if isinstance(units, Blocks):
        return dataclasses.replace(of_weights, view=units.shape(shape))
    if isinstance(units, Slices):
        return dataclasses.replace(of_weights, view=(1, *of_weights.view[1:]))
    return of_weights


def renamed(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a sparse layer; version 0.1.0 called the pattern granularity."""
    if "granularity" not in config:
        return config
    return {("pattern" if name == "granularity" else name): value for name, value in config.items()}
