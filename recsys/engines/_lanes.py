"""Vectors of float32 that stay in registers: a type for numba, and the few things done with it.

numba vectorises a loop where it knows its length; rows of factors are short, and what it writes around the loop then
costs more than the loop. LLVM splits these vectors into whatever registers the machine has.
"""

# mypy does not know numba's types, and numba calls what it is given by these names.
# mypy: ignore-errors

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic, models, register_model

#: Floats of a part of a vector that is summed at once: a register of AVX-512, two of AVX2, four of Neon.
PART = 16
_INT, _LONG = ir.IntType(32), ir.IntType(64)


class Lanes(types.Type):
    """`size` floats."""

    def __init__(self, size):
        self.size = size
        super().__init__(name=f"Lanes({size})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, lanes):
        super().__init__(dmm, lanes, _vector(lanes.size))


def _vector(size):
    return ir.VectorType(ir.FloatType(), size)


def _pick(builder, left, right, places):
    mask = ir.Constant(ir.VectorType(_INT, len(places)), list(places))
    return builder.shuffle_vector(left, right, mask)


def _fma(builder, a, b, c):
    size = a.type.count
    kind = ir.FunctionType(a.type, [a.type] * 3)
    return builder.call(get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{size}f32"), [a, b, c])


def _halve(builder, vector):
    """Add the upper half to the lower."""
    half = vector.type.count // 2
    low, high = (_pick(builder, vector, vector, range(start, start + half)) for start in (0, half))
    return builder.fadd(low, high)


@intrinsic
def load(_, at, parts):
    """Read as many parts as the tuple `parts` is long, from an address that is a line's."""
    size = PART * parts.count

    def build(context, builder, signature, args):
        return builder.load(builder.inttoptr(args[0], _vector(size).as_pointer()), align=4 * PART)

    return Lanes(size)(types.int64, parts), build


@intrinsic
def load_four(_, at):
    """Read four floats."""

    def build(context, builder, signature, args):
        return builder.load(builder.inttoptr(args[0], _vector(4).as_pointer()), align=4)

    return Lanes(4)(types.int64), build


@intrinsic
def load_address(_, at):
    """Read an address."""

    def build(context, builder, signature, args):
        return builder.load(builder.inttoptr(args[0], _LONG.as_pointer()), align=8)

    return types.int64(types.int64), build


@intrinsic
def store(_, at, lanes):
    """Write to an address that is a line's."""

    def build(context, builder, signature, args):
        builder.store(args[1], builder.inttoptr(args[0], args[1].type.as_pointer()), align=4 * PART)
        return context.get_dummy_value()

    return types.void(types.int64, lanes), build


@intrinsic
def fetch(_, at):
    """Ask for the line of an address that will be read soon."""

    def build(context, builder, signature, args):
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, _INT, _INT, _INT])
        call = get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # To read; into the second cache, where it waits while another block is computed; data.
        builder.call(call, [builder.inttoptr(args[0], byte), _INT(0), _INT(2), _INT(1)])
        return context.get_dummy_value()

    return types.void(types.int64), build


@intrinsic
def add(_, left, right):
    return left(left, right), lambda context, builder, signature, args: builder.fadd(*args)


@intrinsic
def multiply(_, left, right):
    return left(left, right), lambda context, builder, signature, args: builder.fmul(*args)


@intrinsic
def subtract(_, left, right):
    return left(left, right), lambda context, builder, signature, args: builder.fsub(*args)


@intrinsic
def multiply_add(_, a, b, c):
    return a(a, b, c), lambda context, builder, signature, args: _fma(builder, *args)


@intrinsic
def fold(_, a, b, total):
    """Add a * b, part by part, to a total of one part."""

    def build(context, builder, signature, args):
        a, b, total = args
        for start in range(0, a.type.count, PART):
            part = range(start, start + PART)
            total = _fma(builder, _pick(builder, a, a, part), _pick(builder, b, b, part), total)
        return total

    return total(a, b, total), build


@intrinsic
def sum_up(_, lanes):
    """Add all lanes to one float."""

    def build(context, builder, signature, args):
        (vector,) = args
        while vector.type.count > 1:
            vector = _halve(builder, vector)
        return builder.extract_element(vector, _INT(0))

    return types.float32(lanes), build


@intrinsic
def sum_each(_, a, b, c, d):
    """Add all lanes of each of four parts: four floats, by a transposition."""

    def build(context, builder, signature, args):
        a, b, c, d = (_halve(builder, part) for part in args)
        a, b = _interleave(builder, a, b, 1), _interleave(builder, c, d, 1)
        return _halve(builder, _interleave(builder, a, b, 2))

    return Lanes(4)(a, b, c, d), build


def _interleave(builder, left, right, width):
    """Add the lower to the upper `width` lanes of every 2 * width of both, the two side by side, within four lanes."""
    size = left.type.count
    low, high = [], []
    for start in range(0, size, 4):
        for lane in range(0, 4 // 2, width):
            own = range(start + lane, start + lane + width)
            low += [*own, *(place + size for place in own)]
            high += [place + 2 for place in low[-2 * width :]]
    return builder.fadd(_pick(builder, left, right, low), _pick(builder, left, right, high))


@intrinsic
def spread(_, value, parts):
    """Repeat a float."""
    size = PART * parts.count

    def build(context, builder, signature, args):
        one = builder.insert_element(ir.Constant(_vector(size), ir.Undefined), args[0], _INT(0))
        return _pick(builder, one, one, [0] * size)

    return Lanes(size)(types.float32, parts), build


def _spread_lane(lane):
    @intrinsic
    def spread_lane(_, four, parts):
        size = PART * parts.count

        def build(context, builder, signature, args):
            return _pick(builder, args[0], args[0], [lane] * size)

        return Lanes(size)(four, parts), build

    return spread_lane


spread_first, spread_second, spread_third, spread_fourth = map(_spread_lane, range(4))
