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
FLAGS = ("contract", "nsz", "reassoc", "arcp")  # sums may be reordered and fused; NaN and infinities stay what they are


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
        pointer = _pointer(context, builder, array, *arguments[:2], vector)
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return vector(array, types.intp, lanes), code


@intrinsic
def store(typing, array, at, vector):
    """Write a vector to a flat array, from an index on."""

    def code(context, builder, signature, arguments):
        pointer = _pointer(context, builder, array, *arguments[:2], vector)
        builder.store(arguments[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), code


@intrinsic
def added(typing, vector, other):
    """`vector + other`."""

    def code(context, builder, signature, arguments):
        return builder.fadd(*arguments, flags=FLAGS)

    return vector(vector, other), code


@intrinsic
def scaled_added(typing, vector, number, other):
    """`vector + number * other`."""

    def code(context, builder, signature, arguments):
        vector, number, other = arguments
        first = builder.insert_element(ir.Constant(other.type, ir.Undefined), number, _int32(0))
        product = builder.fmul(_picked(builder, [0] * other.type.count, first), other, flags=FLAGS)
        return builder.fadd(vector, product, flags=FLAGS)

    return vector(vector, vector.dtype, other), code


@intrinsic
def folded(typing, vector, other):
    """A shorter vector with the sum of `vector * other`."""
    short = Vector(vector.dtype, min(FOLDED, vector.count))

    def code(context, builder, signature, arguments):
        total = None
        for begin in range(0, vector.count, short.count):
            part = range(begin, begin + short.count)
            product = builder.fmul(*(_picked(builder, part, each) for each in arguments), flags=FLAGS)
            total = product if total is None else builder.fadd(total, product, flags=FLAGS)
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
    vector, count, align = Vector(source.dtype, len(lanes)), len(lanes), source.dtype.bitwidth // 8

    def code(context, builder, signature, arguments):
        def pointer(array, given, start, step, row):
            at = builder.add(start, builder.mul(step, ir.Constant(step.type, row)))
            return _pointer(context, builder, array, given, at, vector)

        rows = [builder.load(pointer(source, *arguments[:3], row), align=align) for row in range(count)]
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
            builder.store(value, pointer(target, *arguments[3:6], row), align=align)
        return context.get_dummy_value()

    index = types.uint64
    return types.void(source, index, index, target, index, index, lanes), code


def _sums(builder, vectors: list) -> list:
    """Halves what is to be summed until it is one number for each, of two vectors at a time while there are two."""
    length = vectors[0].type.count  # of what is to be summed to one number
    while length > 1:
        pairs = list(zip(vectors[::2], vectors[1::2])) or [tuple(vectors)]
        starts = range(0, len(pairs[0]) * vectors[0].type.count, length)
        low = [start + lane for start in starts for lane in range(length // 2)]
        high = [lane + length // 2 for lane in low]
        vectors = [
            builder.fadd(_picked(builder, low, *pair), _picked(builder, high, *pair), flags=FLAGS) for pair in pairs
        ]
        length //= 2
    return vectors


def _picked(builder, lanes, vector, other=None):
    """The vector of some lanes of one, or of two in a row."""
    which = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), [_int32(lane) for lane in lanes])
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined) if other is None else other, which)


def _pointer(context, builder, array, given, at, vector: Vector):
    """To the vector that begins at an index of an array, of which its type and itself are given."""
    numbers = context.make_array(array)(context, builder, given).data
    return builder.bitcast(builder.gep(numbers, [at]), context.get_value_type(vector).as_pointer())


def _int32(number: int):
    return ir.Constant(ir.IntType(32), number)
