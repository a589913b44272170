"""Masks and weights: a weight as the network sees it, and a mask that follows a weight that was set from outside."""

from keras import ops

from keras_dsr.ops.selection import count_true


def mask_weights(weight, mask):
    """`where(mask, weight, 0)`: not a product, which would keep NaN and make -0.0."""
    return ops.where(mask, weight, ops.zeros((), weight.dtype))


def is_outside(weight, mask):
    """Whether a weight has a value that is not zero where its mask is false, as a bool scalar."""
    return ops.any((weight != 0) & ~mask)


def followed_mask(weight, mask):
    """A mask of as many positions as the given one, all those that have a value among them if there are no more.

    The rest are positions of the given mask, the first of those whose value is zero.

    Args:
        weight: float tensor.
        mask: bool tensor of its shape.

    Returns:
        `(mask, values)`: a bool tensor of the same shape, and how many positions have a value, an int32 scalar. If
        those are more than the mask has, it is the mask as it was.
    """
    held = weight != 0
    values, places = count_true(held), count_true(mask)
    spare = mask & ~held
    rank = ops.reshape(ops.cumsum(ops.cast(ops.reshape(spare, (-1,)), "int32")), spare.shape)
    followed = held | (spare & (rank <= places - values))
    return ops.where(values <= places, followed, mask), values
