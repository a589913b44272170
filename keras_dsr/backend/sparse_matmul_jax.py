"""The product of training (see `backend.sparse_matmul`) on JAX: gathered and summed in parts that stay in cache.

JAX's own sparse product makes a list of all terms for all rows, and a dense gradient of the kernel's size, of which it
takes some.
"""

import functools

import jax
import jax.numpy as jnp

# Rows of a batch that are multiplied at a time.
ROWS = 8
# Numbers of each factor of the weight gradient that are gathered at a time (2 MB of float32).
GATHERED = 2**19


def multiply(inputs, values, indices, count, shape):
    """As `backend.sparse_matmul.multiply`."""
    exists = jnp.arange(values.shape[0]) < count
    return _product(inputs, jnp.where(exists, values, 0), indices, shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _product(inputs, values, indices, shape):
    return _times(inputs, values, indices[:, 0], indices[:, 1], shape[1])


def _forward(inputs, values, indices, shape):
    return _product(inputs, values, indices, shape), (inputs, values, indices)


def _backward(shape, kept, upstream):
    inputs, values, indices = kept
    of_inputs = _times(upstream, values, indices[:, 1], indices[:, 0], shape[0])
    return of_inputs, _sampled(inputs, upstream, indices), None


_product.defvjp(_forward, _backward)


def _times(rows, values, from_columns, to_columns, size):
    """Each value times the entry of its column in each row, summed into the columns of rows of the given size."""

    def of_some(rows):
        terms = jnp.take(rows.T, from_columns, axis=0, mode="clip") * values[:, None]
        return jax.ops.segment_sum(terms, to_columns, size).T

    return _in_parts(of_some, rows, ROWS)


def _sampled(first, second, indices):
    """Some entries of `first.T @ second`, a matrix that is never made: a tensor of shape `(capacity,)`."""
    first, second = first.T, second.T

    def of_some(indices):
        pairs = (first, indices[:, 0]), (second, indices[:, 1])
        ones, others = (jnp.take(of_both, at, axis=0, mode="clip") for of_both, at in pairs)
        return jnp.sum(ones * others, axis=1)

    return _in_parts(of_some, indices, max(1, GATHERED // first.shape[1]))


def _in_parts(function, rows, size: int):
    """`function(rows)`, of so many rows at a time."""
    count = rows.shape[0]
    if count <= size:
        return function(rows)
    padded = jnp.pad(rows, [(0, -count % size), (0, 0)])
    parts = jax.lax.map(function, padded.reshape(-1, size, rows.shape[1]))
    return parts.reshape(-1, *parts.shape[2:])[:count]
