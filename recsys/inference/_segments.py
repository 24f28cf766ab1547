"""Forecasts held against likes, segment by segment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import ndtr, ndtri

from recsys.errors import UsageError
from recsys.inference._bootstrap import divide
from recsys.inference._checks import FloatArray, IntArray, as_dense_codes, as_values

_TWO_SIDED_95_SQUARED = float(ndtri(0.975)) ** 2
FALSE_DISCOVERY_RATE = 0.1


def segment_biases(
    segments: npt.ArrayLike, users: npt.ArrayLike, liked: npt.ArrayLike, will_like: npt.ArrayLike
) -> pl.DataFrame:
    """Estimate in each segment how many likes too many, or too few, were forecast.

    Exploratory: segments that were not named beforehand show where to look, and prove nothing.

    Parameters
    ----------
    segments : array_like of int, shape (n,)
        Codes of one way of cutting the rows.
    users : array_like of int, shape (n,)
        Codes, not necessarily dense.
    liked : array_like of bool or 0/1, shape (n,)
    will_like : array_like of float, shape (n,)
        Probabilities, strictly between 0 and 1.

    Returns
    -------
    polars.DataFrame
        One row a segment, by ascending code: `exposures`, `likes`, `users`, `like_rate`, `will_like` (its
        mean), `bias` (0 is best; 0.1 forecasts 10 % too many likes; null without likes), `bias_low`,
        `bias_high` (95 %, user-clustered; null where too few users liked to bound it, about four),
        `bias_shrunk`, `p_value` (of no bias; null with one user), `marked` (`mark_discoveries`).

    Raises
    ------
    UsageError
        When lengths differ, no row is given, or a value is not a code or a finite number.

    Notes
    -----
    With P and L the sums of will_like and of likes, of a segment and, with u, of its users:
    ``bias = P / L - 1``. It is t - 1 for every t that ``(P - t L)^2 <= 1.96^2 V(t)`` does not reject,
    ``V(t) = max(C(t), d I(t))``, ``C(t) = sum_u (P_u - t L_u)^2``, ``I(t) = t P - sum p^2``, and
    ``p = 2 Phi(-|P - L| / sqrt(V(1)))``: zero lies outside the interval when p < 0.05. I is the variance of
    independent likes, and d the dispersion of all segments together, ``sum C / sum I`` at each one's own
    P / L (at 1 where ``I(P / L)`` is no variance). Without that second term a segment with few likes looks
    surest of itself (five expected, none seen); without d, rows given twice would narrow its interval.
    `bias_shrunk` is ``1 / r - 1``, r the normal-normal posterior mean of L / P across the segments,
    its variance ``V(1) / P^2``, between segments by DerSimonian and Laird.

    References
    ----------
    Fieller, E. C. (1954). Some problems in interval estimation. JRSS B 16(2).
    DerSimonian, R., Laird, N. (1986). Meta-analysis in clinical trials. Controlled Clinical Trials 7(3).
    https://doi.org/10.1016/0197-2456(86)90046-2

    Examples
    --------
    >>> users, liked = [1, 2, 3, 4, 5, 6, 7, 8] * 2, [1, 0, 0, 1, 1, 0, 1, 1] * 2
    >>> found = segment_biases([0] * 8 + [1] * 8, users, liked, [0.5] * 8 + [0.75] * 8)
    >>> found["bias"].round(3).to_list(), found["marked"].to_list()
    ([-0.2, 0.2], [False, False])
    """
    sums = _sum_segments(segments, users, liked, will_like)
    dispersion = _pool_dispersion(sums)
    variance = np.maximum(sums.clustered(1.0), dispersion * sums.independent(1.0))
    distance = np.abs(sums.expected - sums.likes) / np.sqrt(variance)
    p_values = np.where(sums.users > 1, 2 * ndtr(-distance), np.nan)
    low, high = _interval(sums, dispersion)
    columns = {
        "exposures": sums.rows,
        "likes": sums.likes.astype(np.int64),
        "users": sums.users,
        "like_rate": sums.likes / sums.rows,
        "will_like": sums.expected / sums.rows,
        "bias": divide(sums.expected, sums.likes) - 1,
        "bias_low": low,
        "bias_high": high,
        "bias_shrunk": divide(1.0, shrink_estimates(sums.likes / sums.expected, variance / sums.expected**2))
        - 1,
        "p_value": p_values,
    }
    table = pl.DataFrame(columns).with_columns(pl.col(pl.Float64).fill_nan(None))
    return table.with_columns(marked=pl.Series(mark_discoveries(p_values)))


@dataclass(frozen=True)
class _Sums:
    """Each an array of shape (segments,)."""

    rows: IntArray
    users: IntArray
    likes: FloatArray
    expected: FloatArray
    likes_squared: FloatArray  # sums over users of products of their sums
    expected_squared: FloatArray
    likes_expected: FloatArray
    row_squared: FloatArray  # sum of squared probabilities

    def clustered(self, times: float | FloatArray) -> FloatArray:
        """Variance of P - t L as users show it."""
        return self.expected_squared - 2 * times * self.likes_expected + times**2 * self.likes_squared

    def independent(self, times: float | FloatArray) -> FloatArray:
        """Variance of P - t L if the likes were independent, with probabilities p / t."""
        return times * self.expected - self.row_squared


def _sum_segments(
    segments: npt.ArrayLike, users: npt.ArrayLike, liked: npt.ArrayLike, will_like: npt.ArrayLike
) -> _Sums:
    p, y = as_values("will_like", will_like), as_values("liked", liked)
    if p.shape != y.shape:
        raise UsageError(f"liked and will_like must have the same rows, got {y.size} and {p.size}")
    codes, people = as_dense_codes("segments", segments, p.size), as_dense_codes("users", users, p.size)
    pairs, pair = np.unique(codes * (people.max() + 1) + people, return_inverse=True)
    of = pairs // (people.max() + 1)
    likes, expected = _add_up(pair, y), _add_up(pair, p)
    return _Sums(
        rows=np.bincount(codes),
        users=np.bincount(of),
        likes=_add_up(of, likes),
        expected=_add_up(of, expected),
        likes_squared=_add_up(of, likes**2),
        expected_squared=_add_up(of, expected**2),
        likes_expected=_add_up(of, likes * expected),
        row_squared=_add_up(codes, p**2),
    )


def _add_up(codes: IntArray, values: FloatArray) -> FloatArray:
    return np.bincount(codes, weights=values).astype(np.float64)


def _pool_dispersion(sums: _Sums) -> float:
    own = sums.expected / np.maximum(sums.likes, 1)
    # Far more likes than forecast: no p / t is a probability, and the forecast must do as it stands.
    own = np.where((sums.likes > 0) & (sums.independent(own) > 0), own, 1.0)
    return float(sums.clustered(own).sum() / sums.independent(own).sum())


def _interval(sums: _Sums, dispersion: float) -> tuple[FloatArray, FloatArray]:
    """Join what either variance does not reject; both contain the estimate, so that no hole is left."""
    z2, expected, likes = _TWO_SIDED_95_SQUARED, sums.expected, sums.likes
    by_user = _roots(
        likes**2 - z2 * sums.likes_squared,
        expected * likes - z2 * sums.likes_expected,
        expected**2 - z2 * sums.expected_squared,
    )
    wide = z2 * dispersion
    by_row = _roots(likes**2, expected * likes + wide * expected / 2, expected**2 + wide * sums.row_squared)
    possible = sums.independent(divide(expected, likes)) >= 0
    low = np.where(possible, np.fmin(by_user[0], by_row[0]), by_user[0])
    high = np.where(possible, np.fmax(by_user[1], by_row[1]), by_user[1])
    bounded = np.isfinite(by_user[0])
    return np.where(bounded, np.maximum(low, 0) - 1, np.nan), np.where(bounded, high - 1, np.nan)


def _roots(square: FloatArray, half: FloatArray, rest: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Solve ``square t^2 - 2 half t + rest <= 0``; NaN where that is not an interval."""
    inside = half**2 - square * rest
    root = np.sqrt(np.where((square > 0) & (inside >= 0), inside, np.nan))
    return divide(half - root, square), divide(half + root, square)


def shrink_estimates(values: npt.ArrayLike, variances: npt.ArrayLike) -> FloatArray:
    """Draw estimates to their mean, the more the less sure they are.

    Parameters
    ----------
    values, variances : array_like of float, shape (k,)
        Variances above 0.

    Returns
    -------
    numpy.ndarray of float64, shape (k,)
        Normal-normal posterior means.

    References
    ----------
    DerSimonian, R., Laird, N. (1986). Meta-analysis in clinical trials. Controlled Clinical Trials 7(3).
    https://doi.org/10.1016/0197-2456(86)90046-2

    Examples
    --------
    >>> shrink_estimates([0.0, 4.0], [1.0, 1.0]).round(2).tolist()
    [0.25, 3.75]
    """
    values, variances = np.asarray(values, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    weights = 1 / variances
    mean = np.sum(weights * values) / weights.sum()
    excess = np.sum(weights * (values - mean) ** 2) - (values.size - 1)
    scale = weights.sum() - np.sum(weights**2) / weights.sum()
    between = max(0.0, float(excess / scale)) if values.size > 1 else 0.0
    weights = 1 / (variances + between)
    mean = np.sum(weights * values) / weights.sum()
    shrunk: FloatArray = mean + between * weights * (values - mean)
    return shrunk


def mark_discoveries(p_values: npt.ArrayLike, rate: float = FALSE_DISCOVERY_RATE) -> npt.NDArray[np.bool_]:
    """Mark what stands out of many comparisons (Benjamini and Hochberg).

    Parameters
    ----------
    p_values : array_like of float, shape (k,)
        NaN is no comparison.
    rate : float
        Share of the marks that may be false, on average, in (0, 1).

    Returns
    -------
    numpy.ndarray of bool, shape (k,)

    Raises
    ------
    UsageError
        When a p-value lies outside [0, 1].

    Notes
    -----
    Marks the k smallest, k the largest with ``p_(k) <= k rate / m``, m being the number of comparisons.

    References
    ----------
    Benjamini, Y., Hochberg, Y. (1995). Controlling the false discovery rate. JRSS B 57(1).
    https://doi.org/10.1111/j.2517-6161.1995.tb02031.x

    Examples
    --------
    >>> mark_discoveries([0.01, 0.04, 0.3, float("nan")]).tolist()
    [True, True, False, False]
    """
    # scipy.stats takes long to import, and most commands need none of it.
    from scipy.stats import false_discovery_control

    values = np.asarray(p_values, dtype=np.float64)
    known = np.isfinite(values)
    if ((values[known] < 0) | (values[known] > 1)).any():
        raise UsageError("p_values must lie in [0, 1]")
    marked = np.zeros(values.shape, dtype=np.bool_)
    if known.any():
        marked[known] = false_discovery_control(values[known]) <= rate
    return marked
