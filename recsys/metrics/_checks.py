"""What a column of rows must be before anything is computed from it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recsys.errors import UsageError

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def as_liked(liked: npt.ArrayLike) -> BoolArray:
    """Read labels: booleans, or numbers that are 0 or 1."""
    labels = np.asarray(liked)
    if labels.dtype.kind not in "biuf" or not np.isin(labels, (0, 1)).all():
        raise UsageError("liked must hold only 0 and 1, or booleans: leave out rows whose like is unknown")
    return labels.astype(np.bool_)


def as_will_like(will_like: npt.ArrayLike) -> FloatArray:
    """Read probabilities, strictly inside (0, 1)."""
    forecasts = as_finite("will_like", will_like)
    outside = forecasts[(forecasts <= 0) | (forecasts >= 1)]
    if outside.size:
        raise UsageError(
            f"will_like must lie strictly between 0 and 1, got {outside[0]:g}: clip or recalibrate it first"
        )
    return forecasts


def as_finite(name: str, values: npt.ArrayLike) -> FloatArray:
    """Read finite numbers."""
    column = np.asarray(values)
    if column.dtype.kind not in "biuf":
        raise UsageError(f"{name} must hold numbers, got {column.dtype}")
    column = column.astype(np.float64)
    if not np.isfinite(column).all():
        raise UsageError(f"{name} must be finite, got NaN or infinity: leave those rows out")
    return column


def as_codes(name: str, codes: npt.ArrayLike) -> IntArray:
    """Read integer codes; they need not be dense."""
    column = np.asarray(codes)
    if column.dtype.kind not in "iu":
        raise UsageError(f"{name} must be integer codes, got {column.dtype}: encode the ids first")
    return column.astype(np.int64)


def require_same_rows(**columns: npt.NDArray[np.generic]) -> None:
    """Refuse columns that are not one-dimensional, equally long and at least one row."""
    shapes = [column.shape for column in columns.values()]
    if any(len(shape) != 1 or shape != shapes[0] or shape[0] == 0 for shape in shapes):
        found = ", ".join(f"{name} {column.shape}" for name, column in columns.items())
        raise UsageError(f"columns must be one-dimensional, equally long and not empty, got shapes {found}")


def as_draws(draws: int) -> int:
    """Read a number of simulations; with fewer, none lies at or beyond the 2.5 % quantile."""
    if draws < 39:
        raise UsageError(f"draws must be at least 39 for a 95 % band, got {draws}")
    return draws
