"""Ids <-> indices, and one CSR matrix per signal."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.schema import same_id_kind

if TYPE_CHECKING:
    UserItems: TypeAlias = csr_matrix[np.float32]
else:
    UserItems: TypeAlias = csr_matrix

UNSEEN = -1
MAX_STRENGTH = 10.0


@dataclass(frozen=True)
class IdIndex:
    """Ids of one kind and their places 0..n-1, in sorted order.

    Attributes
    ----------
    ids : polars.Series
        Unique and sorted, with the log's type.

    """

    ids: pl.Series

    @classmethod
    def of(cls, values: pl.Series) -> IdIndex:
        """Index the distinct non-null values of a column."""
        return cls(values.drop_nulls().unique().sort())

    def __len__(self) -> int:
        return len(self.ids)

    def codes(self, values: pl.Series) -> NDArray[np.int32]:
        """Find the place of each value.

        Parameters
        ----------
        values : polars.Series of length n

        Returns
        -------
        ndarray of int32, shape (n,)
            -1 where the value is null or not in the index.

        Raises
        ------
        DataError
            When integers are asked of string ids, or the reverse.

        """
        same_id_kind(values.dtype, self.ids.dtype, values.name or "id")
        known = pl.DataFrame({"id": self.ids, "code": np.arange(len(self), dtype=np.int32)})
        asked = pl.DataFrame({"id": values.cast(self.ids.dtype, strict=False)})
        found = asked.join(known, on="id", how="left", maintain_order="left")
        return found["code"].fill_null(UNSEEN).to_numpy()

    def narrow(self, codes: NDArray[np.int32]) -> tuple[IdIndex, NDArray[np.int32]]:
        """Index only the ids that occur, and number them anew.

        Parameters
        ----------
        codes : ndarray of int32, shape (n,)
            -1 stays.

        Returns
        -------
        IdIndex
        codes : ndarray of int32, shape (n,)

        """
        occurs = np.zeros(len(self) + 1, np.bool_)
        occurs[codes] = True
        occurs[UNSEEN] = False
        if occurs[:-1].all():
            return self, codes
        anew = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
        anew[UNSEEN] = UNSEEN
        return IdIndex(self.ids.filter(pl.Series(occurs[:-1]))), anew[codes]


def distinct_codes(values: pl.Series) -> NDArray[np.int32]:
    """Number the distinct values of a column, in sorted order.

    Parameters
    ----------
    values : polars.Series of length n
        Without nulls.

    Returns
    -------
    ndarray of int32, shape (n,)

    """
    return IdIndex.of(values).codes(values)


def median_positive(values: NDArray[np.float64]) -> float:
    """Take the median of the positive values: the unit in which strengths are counted.

    Parameters
    ----------
    values : ndarray, shape (n,)
        NaN is unknown.

    Returns
    -------
    float
        1.0 when no value is positive.

    """
    positive = values[values > 0]
    return float(np.median(positive)) if len(positive) else 1.0


def strengths(values: NDArray[np.float64], unit: float | None = None) -> NDArray[np.float32]:
    """Scale a signal so that its median positive value is 1.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Non-negative; NaN is unknown.
    unit : float, optional
        The median, where these are some of the values. Default: theirs.

    Returns
    -------
    ndarray of float32, shape (n,)
        ``min(x / median positive x, 10)``; NaN stays NaN.

    Examples
    --------
    >>> strengths(np.array([0.0, 1.0, 3.0, 5.0, 300.0, np.nan])).round(2).tolist()
    [0.0, 0.25, 0.75, 1.25, 10.0, nan]

    """
    unit = median_positive(values) if unit is None else unit
    return np.minimum(values / unit, MAX_STRENGTH).astype(np.float32)


def interactions(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    strength: NDArray[np.float32],
    shape: tuple[int, int],
) -> UserItems:
    """Sum the positive strengths of each (user, item) pair.

    Parameters
    ----------
    users, items : ndarray of int32, shape (n,)
    strength : ndarray of float32, shape (n,)
        Rows that are NaN (unknown) or zero leave no entry.
    shape : (int, int)
        Users, items.

    Returns
    -------
    scipy.sparse.csr_matrix of float32
        Indices and indptr are int32, as implicit needs; sorted, without duplicates.

    """
    kept = strength > 0
    # In float64, so that the order of the rows does not show in the sum.
    values = strength[kept].astype(np.float64)
    summed = csr_matrix((values, (users[kept], items[kept])), shape=shape).astype(np.float32)
    summed.sum_duplicates()
    summed.indices = summed.indices.astype(np.int32, copy=False)
    summed.indptr = summed.indptr.astype(np.int32, copy=False)
    return summed


def confidences(user_items: UserItems, alpha: float) -> UserItems:
    """Turn strengths r into the confidences ``1 + alpha * r`` of Hu, Koren and Volinsky (2008).

    Parameters
    ----------
    user_items : csr_matrix of float32
    alpha : float

    Returns
    -------
    csr_matrix of float32

    """
    return csr_matrix(
        (1.0 + np.float32(alpha) * user_items.data, user_items.indices, user_items.indptr),
        shape=user_items.shape,
    )


def one_blas_thread() -> AbstractContextManager[object]:
    """Hold BLAS to one thread: sums keep their order, and implicit's own threads do not fight it."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limits
