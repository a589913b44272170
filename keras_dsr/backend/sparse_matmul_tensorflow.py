"""The product of training (see `backend.sparse_matmul`) by TensorFlow's stock CSR operations."""

import tensorflow as tf

# Numbers of each factor that are gathered at a time, so that they stay in cache (2 MB of float32).
GATHERED = 2**19
# Up to so many rows in a batch, gathering and summing in one loop compiled by XLA is faster than gathering first.
FUSED = 16


def multiply(inputs, values, indices, count, shape):
    """As `backend.sparse_matmul.multiply`."""
    count = tf.convert_to_tensor(count)
    indices = tf.cast(indices, tf.int64)

    @tf.custom_gradient
    def product(inputs, values):
        # Without a gradient of its own: what follows has one.
        kernel = tf.raw_ops.SparseTensorToCSRSparseMatrix(
            indices=indices[:count], values=values[:count], dense_shape=shape
        )
        transposed = tf.raw_ops.SparseMatrixTranspose(input=kernel, conjugate=False, type=values.dtype)
        outputs = _times(transposed, inputs)
        outputs.set_shape([inputs.shape[0], shape[1]])

        def gradient(upstream):
            of_inputs = _times(kernel, upstream)
            of_inputs.set_shape(inputs.shape)
            return of_inputs, sampled(inputs, upstream, indices, count)

        return outputs, gradient

    return product(inputs, tf.convert_to_tensor(values))


def _times(matrix, rows):
    """`rows @ matrix.T`, of rows of a dense tensor."""
    return tf.raw_ops.SparseMatrixMatMul(a=matrix, b=rows, transpose_b=True, transpose_output=True)


def sampled(first, second, indices, count):
    """Some entries of `first.T @ second`, a matrix that is never made.

    Args:
        first: tensor of shape `(batch, n)`.
        second: tensor of shape `(batch, m)`.
        indices: int64 tensor of shape `(capacity, 2)`, rows and columns of the entries.
        count: int32 scalar; entries from it on are 0.

    Returns:
        A tensor of shape `(capacity,)`.
    """
    batch = first.shape[0]
    if batch is not None:
        return (_sampled_fused if batch <= FUSED else _sampled_in_blocks)(first, second, indices, count)
    return tf.cond(
        tf.shape(first)[0] <= FUSED,
        lambda: _sampled_fused(first, second, indices, count),
        lambda: _sampled_in_blocks(first, second, indices, count),
    )


@tf.function(jit_compile=True, autograph=False)
def _sampled_fused(first, second, indices, count):
    chosen = tf.gather(first, indices[:, 0], axis=1) * tf.gather(second, indices[:, 1], axis=1)
    capacity = indices.shape[0]
    return tf.where(tf.range(capacity) < count, tf.reduce_sum(chosen, axis=0), tf.zeros((), first.dtype))


def _sampled_in_blocks(first, second, indices, count):
    capacity = indices.shape[0]
    first, second = tf.transpose(first), tf.transpose(second)
    block = tf.maximum(1, GATHERED // tf.shape(first)[1])

    def one_block(number, parts):
        at = indices[number * block : tf.minimum((number + 1) * block, count)]
        chosen = tf.gather(first, at[:, 0]) * tf.gather(second, at[:, 1])
        return number + 1, parts.write(number, tf.reduce_sum(chosen, axis=1))

    blocks = -(-count // block)
    parts = tf.TensorArray(first.dtype, size=blocks, infer_shape=False, element_shape=[None])
    _, parts = tf.while_loop(lambda number, _: number < blocks, one_block, (0, parts), parallel_iterations=2)
    result = tf.pad(parts.concat(), [[0, capacity - count]])
    return tf.ensure_shape(result, [capacity])
