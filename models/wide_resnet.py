"""Wide residual networks for 32 x 32 images (Zagoruyko & Komodakis 2016, arXiv 1605.07146), pre-activation."""

import math
from collections.abc import Callable

import keras
from keras import layers

from models.data_format import channels_axis


def wide_resnet(
    depth: int = 28,
    width: float = 2,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    classes: int = 10,
    conv: Callable[..., layers.Layer] = layers.Conv2D,
    kernel_regularizer=None,
) -> keras.Model:
    """A pre-activation wide residual network, WRN-depth-width; it returns logits.

    `conv` builds the two 3 x 3 convolutions of each residual block. By the paper's convention the first convolution,
    the 1 x 1 convolutions of the shortcuts and the classifier are always dense. WRN-28-2 has 1,467,610 trainable
    parameters, 1,451,520 of them in the 24 kernels that `conv` builds.

    Args:
        depth: int, 6n + 4: three groups of n blocks.
        width: positive number, the factor k on the widths 16, 32 and 64 of the groups (rounded, at least one). It
            leaves the 16 filters of the first convolution.
        input_shape: `(height, width, channels)`, or as Keras is set, `keras.config.image_data_format()`.
        classes: int, the number of outputs.
        conv: builds the convolutions of the blocks, such as `functools.partial(keras_dsr.SparseConv2D, sparsity=0.9)`.
        kernel_regularizer: a Keras regularizer for every kernel.

    Returns:
        An uncompiled functional model from `(batch, *input_shape)` to `(batch, classes)`.

    Raises:
        ValueError: `depth` is not of the form 6n + 4, or `width` is not positive and finite.
    """
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(f"wide_resnet(depth=...) must be 6n + 4 with n >= 1, such as 16, 22, 28. Received: {depth}")
    if not 0 < width < math.inf:
        raise ValueError(
            "wide_resnet(width=...) must be a positive number: the factor k on the widths 16, 32 and 64, such as 2 or "
            f"0.75. Received: {width}"
        )

    def convolve(x, build, filters, size, strides=1):
        # Normal with standard deviation sqrt(2 / (size * size * filters)), as in the paper.
        initializer = keras.initializers.VarianceScaling(2, mode="fan_out", distribution="untruncated_normal")
        return build(
            filters,
            size,
            strides=strides,
            padding="same",
            use_bias=False,
            kernel_initializer=initializer,
            kernel_regularizer=kernel_regularizer,
        )(x)

    def activate(x):
        return layers.Activation("relu")(layers.BatchNormalization(channels_axis(), momentum=0.9, epsilon=1e-5)(x))

    inputs = keras.Input(input_shape)
    x = convolve(inputs, layers.Conv2D, 16, 3)
    for group in range(3):
        filters = max(1, round(16 * 2**group * width))
        for block in range((depth - 4) // 6):
            strides = 2 if group > 0 and block == 0 else 1
            activated = activate(x)
            shortcut = x
            if strides > 1 or x.shape[channels_axis()] != filters:
                shortcut = convolve(activated, layers.Conv2D, filters, 1, strides)
            residual = activate(convolve(activated, conv, filters, 3, strides))
            x = layers.Add()([convolve(residual, conv, filters, 3), shortcut])
    x = layers.GlobalAveragePooling2D()(activate(x))
    outputs = layers.Dense(classes, kernel_regularizer=kernel_regularizer, dtype="float32", name="logits")(x)
    return keras.Model(inputs, outputs, name=f"wide_resnet_{depth}_{width:g}".replace(".", "_"))
