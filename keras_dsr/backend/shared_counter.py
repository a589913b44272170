"""A counter by which threads share work, in loops that numba compiles: who is free takes what is next."""

from numba.core import types
from numba.extending import intrinsic


@intrinsic
def next_of(typing, counter, step):
    """What a counter, an array of one integer, stood at before it went a step on: no two threads get the same."""

    def code(context, builder, signature, arguments):
        array = context.make_array(counter)(context, builder, arguments[0])
        return builder.atomic_rmw("add", array.data, arguments[1], "monotonic")

    return types.int64(counter, types.int64), code
