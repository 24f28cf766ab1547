"""Normal intervals of means over rows that hang together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from recsys.errors import UsageError
from recsys.inference._checks import FloatArray, IntArray, as_dense_codes, as_values
from recsys.inference._estimate import Estimate

_TWO_SIDED_95 = float(ndtri(0.975))


def clustered_standard_error(values: npt.ArrayLike, clusters: npt.ArrayLike) -> float:
    """Estimate the standard error of a mean over rows that are independent only between clusters.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        Losses, or differences of losses on the same rows.
    clusters : array_like of int, shape (n,)
        Codes, usually users.

    Returns
    -------
    float
        In the unit of the values, at least 0; lower is more certain. NaN with fewer than two clusters.

    Raises
    ------
    UsageError
        When lengths differ, no row is given, or a value is not finite.

    Notes
    -----
    ``sqrt(sum_u (sum_{i in u} (d_i - mean))^2) / n``, without a small-sample factor: with fewer than
    about 50 clusters it is too small.

    References
    ----------
    Liang, K.-Y., Zeger, S. L. (1986). Longitudinal data analysis using generalized linear models.
    Biometrika 73(1). https://doi.org/10.1093/biomet/73.1.13

    Examples
    --------
    >>> clustered_standard_error([1.0, 1.0, 3.0, 3.0], [7, 7, 9, 9])
    0.7071067811865476
    """
    column = as_values("values", values)
    codes = as_dense_codes("clusters", clusters, column.size)
    return _root(_variance(column, codes), codes)


def two_way_standard_error(values: npt.ArrayLike, users: npt.ArrayLike, items: npt.ArrayLike) -> float:
    """Estimate the standard error of a mean over rows that share users and share items.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        Losses, or differences of losses on the same rows.
    users, items : array_like of int, shape (n,)
        Codes.

    Returns
    -------
    float
        In the unit of the values; never below the standard error clustered by user. NaN with fewer than
        two users.

    Raises
    ------
    UsageError
        As `clustered_standard_error`.

    Notes
    -----
    ``sqrt(max(V_u, V_u + V_i - V_ui))``, each V a squared clustered standard error: by user, by item
    and by pair of both.

    References
    ----------
    Cameron, A. C., Gelbach, J. B., Miller, D. L. (2011). Robust inference with multiway clustering.
    Journal of Business & Economic Statistics 29(2). https://doi.org/10.1198/jbes.2010.07136

    Examples
    --------
    >>> two_way_standard_error([1.0, 1.0, 3.0, 3.0], [7, 7, 9, 9], [1, 2, 1, 2])
    0.7071067811865476
    """
    column = as_values("values", values)
    return TwoWay.of(users, items, column.size).standard_error(column)


@dataclass(frozen=True)
class TwoWay:
    """Rows that share users and share items, numbered once for many values.

    Attributes
    ----------
    users, items, pairs : ndarray of int64, shape (n,)
        Codes from 0 without holes.

    """

    users: IntArray
    items: IntArray
    pairs: IntArray

    @classmethod
    def of(cls, users: npt.ArrayLike, items: npt.ArrayLike, rows: int) -> TwoWay:
        """Number users, items and pairs; what is no code for each of so many rows is a UsageError."""
        by_user, by_item = as_dense_codes("users", users, rows), as_dense_codes("items", items, rows)
        pairs = as_dense_codes("pairs", by_user * (by_item.max() + 1) + by_item, rows)
        return cls(by_user, by_item, pairs)

    def standard_error(self, values: FloatArray) -> float:
        """Do what `two_way_standard_error` does, for values that are finite."""
        user_variance = _variance(values, self.users)
        shared = _variance(values, self.items) - _variance(values, self.pairs)
        return _root(user_variance + max(0.0, shared), self.users)


def _variance(values: FloatArray, codes: IntArray) -> float:
    sums = np.bincount(codes, weights=values - values.mean())
    return float(np.square(sums).sum()) / values.size**2


def _root(variance: float, codes: IntArray) -> float:
    # One cluster's residuals sum to zero: its standard error is unknown, not nought.
    return math.sqrt(variance) if codes.max() > 0 else math.nan


def mean_interval(
    values: npt.ArrayLike, clusters: npt.ArrayLike, items: npt.ArrayLike | None = None
) -> Estimate:
    """Estimate a mean with its normal 95 % interval, clustered.

    Parameters
    ----------
    values : array_like of float, shape (n,)
    clusters : array_like of int, shape (n,)
        Codes, usually users.
    items : array_like of int, shape (n,), optional
        Codes of a second way of clustering.

    Returns
    -------
    Estimate
        In the unit of the values.

    Raises
    ------
    UsageError
        As `clustered_standard_error`.

    Notes
    -----
    ``mean +- 1.96 SE``, SE by `clustered_standard_error`, or by `two_way_standard_error` with items.

    References
    ----------
    Cameron, A. C., Gelbach, J. B., Miller, D. L. (2011). Robust inference with multiway clustering.
    Journal of Business & Economic Statistics 29(2). https://doi.org/10.1198/jbes.2010.07136

    Examples
    --------
    >>> found = mean_interval([1.0, 1.0, 3.0, 3.0], [7, 7, 9, 9])
    >>> found.value, round(found.low, 3), round(found.high, 3)
    (2.0, 0.614, 3.386)
    """
    mean = float(as_values("values", values).mean())
    if items is None:
        error = clustered_standard_error(values, clusters)
    else:
        error = two_way_standard_error(values, clusters, items)
    return Estimate(mean, mean - _TWO_SIDED_95 * error, mean + _TWO_SIDED_95 * error)


def paired_difference(
    losses: npt.ArrayLike,
    other_losses: npt.ArrayLike,
    clusters: npt.ArrayLike,
    items: npt.ArrayLike | None = None,
) -> Estimate:
    """Estimate how much higher one model's mean loss is than another's, on the same rows.

    Parameters
    ----------
    losses, other_losses : array_like of float, shape (n,)
        Row i of both is the same exposure.
    clusters : array_like of int, shape (n,)
        Codes, usually users.
    items : array_like of int, shape (n,), optional
        Codes of a second way of clustering.

    Returns
    -------
    Estimate
        Mean of ``losses - other_losses``, in their unit; below 0 the first model is better.

    Raises
    ------
    UsageError
        As `clustered_standard_error`.

    Notes
    -----
    `mean_interval` of the differences of each row: what both models find hard cancels.

    References
    ----------
    Diebold, F. X., Mariano, R. S. (1995). Comparing predictive accuracy. Journal of Business & Economic
    Statistics 13(3). https://doi.org/10.1080/07350015.1995.10524599

    Examples
    --------
    >>> paired_difference([0.25, 0.5, 0.0], [0.5, 0.75, 0.25], [1, 1, 2]).value
    -0.25
    """
    first, second = as_values("losses", losses), as_values("other_losses", other_losses)
    if first.shape != second.shape:
        raise UsageError(
            f"losses and other_losses must have the same rows, got {first.size} and {second.size}"
        )
    return mean_interval(first - second, clusters, items)
