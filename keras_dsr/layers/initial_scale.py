"""The scale of first weights: the variance that an initializer promises for a dense layer, or for the weights it has.

An initializer that scales by fans makes a sum over that many inputs as large as it should be. A sparse layer sums over
fewer, its active fan: the dense one times the density. Here alone that becomes a factor on what the initializer draws.
"""

import math

import keras
from keras import ops

from keras_dsr.backend.keras_layers import fans

INITIAL_SCALES = ("active", "dense")


def check_initial_scale(initial_scale: str, owner: str) -> str:
    """Return the scale of first weights, or raise `ValueError` if it is unknown."""
    if not isinstance(initial_scale, str) or initial_scale not in INITIAL_SCALES:
        raise ValueError(
            f"{owner}(initial_scale=...) must be 'active' (first weights have the variance that their initializer "
            "promises for the active fan) or 'dense' (that of a dense layer). "
            f"Received: initial_scale={initial_scale!r}"
        )
    return initial_scale


def scales_by_fans(initializer) -> bool:
    """Whether the variance of what an initializer draws depends on the fans of the weight.

    It does in `VarianceScaling` and its subclasses (Glorot, He, LeCun), and in `Orthogonal`: a matrix that keeps the
    norm of a vector has entries of variance 1 / its larger side.
    """
    return isinstance(initializer, (keras.initializers.VarianceScaling, keras.initializers.Orthogonal))


def fan_of(initializer, shape: tuple[int, ...]) -> float:
    """The fan, at least 1, by which the variance of an initializer that scales by fans is divided.

    Args:
        initializer: see `scales_by_fans`.
        shape: of the weight.
    """
    if isinstance(initializer, keras.initializers.Orthogonal):
        return max(1, shape[-1], math.prod(shape[:-1]))
    fan_in, fan_out = fans(shape, initializer.input_axes, initializer.output_axes)
    return max(1, {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[initializer.mode])


def scale_factor(initial_scale: str, initializer, shape: tuple[int, ...], density: float) -> float:
    """What the values that an initializer draws for a weight are multiplied by.

    Args:
        initial_scale: `"active"` or `"dense"`.
        initializer: what draws the weight: a Keras initializer or any function.
        shape: of the weight, dense.
        density: float in (0, 1], the fraction of the weight's positions that are active at first.

    Returns:
        A float: 1 at dense scale, and where the initializer does not scale by fans. Else the square root of the dense
        fan over the active one, which is at least 1 as Keras's own fans are: who has a weight has at least one input.
    """
    if initial_scale == "dense" or not scales_by_fans(initializer):
        return 1.0
    fan = fan_of(initializer, shape)
    return math.sqrt(fan / max(1.0, fan * density))


def scaled(values, factor: float):
    """Values times a factor; the very same where that is 1."""
    return values if factor == 1 else ops.multiply(values, factor)


def largest_draw(initializer, shape: tuple[int, ...]) -> float:
    """The largest magnitude that an initializer that scales by fans can draw for a weight; `inf` if there is none."""
    if isinstance(initializer, keras.initializers.Orthogonal):
        return abs(initializer.gain)
    deviation = math.sqrt(initializer.scale / fan_of(initializer, shape))
    # Cut off at two standard deviations, a normal distribution has 0.87962566 of its own.
    ends = {"uniform": math.sqrt(3), "truncated_normal": 2 / 0.87962566103423978}
    return ends.get(initializer.distribution, math.inf) * deviation
