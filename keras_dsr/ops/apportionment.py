"""Exact sharing: split an integer total over tensors in proportion to their weights, within their capacities."""

from keras import ops

LARGEST_TOTAL = 2**29
_BITS = 30


def share_proportionally(total, weights, capacities):
    """Split `total` in proportion to `weights` by largest remainder, never above a capacity.

    What a full tensor cannot take is shared again among the others, so the shares sum to `total` exactly whenever the
    capacities have room for it. All arithmetic is on int32, so every backend computes the same integers.

    Args:
        total: int32 scalar, between 0 and the sum of the capacities.
        weights: int32 tensor of shape `(tensors,)`, positive, with a sum below `LARGEST_TOTAL`.
        capacities: int32 tensor of shape `(tensors,)`, non-negative.

    Returns:
        An int32 tensor of shape `(tensors,)`: `0 <= shares <= capacities`, with sum `total`.
    """
    total = ops.minimum(ops.cast(total, "int32"), ops.sum(capacities))

    def unshared(shares):
        return ops.sum(shares) < total

    def share_rest(shares):
        weights_with_room = ops.where(shares < capacities, weights, 0)
        offered = _largest_remainder(total - ops.sum(shares), weights_with_room)
        return ops.minimum(shares + offered, capacities)

    return ops.while_loop(unshared, share_rest, ops.zeros_like(capacities))


def _largest_remainder(total, weights):
    """Split `total` over tensors in proportion to `weights`; ties of equal remainders go to the first."""
    quotients, remainders = _multiply_divide(total, weights, ops.sum(weights))
    left_over = total - ops.sum(quotients)
    index = ops.arange(weights.shape[0])
    ahead = (remainders[None, :] > remainders[:, None]) | (
        (remainders[None, :] == remainders[:, None]) & (index[None, :] < index[:, None])
    )
    rank = ops.sum(ops.cast(ahead, "int32"), axis=1)
    return quotients + ops.cast(rank < left_over, "int32")


def _multiply_divide(factor, values, divisor):
    """`divmod(factor * values, divisor)` by long division: the product may need 64 bits, JAX has 32 by default."""

    def next_bit(position, state):
        quotients, remainders = state
        bit = ops.bitwise_and(ops.right_shift(factor, _BITS - 1 - position), 1)
        remainders = 2 * remainders + bit * values
        carry = ops.cast(remainders >= divisor, "int32") + ops.cast(remainders >= 2 * divisor, "int32")
        return 2 * quotients + carry, remainders - carry * divisor

    zeros = ops.zeros_like(values)
    return ops.fori_loop(0, _BITS, next_bit, (zeros, zeros))
