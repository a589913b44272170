"""Vectors in loops that numba compiles: LLVM's own, of any length, which it cuts to the registers of the processor.

A plain loop leaves it to the compiler what stays in a register. A vector that is a local variable stays in some, so
that a sum is not read and written for each weight, and the same code serves every processor.

Where a function has `lanes`, it is a tuple as long as the vector: tuples of different lengths are of different types,
so that the length is known when it is compiled.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, models, register_model

FOLDED = 16  # numbers that a sum over a vector is left as, until four of them are summed at once
FOUR, EIGHT = ((),) * 4, ((),) * 8
_FLAGS = ("contract", "nsz", "reassoc", "arcp")


class Vector(types.Type):
    """The type of a vector."""

    def __init__(self, dtype: types.Type, count: int):
        self.dtype, self.count = dtype, count
        super().__init__(name=f"Vector({dtype}, {count})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        number = manager.lookup(vector.dtype).get_value_type()
        super().__init__(manager, vector, ir.VectorType(number, vector.count))


@intrinsic
def zeros(typing, array, lanes):
    """A vector of zeros of an array's type."""
    vector = Vector(array.dtype, len(lanes))

    def code(context, builder, signature, arguments):
        return ir.Constant(context.get_value_type(vector), None)

    return vector(array, lanes), code


@intrinsic
def load(typing, array, at, lanes):
    """The vector that begins at an index of a flat array."""
    vector = Vector(array.dtype, len(lanes))

    def code(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature, arguments, context.get_value_type(vector))
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return vector(array, types.intp, lanes), code


@intrinsic
def store(typing, array, at, vector):
    """Write a vector to a flat array, from an index on."""

    def code(context, builder, signature, arguments):
        pointer = _pointer(context, builder, signature, arguments, arguments[2].type)
        builder.store(arguments[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), code


@intrinsic
def added(typing, vector, other):
    """`vector + other`."""

    def code(context, builder, signature, arguments):
        return builder.fadd(*arguments, flags=_FLAGS)

    return vector(vector, other), code


@intrinsic
def scaled_added(typing, vector, number, other):
    """`vector + number * other`."""

    def code(context, builder, signature, arguments):
        vector, number, other = arguments
        first = builder.insert_element(ir.Constant(other.type, ir.Undefined), number, _int32(0))
        product = builder.fmul(_picked(builder, [0] * other.type.count, first), other, flags=_FLAGS)
        return builder.fadd(vector, product, flags=_FLAGS)

    return vector(vector, vector.dtype, other), code


@intrinsic
def folded(typing, vector, other):
    """A shorter vector with the sum of `vector * other`."""
    short = Vector(vector.dtype, min(FOLDED, vector.count))

    def code(context, builder, signature, arguments):
        total = None
        for begin in range(0, vector.count, short.count):
            part = range(begin, begin + short.count)
            product = builder.fmul(*(_picked(builder, part, each) for each in arguments), flags=_FLAGS)
            total = product if total is None else builder.fadd(total, product, flags=_FLAGS)
        return total

    return short(vector, other), code


@intrinsic
def total(typing, vector):
    """The sum over a vector, a number."""

    def code(context, builder, signature, arguments):
        (left,) = _sums(builder, arguments)
        return builder.extract_element(left, _int32(0))

    return vector.dtype(vector), code


@intrinsic
def totals(typing, a, b, c, d):
    """The sums over four vectors of one length, a vector of four numbers."""

    def code(context, builder, signature, arguments):
        (four,) = _sums(builder, arguments)
        return four

    return Vector(a.dtype, 4)(a, b, c, d), code


@intrinsic
def move_square(typing, source, s, s_step, target, t, t_step, lanes):
    """Write as many vectors as a vector is long, `s_step` apart, transposed and `t_step` apart."""

    def code(context, builder, signature, arguments):
        source, s, s_step, target, t, t_step, _ = arguments
        types_of = [signature.args[0], signature.args[3]]
        vector = ir.VectorType(context.get_value_type(source_type.dtype), count)
        flat = [context.make_array(of)(context, builder, each).data for of, each in zip(types_of, (source, target))]

        def pointer(array, start, step, index):
            at = builder.add(start, builder.mul(step, ir.Constant(step.type, index)))
            return builder.bitcast(builder.gep(array, [at]), vector.as_pointer())

        rows = [builder.load(pointer(flat[0], s, s_step, row), align=align) for row in range(count)]
        half = 1
        while half < count:  # of each two rows exchange what is off the diagonal, in squares of twice the size
            low = [lane + count - half if lane & half else lane for lane in range(count)]
            high = [lane + count if lane & half else lane + half for lane in range(count)]
            for row in range(count):
                if not row & half:
                    pair = rows[row], rows[row + half]
                    rows[row], rows[row + half] = _picked(builder, low, *pair), _picked(builder, high, *pair)
            half *= 2
        for row, value in enumerate(rows):
            builder.store(value, pointer(flat[1], t, t_step, row), align=align)
        return context.get_dummy_value()

    count, source_type, align = len(lanes), source, source.dtype.bitwidth // 8
    index = types.uint64
    return types.void(source, index, index, target, index, index, lanes), code


@intrinsic
def next_of(typing, counter, step):
    """What a counter, an array of one integer, stood at before it went a step on: no two threads get the same."""

    def code(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.atomic_rmw("add", array.data, arguments[1], "monotonic")

    return types.int64(counter, types.int64), code


def _sums(builder, vectors: list) -> list:
    """Halves what is to be summed until it is one number for each, of two vectors at a time while there are two."""
    length = vectors[0].type.count  # of what is to be summed to one number
    while length > 1:
        pairs = list(zip(vectors[::2], vectors[1::2])) or [tuple(vectors)]
        starts = range(0, len(pairs[0]) * vectors[0].type.count, length)
        low = [start + lane for start in starts for lane in range(length // 2)]
        high = [lane + length // 2 for lane in low]
        vectors = [
            builder.fadd(_picked(builder, low, *pair), _picked(builder, high, *pair), flags=_FLAGS) for pair in pairs
        ]
        length //= 2
    return vectors


def _picked(builder, lanes, vector, other=None):
    """The vector of some lanes of one, or of two in a row."""
    which = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), [_int32(lane) for lane in lanes])
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined) if other is None else other, which)


def _pointer(context, builder, signature, arguments, vector):
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer())


def _int32(number: int):
    return ir.Constant(ir.IntType(32), number)
