"""The product with a sparse kernel by TensorFlow's stock CSR operations (compressed sparse rows), on the CPU."""

import tensorflow as tf


def csr_matrix(values: tf.Tensor, positions: tf.Tensor, shape: tuple[int, int]) -> tf.Tensor:
    """A matrix in CSR form.

    Args:
        values: float32 or float64 numbers, in the order of `positions`.
        positions: int64, the flat positions of the numbers in the matrix, increasing.
        shape: rows and columns.

    Returns:
        A variant tensor of shape `()`.
    """
    indices = tf.stack([positions // shape[1], positions % shape[1]], axis=1)
    return tf.raw_ops.SparseTensorToCSRSparseMatrix(indices=indices, values=values, dense_shape=shape)


def multiply(inputs: tf.Tensor, transposed_kernel: tf.Tensor, outputs: int) -> tf.Tensor:
    """`inputs @ kernel`, of a kernel whose transpose is given in CSR form.

    Args:
        inputs: of shape `(..., inputs)`.
        transposed_kernel: a CSR matrix of shape `(outputs, inputs)`.
        outputs: int, its rows.

    Returns:
        A tensor of shape `(..., outputs)`.
    """
    rows = tf.reshape(inputs, [-1, inputs.shape[-1]])
    matrix = _with_known_shape(transposed_kernel, (outputs, inputs.shape[-1]), inputs.dtype)
    product = tf.raw_ops.SparseMatrixMatMul(a=matrix, b=rows, transpose_b=True, transpose_output=True)
    product = tf.reshape(product, tf.concat([tf.shape(inputs)[:-1], [outputs]], axis=0))
    product.set_shape([*inputs.shape[:-1], outputs])
    return product


def _with_known_shape(matrix: tf.Tensor, shape: tuple[int, int], dtype: tf.DType) -> tf.Tensor:
    """The same matrix, of which the graph knows shape and dtype again.

    The product asks for them when its graph is built, and a variant that was read from a variable, or comes into a
    loop, has lost them. Of a stack the graph knows what it knows of its last entry, here an empty list of tensors of
    that shape and dtype, and a slice of the stack inherits it.
    """
    known = tf.raw_ops.EmptyTensorList(
        element_shape=tf.constant(shape, tf.int64), max_num_elements=0, element_dtype=dtype
    )
    return tf.stack([matrix, known])[0]
