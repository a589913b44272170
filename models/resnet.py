"""ResNets for ImageNet (He et al. 2015, arXiv 1512.03385), with the stride of a bottleneck in its 3 x 3 convolution."""

import math
from collections.abc import Callable

import keras
from keras import layers

from models.data_format import channels_axis

# A block by its convolutions: size, factor on the stage's channels, whether it has the block's stride.
BASIC = ((3, 1, True), (3, 1, False))
BOTTLENECK = ((1, 1, False), (3, 1, True), (1, 4, False))
FAMILY = {  # block, blocks in each of the four stages
    "resnet_18": (BASIC, (2, 2, 2, 2)),
    "resnet_50": (BOTTLENECK, (3, 4, 6, 3)),
    "resnet_152": (BOTTLENECK, (3, 8, 36, 3)),
}


def resnet_18(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 1000,
    conv: Callable[..., layers.Layer] = layers.Conv2D,
    dense: Callable[..., layers.Layer] = layers.Dense,
    kernel_regularizer=None,
    width: float = 1,
) -> keras.Model:
    """ResNet-18, of blocks of two 3 x 3 convolutions; it returns logits.

    `conv` builds the 16 convolutions of the blocks and `dense` the classifier. By the convention of `resnet_50` the
    first convolution and the 1 x 1 convolutions of the shortcuts are always dense. With 1000 classes there are
    11,689,512 trainable parameters: the 11.7M of DSD (Han et al. 2017, arXiv 1607.04381), with the scales and offsets
    of the batch norms and a 1 x 1 convolution in the three shortcuts where the channels change.

    Args:
        input_shape: `(height, width, channels)`, of any size: five layers halve the maps, 224 pixels to 7.
        classes: int, the number of outputs.
        conv: builds the convolutions of the blocks, such as `functools.partial(keras_dsr.SparseConv2D, sparsity=0.9)`.
        dense: builds the classifier, such as `functools.partial(keras_dsr.SparseDense, sparsity=0.9)`.
        kernel_regularizer: a Keras regularizer for every kernel.
        width: positive number, the factor on every number of channels (rounded, at least one).

    Returns:
        An uncompiled functional model from `(batch, *input_shape)` to `(batch, classes)`.

    Raises:
        ValueError: `width` is not positive and finite.
    """
    return _resnet("resnet_18", input_shape, classes, conv, dense, kernel_regularizer, width)


def resnet_50(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 1000,
    conv: Callable[..., layers.Layer] = layers.Conv2D,
    dense: Callable[..., layers.Layer] = layers.Dense,
    kernel_regularizer=None,
    width: float = 1,
) -> keras.Model:
    """ResNet-50; it returns logits.

    `conv` builds the 48 convolutions of the bottlenecks and `dense` the classifier. By the convention of Mostafa & Wang
    (2019, arXiv 1902.05967) the first convolution and the 1 x 1 convolutions of the shortcuts are always dense. With
    1000 classes there are 25,557,032 trainable parameters (published: 25.6M), 22,724,608 of them in the 49 kernels that
    `conv` and `dense` build.

    Args:
        input_shape: `(height, width, channels)`, of any size: five layers halve the maps, 224 pixels to 7.
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
    return _resnet("resnet_50", input_shape, classes, conv, dense, kernel_regularizer, width)


def resnet_152(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 1000,
    conv: Callable[..., layers.Layer] = layers.Conv2D,
    dense: Callable[..., layers.Layer] = layers.Dense,
    kernel_regularizer=None,
    width: float = 1,
) -> keras.Model:
    """ResNet-152: ResNet-50 with 50 bottlenecks in place of 16; it returns logits.

    `conv` builds the 150 convolutions of the bottlenecks and `dense` the classifier. By the convention of `resnet_50`
    the first convolution and the 1 x 1 convolutions of the shortcuts are always dense. With 1000 classes there are
    60,192,808 trainable parameters: the published 60.2M, with the scales and offsets of the batch norms.

    Args:
        input_shape: as `resnet_50`.
        classes: as `resnet_50`.
        conv: as `resnet_50`.
        dense: as `resnet_50`.
        kernel_regularizer: as `resnet_50`.
        width: as `resnet_50`.

    Returns:
        An uncompiled functional model from `(batch, *input_shape)` to `(batch, classes)`.

    Raises:
        ValueError: `width` is not positive and finite.
    """
    return _resnet("resnet_152", input_shape, classes, conv, dense, kernel_regularizer, width)


def _resnet(name, input_shape, classes, conv, dense, kernel_regularizer, width):
    """The network of that name in the family."""
    if not 0 < width < math.inf:
        raise ValueError(
            f"{name}(width=...) must be a positive number: the factor on every number of channels, such as 1 or 0.5. "
            f"Received: {width}"
        )
    block, stages = FAMILY[name]

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
        return layers.BatchNormalization(channels_axis(), momentum=0.9, epsilon=1e-5)(x)

    channels = [max(1, round(64 * 2**stage * width)) for stage in range(len(stages))]
    inputs = keras.Input(input_shape)
    x = layers.Activation("relu")(convolve(inputs, layers.Conv2D, channels[0], 7, 2))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))  # after a ReLU, zeros never win
    for stage, blocks in enumerate(stages):
        for number in range(blocks):
            strides = 2 if stage > 0 and number == 0 else 1
            x = _residual(x, block, channels[stage], strides, conv, convolve)
    x = layers.GlobalAveragePooling2D()(x)
    x = dense(classes, kernel_regularizer=kernel_regularizer)(x)
    return keras.Model(inputs, layers.Activation("linear", dtype="float32", name="logits")(x), name=name)


def _residual(x, block, channels, strides, conv, convolve):
    """One block, with a convolution in its shortcut where the shape of the maps changes."""
    shortcut, outputs = x, block[-1][1] * channels
    if strides > 1 or x.shape[channels_axis()] != outputs:
        shortcut = convolve(x, layers.Conv2D, outputs, 1, strides)
    for position, (size, factor, strided) in enumerate(block):
        x = layers.Activation("relu")(x) if position else x
        x = convolve(x, conv, factor * channels, size, strides if strided else 1)
    return layers.Activation("relu")(layers.Add()([x, shortcut]))
