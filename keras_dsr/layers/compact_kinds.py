"""The layers that can be compact: dense, an einsum that is a product with a matrix, convolutions."""

import math

import keras
from keras import ops

from keras_dsr.backend.planes import Window
from keras_dsr.backend.sparse_convolution import convolve
from keras_dsr.layers.compact import CompactLayer
from keras_dsr.layers.einsum import summed_axes, terms


@keras.saving.register_keras_serializable(package="keras_dsr")
class CompactDense(CompactLayer, keras.layers.Dense):
    """What `SparseDense(..., storage="compact")` makes: `keras.layers.Dense` in compact storage."""

    stock_class = keras.layers.Dense

    def call(self, inputs, training=None):
        return self._finished(self.product(inputs))


@keras.saving.register_keras_serializable(package="keras_dsr")
class CompactEinsumDense(CompactLayer, keras.layers.EinsumDense):
    """What `SparseEinsumDense(..., storage="compact")` makes, of an equation that is a product with a matrix.

    It sums over the last axes of the inputs, which are the first of the kernel in the same order; the others of the
    kernel are the last of the outputs: `"...a,ab->...b"`, `"abc,cde->abde"`, `"abde,dec->abc"`.
    """

    stock_class = keras.layers.EinsumDense

    @staticmethod
    def check_is_product(layer):
        inputs, kernel, outputs = terms(layer.equation)
        summed = summed_axes(layer.equation)
        kept = inputs[: len(inputs) - summed]
        if (kept + kernel[:summed], kept + kernel[summed:]) != (inputs, outputs):
            raise ValueError(
                "SparseEinsumDense(storage='compact') needs an equation that is a product with a matrix: the last axes "
                "of the inputs are summed over, and are the first of the kernel, as in '...a,ab->...b' or "
                f"'abc,cde->abde'. Use storage='masked' for another. Received: {layer.equation!r}"
            )

    def _rows_of_matrix(self, shape):
        return math.prod(shape[: summed_axes(self.equation)])

    def call(self, inputs, training=None):
        summed = summed_axes(self.equation)
        kept = ops.shape(inputs)[: len(inputs.shape) - summed]
        product = self.product(ops.reshape(inputs, (*kept, self.matrix_shape[0])))
        return self._finished(ops.reshape(product, (*kept, *self.kernel_shape[summed:])))


class _CompactConv(CompactLayer):
    """A convolution of any window, strides, dilation, padding and groups, of either data format."""

    @property
    def window(self):
        return Window(
            channels=self.kernel_shape[-2] * self.groups,
            filters=self.filters,
            window=self.kernel_size,
            strides=self.strides,
            dilations=self.dilation_rate,
            padding=self.padding,
            groups=self.groups,
            channels_last=self.data_format == "channels_last",
        )

    def call(self, inputs):
        where = self.kernel_indices.value, self.kernel_count.value
        outputs = convolve(inputs, self.kernel_values.value, *where, self.window, self.seen_gradients)
        if self.bias is not None:
            shape = (1,) * (self.rank + 1) + (-1,) if self.window.channels_last else (1, -1) + (1,) * self.rank
            outputs = ops.add(outputs, ops.reshape(self.bias, shape))
        return outputs if self.activation is None else self.activation(outputs)


@keras.saving.register_keras_serializable(package="keras_dsr")
class CompactConv1D(_CompactConv, keras.layers.Conv1D):
    """What `SparseConv1D(..., storage="compact")` makes: `keras.layers.Conv1D` in compact storage."""

    stock_class = keras.layers.Conv1D


@keras.saving.register_keras_serializable(package="keras_dsr")
class CompactConv2D(_CompactConv, keras.layers.Conv2D):
    """What `SparseConv2D(..., storage="compact")` makes: `keras.layers.Conv2D` in compact storage."""

    stock_class = keras.layers.Conv2D


@keras.saving.register_keras_serializable(package="keras_dsr")
class CompactConv3D(_CompactConv, keras.layers.Conv3D):
    """What `SparseConv3D(..., storage="compact")` makes: `keras.layers.Conv3D` in compact storage."""

    stock_class = keras.layers.Conv3D
