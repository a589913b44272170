"""The product of training (see `products.training`) by TensorFlow's stock CSR operations."""

import tensorflow as tf

BLOCK = 4096


def multiply(inputs, values, rows, columns, count, shape):
    """As `products.training.multiply`."""
    capacity = values.shape[0]
    count = tf.convert_to_tensor(count)
    rows, columns = rows[:count], columns[:count]

    @tf.custom_gradient
    def product(inputs, values):
        indices = tf.cast(tf.stack([rows, columns], axis=1), tf.int64)
        kernel = tf.raw_ops.SparseTensorToCSRSparseMatrix(indices=indices, values=values[:count], dense_shape=shape)
        transposed = tf.raw_ops.SparseMatrixTranspose(input=kernel, conjugate=False, type=values.dtype)
        outputs = _times(transposed, inputs)
        outputs.set_shape([inputs.shape[0], shape[1]])

        def gradient(upstream):
            of_inputs = _times(kernel, upstream)
            of_inputs.set_shape(inputs.shape)
            of_values = sampled(tf.transpose(inputs), tf.transpose(upstream), rows, columns)
            of_values = tf.pad(of_values, [[0, capacity - count]])
            of_values.set_shape([capacity])
            return of_inputs, of_values

        return outputs, gradient

    return product(inputs, tf.convert_to_tensor(values))


def _times(matrix, rows):
    """`rows @ matrix.T`, of rows of a dense tensor."""
    return tf.raw_ops.SparseMatrixMatMul(a=matrix, b=rows, transpose_b=True, transpose_output=True)


def sampled(first, second, rows, columns):
    """`sum(first[row] * second[column])` for each pair of a row and a column: some entries of a dense product."""
    return tf.reduce_sum(tf.gather(first, rows) * tf.gather(second, columns), axis=1)
