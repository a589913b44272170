"""Initial values of some positions of a weight, drawn as the weight's initializer draws all of them."""

import math

import keras

from keras_dsr.layers.initial_scale import fan_of

# Each entry is drawn by itself, whatever the shape.
_ALONE = (
    keras.initializers.Constant,
    keras.initializers.Ones,
    keras.initializers.RandomNormal,
    keras.initializers.RandomUniform,
    keras.initializers.TruncatedNormal,
    keras.initializers.Zeros,
)


def check_draws_each_alone(initializer, owner: str) -> None:
    """Raise `ValueError` if an initializer is none that draws each weight by itself."""
    is_array = isinstance(initializer, keras.initializers.Constant) and bool(getattr(initializer.value, "shape", ()))
    if isinstance(initializer, _ALONE) and not is_array:
        return
    if not isinstance(initializer, keras.initializers.VarianceScaling):
        raise ValueError(
            f"{owner}(kernel_initializer=...) must be one of Keras's that draw each weight by itself, such as "
            "'glorot_uniform', 'he_normal' or RandomNormal: the values of the weights that exist are drawn, never a "
            f"whole kernel. Use storage='masked' for another. Received: {initializer!r}"
        )


def draw(initializer, shape: tuple[int, ...], count, dtype: str, seed=None):
    """Values of `count` positions of a weight.

    Args:
        initializer: a Keras initializer that draws each weight by itself.
        shape: of the whole weight, on which the scale of the values may depend.
        count: int or int32 scalar tensor.
        dtype: of the values.
        seed: a `StepSeed` in place of the initializer's own seed; None: its own.

    Returns:
        A tensor of shape `(count,)`.
    """
    alone = _alone(initializer, shape)
    config = alone.get_config()
    if seed is not None and "seed" in config:
        alone = type(alone).from_config({**config, "seed": seed})
    return alone((count,), dtype=dtype)


def _alone(initializer, shape: tuple[int, ...]):
    """An initializer that does for a part of a weight of the shape what the given one does for all of it."""
    if not isinstance(initializer, keras.initializers.VarianceScaling):
        return initializer
    variance = initializer.scale / fan_of(initializer, shape)
    if initializer.distribution == "uniform":
        limit = math.sqrt(3 * variance)
        return keras.initializers.RandomUniform(-limit, limit, seed=initializer.seed)
    if initializer.distribution == "untruncated_normal":
        return keras.initializers.RandomNormal(stddev=math.sqrt(variance), seed=initializer.seed)
    # Cut off at two standard deviations, a normal distribution has 0.87962566 of its own.
    return keras.initializers.TruncatedNormal(stddev=math.sqrt(variance) / 0.87962566103423978, seed=initializer.seed)
