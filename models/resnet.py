"""ResNet-50 for ImageNet (He et al. 2015, arXiv 1512.03385), with the stride of a block in its 3 x 3 convolution."""

import math
from collections.abc import Callable

import keras
from keras import layers

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # width of the bottleneck, blocks


def resnet_50(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 1000,
    conv: Callable[..., layers.Layer] = layers.Conv2D,
    dense: Callable[..., layers.Layer] = layers.Dense,
    kernel_regularizer=None,
    width: float = 1,
) -> keras.Model:
    """ResNet-50; it returns logits.

    `conv` builds the 48 convolutions of the bottlenecks and `dense` the classifier. By the paper's convention the first
    convolution and the 1 x 1 convolutions of the shortcuts are always dense. With 1000 classes there are 25,557,032
    trainable parameters, 22,724,608 of them in the 49 kernels that `conv` and `dense` build.

    Args:
        input_shape: `(height, width, channels)`.
        classes: int, the number of outputs.
        conv: builds the convolutions of the blocks, such as `functools.partial(keras_dsr.SparseConv2D, sparsity=0.9)`.
        dense: builds the classifier, such as `functools.partial(keras_dsr.SparseDense, sparsity=0.9)`.
        kernel_regularizer: a Keras regularizer for every kernel.
        width: positive number, the factor on the channels of the first convolution and of the bottlenecks (rounded, at
            least one). A block's output stays four times as wide as its bottleneck.

    Returns:
        An uncompiled functional model from `(batch, *input_shape)` to `(batch, classes)`.

    Raises:
        ValueError: `width` is not positive and finite.
    """
    if not 0 < width < math.inf:
        raise ValueError(
            "resnet_50(width=...) must be a positive number: the factor on every number of channels, such as 1 or 0.5. "
            f"Received: {width}"
        )

    def scaled(channels):
        return max(1, round(channels * width))

    def convolve(x, build, filters, size, strides=1):
        # Explicit padding, the same on both sides at every stride.
        x = layers.ZeroPadding2D(size // 2)(x) if size > 1 else x
        initializer = keras.initializers.VarianceScaling(2, mode="fan_out", distribution="untruncated_normal")
        x = build(
            filters,
            size,
            strides=strides,
            use_bias=False,
            kernel_initializer=initializer,
            kernel_regularizer=kernel_regularizer,
        )(x)
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)

    inputs = keras.Input(input_shape)
    x = layers.Activation("relu")(convolve(inputs, layers.Conv2D, scaled(64), 7, 2))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))  # after a ReLU, zeros never win
    for stage, (channels, blocks) in enumerate(STAGES):
        filters = scaled(channels)
        for block in range(blocks):
            strides = 2 if stage > 0 and block == 0 else 1
            shortcut = x if block else convolve(x, layers.Conv2D, 4 * filters, 1, strides)
            x = layers.Activation("relu")(convolve(x, conv, filters, 1))
            x = layers.Activation("relu")(convolve(x, conv, filters, 3, strides))
            x = convolve(x, conv, 4 * filters, 1)
            x = layers.Activation("relu")(layers.Add()([x, shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    x = dense(classes, kernel_regularizer=kernel_regularizer)(x)
    return keras.Model(inputs, layers.Activation("linear", dtype="float32", name="logits")(x), name="resnet_50")
