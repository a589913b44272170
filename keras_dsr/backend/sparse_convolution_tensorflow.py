"""The convolution of training (see `backend.sparse_convolution`) on TensorFlow: a graph calls back to Python."""

import tensorflow as tf

from keras_dsr.backend.plane_convolution import convolution_of
from keras_dsr.backend.planes import output_shape


def convolve(inputs, values, indices, count, window, seen):
    """As `backend.sparse_convolution.convolve`."""
    where = [tf.convert_to_tensor(indices), tf.convert_to_tensor(count)]

    def forward(inputs, values, indices, count):
        seen.forward()
        convolution = convolution_of(window, inputs.shape)
        return convolution.forward(inputs, values, convolution.structure(indices, int(count)))

    def backward(inputs, upstream, values, indices, count):
        convolution = convolution_of(window, inputs.shape)
        return convolution.backward(inputs, upstream, values, convolution.structure(indices, int(count)))

    def first_backward(inputs, upstream, values, indices, count):
        seen.backward(inputs, upstream)
        return backward(inputs, upstream, values, indices, count)

    @tf.custom_gradient
    def convolved(inputs, values):
        outputs = tf.numpy_function(forward, [inputs, values, *where], inputs.dtype, stateful=False)
        outputs.set_shape(output_shape(window, tuple(inputs.shape)))
        return outputs, lambda upstream: gradients_by(first_backward)(inputs, upstream, values)

    def gradients_by(function):
        @tf.custom_gradient
        def gradients(inputs, upstream, values):
            given = [inputs, upstream, values, *where]
            results = tf.numpy_function(function, given, [inputs.dtype, values.dtype], stateful=False)
            for result, of in zip(results, (inputs, values)):
                result.set_shape(of.shape)

            def second(of_inputs, of_values):  # both are linear in the upstream, and each in one of the others
                seen.is_differentiated_again = True
                for_inputs, for_values = gradients_by(backward)(of_inputs, upstream, of_values)
                return for_inputs, convolved(of_inputs, values) + convolved(inputs, of_values), for_values

            return results, second

        return gradients

    return convolved(tf.convert_to_tensor(inputs), tf.convert_to_tensor(values))
