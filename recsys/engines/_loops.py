"""Conjugate gradients over blocks of rows, compiled: with this module and `_lanes` comes numba.

What is done for each entry works on addresses: arrays, in numba, are counted and their places checked for signs.
"""

# mypy does not know what numba makes of functions.
# mypy: ignore-errors

from __future__ import annotations

import numpy as np
from numba import njit

from recsys.compiled import compiled
from recsys.engines._lanes import (
    PART,
    fetch,
    fold,
    load,
    load_address,
    load_four,
    multiply,
    multiply_add,
    spread,
    spread_first,
    spread_fourth,
    spread_second,
    spread_third,
    store,
    subtract,
    sum_each,
    sum_up,
)

_OPTIONS = {"error_model": "numpy"}

#: Bytes of a part.
LINE = 4 * PART
_ONE = (0,)
_ZERO = np.float32(0)
#: implicit's: a row whose squared residual is below it is left as it is.
_SOLVED = 1e-20
#: Entries that a long row asks for ahead of the one it reads.
_AHEAD = 16
#: Entries from which a block, which then is one row, does not stay in the second cache.
_LONG_ROW = 2048


@compiled(**_OPTIONS)
def cut_into_blocks(indptr, most_entries, most_rows):
    """Give the bounds of blocks of rows that have at most so many entries, or are one row."""
    bounds = [np.int64(0)]
    for row in range(1, len(indptr)):
        begin = bounds[-1]
        if row > begin + 1 and (indptr[row] - indptr[begin] > most_entries or row > begin + most_rows):
            bounds.append(np.int64(row - 1))
    bounds.append(np.int64(len(indptr) - 1))
    return np.array(bounds)


@njit(nogil=True, **_OPTIONS)
def _lay_out(indptr, indices, data, fixed, stride, where, terms, starts):
    """Write the entries of a block, each row filled up to fours with a row it has, of no weight."""
    place = 0
    for row in range(len(indptr) - 1):
        starts[row] = place
        first, last = indptr[row], indptr[row + 1]
        for j in range(first, first + (last - first + 3) // 4 * 4):
            at = place // 4 * 8 + place % 4
            where[place] = fixed + np.int64(indices[min(j, last - 1)]) * stride
            confidence = data[j] if j < last else _ZERO
            terms[at] = abs(confidence) - np.float32(1) if j < last else _ZERO
            terms[at + 4] = max(confidence, _ZERO)
            place += 1
    starts[len(indptr) - 1] = place


@njit(nogil=True, **_OPTIONS)
def _fetch_rows(ahead, end, stride):
    for at in range(ahead, end, 8):
        row = load_address(at)
        for k in range(0, stride, LINE):
            fetch(row + k)


@njit(nogil=True, **_OPTIONS)
def _multiply_four(a, b, c, d, vector, stride, parts):
    """Multiply four rows with a vector."""
    none = spread(_ZERO, _ONE)
    of_a, of_b, of_c, of_d = none, none, none, none
    for k in range(0, stride, LINE * len(parts)):
        piece = load(vector + k, parts)
        of_a = fold(load(a + k, parts), piece, of_a)
        of_b = fold(load(b + k, parts), piece, of_b)
        of_c = fold(load(c + k, parts), piece, of_c)
        of_d = fold(load(d + k, parts), piece, of_d)
    return sum_each(of_a, of_b, of_c, of_d)


@njit(nogil=True, **_OPTIONS)
def _add_four(total, a, b, c, d, four, parts):
    """Add four rows to a vector, each times its float."""
    total = multiply_add(load(a, parts), spread_first(four, parts), total)
    total = multiply_add(load(b, parts), spread_second(four, parts), total)
    total = multiply_add(load(c, parts), spread_third(four, parts), total)
    return multiply_add(load(d, parts), spread_fourth(four, parts), total)


@njit(nogil=True, **_OPTIONS)
def _add_entries(where, end, terms, vector, totals, stride, parts, residual, ahead, many, ahead_end):
    """Add sum w (y.v) y to `totals`; with `residual`, sum (max(c, 0) - w (y.v)) y."""
    piece = LINE * len(parts)
    total = load(totals, parts)
    for at in range(where, end, 32):
        _fetch_rows(ahead, min(ahead + many, ahead_end), stride)
        ahead += 32
        a, b, c, d = load_address(at), load_address(at + 8), load_address(at + 16), load_address(at + 24)
        # A total of one piece stays in registers.
        if stride == piece:
            four = multiply(load_four(terms), _multiply_four(a, b, c, d, vector, piece, parts))
        else:
            four = multiply(load_four(terms), _multiply_four(a, b, c, d, vector, stride, parts))
        if residual:
            four = subtract(load_four(terms + 16), four)
        terms += 32
        if stride == piece:
            total = _add_four(total, a, b, c, d, four, parts)
        else:
            for k in range(0, stride, piece):
                store(totals + k, _add_four(load(totals + k, parts), a + k, b + k, c + k, d + k, four, parts))
    if stride == piece:
        store(totals, total)


@njit(nogil=True, **_OPTIONS)
def _curvature(where, end, terms, vector, stride, parts, ahead, many, ahead_end):
    """Give sum w (y.v)^2: all that the last step needs of its product."""
    found = _ZERO
    for at in range(where, end, 32):
        _fetch_rows(ahead, min(ahead + many, ahead_end), stride)
        ahead += 32
        a, b, c, d = load_address(at), load_address(at + 8), load_address(at + 16), load_address(at + 24)
        products = _multiply_four(a, b, c, d, vector, stride, parts)
        found += sum_up(multiply(multiply(products, products), load_four(terms)))
        terms += 32
    return found


@njit(nogil=True, **_OPTIONS)
def _dot(left, right, stride, parts):
    total = spread(_ZERO, _ONE)
    for k in range(0, stride, LINE * len(parts)):
        total = fold(load(left + k, parts), load(right + k, parts), total)
    return sum_up(total)


@njit(nogil=True, **_OPTIONS)
def _combine(a, left, b, right, stride, parts):
    """Set the left vector to a * left + b * right."""
    by_a, by_b = spread(a, parts), spread(b, parts)
    for k in range(0, stride, LINE * len(parts)):
        scaled = multiply(load(right + k, parts), by_b)
        store(left + k, multiply_add(load(left + k, parts), by_a, scaled))


@njit(nogil=True, **_OPTIONS)
def _take_step(turn, turns, where, end, terms, x, size, stride, parts, square, ahead, many, ahead_end):
    """Take a row's turn, the first of which finds the residual; give its square.

    x, p, q and r are `size` bytes apart; q holds the product of x, or later p, with the gram matrix.
    """
    one, p, q, r = np.float32(1), x + size, x + 2 * size, x + 3 * size
    if turn == 0:
        _combine(_ZERO, r, np.float32(-1), q, stride, parts)
        _add_entries(where, end, terms, x, r, stride, parts, True, ahead, many, ahead_end)
        _combine(_ZERO, p, one, r, stride, parts)
        return _dot(r, r, stride, parts)
    if turn == turns - 1:
        curvature = _curvature(where, end, terms, p, stride, parts, ahead, many, ahead_end)
        _combine(one, x, square / (_dot(p, q, stride, parts) + curvature), p, stride, parts)
        return square
    _add_entries(where, end, terms, p, q, stride, parts, False, ahead, many, ahead_end)
    length = square / _dot(p, q, stride, parts)
    _combine(one, x, length, p, stride, parts)
    _combine(one, r, -length, q, stride, parts)
    found = _dot(r, r, stride, parts)
    _combine(found / square, p, one, r, stride, parts)
    return found


@njit(nogil=True, **_OPTIONS)
def _solve_block(vectors, gram, entries, following, count, squares, turns, parts):
    """Take all turns of the rows of a block, whose x is in `vectors`; `count` entries follow in the next block."""
    where, terms, starts = entries
    n, stride, size = vectors.shape[1], 4 * vectors.shape[2], 4 * vectors.shape[1] * vectors.shape[2]
    x, first, weights = vectors.ctypes.data, where.ctypes.data, terms.ctypes.data
    for turn in range(turns):
        np.dot(vectors[min(turn, 1)], gram, vectors[2])
        many = 8 * ((4 + turns - 1) // turns)
        ahead, ahead_end = following[0].ctypes.data + turn * many, following[0].ctypes.data + 8 * count
        if starts[n] > _LONG_ROW:
            ahead, many, ahead_end = first + 8 * _AHEAD, 32, first + 8 * starts[n]
        for row in range(n):
            begin, end = starts[row], starts[row + 1]
            if begin < end and (turn == 0 or squares[row] >= _SOLVED):
                squares[row] = _take_step(
                    turn,
                    turns,
                    first + 8 * begin,
                    first + 8 * end,
                    weights + 8 * begin,
                    x + row * stride,
                    size,
                    stride,
                    parts,
                    squares[row],
                    ahead + 8 * begin,
                    many,
                    ahead_end,
                )


@njit(nogil=True, **_OPTIONS)
def _make_room(indptr, bounds):
    """Make room for the entries of any of the blocks."""
    most, rows = 0, 0
    for k in range(len(bounds) - 1):
        rows = max(rows, bounds[k + 1] - bounds[k])
        most = max(most, np.int64(indptr[bounds[k + 1]] - indptr[bounds[k]]))
    most += 4 * rows
    return np.empty(most, np.int64), np.empty(2 * most, np.float32), np.zeros(rows + 1, np.int64)


@compiled(**_OPTIONS)
def solve_blocks(solved, fixed, gram, indptr, indices, data, bounds, room, steps, parts):
    """Take steps of conjugate gradients in the rows of consecutive blocks, in place.

    Parameters
    ----------
    solved : ndarray of float32, shape (n, factors)
        The rows of x where they start, and then where they end; zeros where the matrix has no entry.
    fixed : ndarray of float32, shape (m, width)
        The other side's rows, aligned, filled up with zeros to a width of PART * len(parts) * k.
    gram : ndarray of float32, shape (width, width)
        Y'Y + regularization.
    indptr, indices, data : ndarray
        Of the CSR matrix of confidences, shape (n, m).
    bounds : ndarray of int64
        Where each block begins, then the end.
    room : ndarray of float32, shape (4 * rows of the largest block * width,)
        Aligned.
    steps : int
    parts : tuple
        As long as there are parts in the vectors that the machine code works on.
    """
    factors, width, blocks = solved.shape[1], fixed.shape[1], len(bounds) - 1
    entries, following = _make_room(indptr, bounds), _make_room(indptr, bounds)
    squares = np.zeros(len(entries[2]), np.float32)
    start, stride = fixed.ctypes.data, 4 * width
    _lay_out(indptr[bounds[0] : bounds[1] + 1], indices, data, start, stride, *entries)
    for k in range(blocks):
        count = 0
        if k + 1 < blocks:
            _lay_out(indptr[bounds[k + 1] : bounds[k + 2] + 1], indices, data, start, stride, *following)
            count = following[2][bounds[k + 2] - bounds[k + 1]]
        rows = solved[bounds[k] : bounds[k + 1]]
        vectors = room[: 4 * len(rows) * width].reshape((4, len(rows), width))
        vectors[:] = _ZERO
        for row in range(len(rows)):
            if entries[2][row] < entries[2][row + 1]:
                vectors[0, row, :factors] = rows[row]
        _solve_block(vectors, gram, entries, following, count, squares, steps + 1, parts)
        rows[:] = vectors[0, :, :factors]
        entries, following = following, entries
