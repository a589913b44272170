"""The layers that can be compact: dense, an einsum that is a product with a matrix, a convolution of window 1."""

import math

import keras
from keras import ops

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


@keras.saving.register_keras_serializable(package="keras_dsr")
class CompactConv2D(CompactLayer, keras.layers.Conv2D):
    """What `SparseConv2D(..., storage="compact")` makes, of a window of 1, one group and channels last."""

    stock_class = keras.layers.Conv2D

    @staticmethod
    def check_is_product(layer):
        if set(layer.kernel_size) != {1} or layer.groups != 1 or layer.data_format != "channels_last":
            raise ValueError(
                "SparseConv2D(storage='compact') needs a window of 1, one group and channels last: that is a product "
                "with a matrix. Use storage='masked' for another. Received: "
                f"kernel_size={layer.kernel_size}, groups={layer.groups}, data_format={layer.data_format!r}"
            )

    def call(self, inputs):
        strides = (slice(None, None, stride) for stride in self.strides)
        return self._finished(self.product(inputs[(slice(None), *strides)]))
