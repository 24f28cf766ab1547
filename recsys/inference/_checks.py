"""What arrays must be before anything is inferred from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recsys.errors import UsageError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def as_values(name: str, values: npt.ArrayLike, dimensions: int = 1) -> FloatArray:
    """Read finite numbers, at least one row of them."""
    column = np.asarray(values)
    if column.dtype.kind not in "biuf" or column.ndim != dimensions or not column.shape[0]:
        raise UsageError(
            f"{name} must hold numbers in {dimensions} dimension(s) and not be empty, "
            f"got {column.dtype} of shape {column.shape}"
        )
    column = column.astype(np.float64)
    if not np.isfinite(column).all():
        raise UsageError(f"{name} must be finite, got NaN or infinity: leave those rows out")
    return column


def as_dense_codes(name: str, codes: npt.ArrayLike, rows: int) -> IntArray:
    """Read one integer code a row, renumbered from 0 in ascending order without holes."""
    column = np.asarray(codes)
    if column.dtype.kind not in "iu":
        raise UsageError(f"{name} must be integer codes, got {column.dtype}: encode the ids first")
    if column.shape != (rows,):
        raise UsageError(f"{name} must have one code for each of the {rows} rows, got shape {column.shape}")
    return np.unique(column, return_inverse=True)[1].astype(np.int64)
