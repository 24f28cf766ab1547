"""implicit's ALS with a compiled solver: the same steps, several times as fast."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray

from recsys.engines._lanes import PART
from recsys.engines._loops import cut_into_blocks, solve_blocks
from recsys.matrix import UserItems

Floats = NDArray[np.float32]
#: Bytes of the rows that a block reads; it and the next one lie in the second cache of a core.
_BLOCK_BYTES = 1 << 18
_BLOCK_ROWS = 64
#: Blocks that a thread takes at a time; what a row becomes depends on its block alone.
_TASK_BLOCKS = 64


class CompiledAlternatingLeastSquares(AlternatingLeastSquares):  # type: ignore[misc]
    """implicit's class, with its conjugate gradients compiled; whatever else it is asked for is implicit's.

    BLAS is to be held to one thread by the caller, as implicit asks too.
    """

    @property
    def solver(self) -> Callable[..., None]:
        """What `fit` calls for each half of an iteration: implicit's own in float64 or without conjugate gradients."""
        if not (self.use_cg and self.use_native and self.dtype == np.float32):
            own: Callable[..., None] = super().solver
            return own
        return functools.partial(solve_rows, cg_steps=self.cg_steps)


def solve_rows(
    matrix: UserItems,
    solved: Floats,
    fixed: Floats,
    regularization: float,
    num_threads: int = 0,
    cg_steps: int = 3,
) -> None:
    """Take steps of conjugate gradients towards the rows that fit a matrix best, from where they are.

    Parameters
    ----------
    matrix : csr_matrix of float32, shape (n, m)
        Confidences c; of those below 0 the preference is 0 and the confidence -c.
    solved : ndarray of float32, shape (n, factors)
        Changed in place; zeros where the matrix has no entry.
    fixed : ndarray of float32, shape (m, factors)
    regularization : float
    num_threads : int
        0 means one a core. The result does not depend on it.
    cg_steps : int

    Notes
    -----
    Row x minimises ``sum |c| (p - x.y)^2 + regularization |x|^2``, p = [c > 0] and c = 1 where there is no entry. The
    last step needs no new residual, so it leaves out half of a product that implicit computes.

    References
    ----------
    Takács, Pilászy and Tikk (2011), doi 10.1145/2043932.2043987.

    """
    rows = np.ascontiguousarray(solved, np.float32)
    parts = _parts(fixed.shape[1])
    padded = _pad(fixed, PART * len(parts))
    width = padded.shape[1]
    gram = padded.T @ padded
    gram.flat[: fixed.shape[1] * (width + 1) : width + 1] += np.float32(regularization)
    csr = (matrix.indptr, matrix.indices, matrix.data.astype(np.float32, copy=False))

    def solve(bounds: NDArray[np.int64]) -> None:
        room = _make_aligned((4 * _BLOCK_ROWS * width,))
        solve_blocks(rows, padded, gram, *csr, bounds, room, cg_steps, parts)

    bounds = cut_into_blocks(matrix.indptr, _BLOCK_BYTES // padded.itemsize // width, _BLOCK_ROWS)
    tasks = [bounds[k : k + _TASK_BLOCKS + 1] for k in range(0, len(bounds) - 1, _TASK_BLOCKS)]
    with ThreadPoolExecutor(num_threads or os.cpu_count()) as pool:
        list(pool.map(solve, tasks))
    if rows is not solved:
        solved[:] = rows


def _parts(factors: int) -> tuple[int, ...]:
    """Say, by its length, how many parts the machine code holds at once: four registers, fewer for few factors."""
    needed = -(-factors // PART)
    return (0,) * (needed if needed <= 2 else 4)


def _pad(rows: Floats, unit: int) -> Floats:
    """Copy rows so that each begins where a line of the cache does, and is a whole number of units long."""
    padded = _make_aligned((len(rows), -(-rows.shape[1] // unit) * unit))
    padded[:, : rows.shape[1]] = rows
    return padded


def _make_aligned(shape: tuple[int, ...]) -> Floats:
    """Make zeros that begin where a line of the cache does."""
    size = int(np.prod(shape))
    room = np.zeros(size + PART, np.float32)
    start = -room.ctypes.data // room.itemsize % PART
    return room[start : start + size].reshape(shape)
