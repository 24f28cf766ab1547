"""Percentile intervals from users drawn again and again, as Poisson(1) weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.errors import UsageError
from recsys.inference._checks import FloatArray, IntArray, as_dense_codes, as_values
from recsys.inference._estimate import Estimate
from recsys.metrics import auc

_WEIGHTS_AT_ONCE = 2**22  # 32 MiB each of integers and of floats
_FEWEST_DRAWS = 39  # below, no draw is at or beyond the 2.5 % quantile
_UNDEFINED = 0.05

Statistic = Callable[[FloatArray], npt.ArrayLike]


def user_sums(users: npt.ArrayLike, columns: npt.ArrayLike) -> FloatArray:
    """Add up the rows of each user.

    Parameters
    ----------
    users : array_like of int, shape (n,)
        Codes, not necessarily dense.
    columns : array_like of float, shape (n, k)

    Returns
    -------
    numpy.ndarray of float64, shape (users, k)
        Users in ascending order of their codes.

    Raises
    ------
    UsageError
        When lengths differ, no row is given, or a value is not finite.

    Notes
    -----
    Rows are added in the order given.

    Examples
    --------
    >>> user_sums([9, 7, 9], [[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]]).tolist()
    [[2.0, 1.0], [4.0, 2.0]]
    """
    table = as_values("columns", columns, dimensions=2)
    codes = as_dense_codes("users", users, table.shape[0])
    return np.stack([np.bincount(codes, weights=column) for column in table.T], axis=1)


def ratio_of_sums(sums: FloatArray) -> FloatArray:
    """Divide the first sum by the second: a mean, a bias, a weighted mean.

    Parameters
    ----------
    sums : numpy.ndarray of float64, shape (..., 2 or more)

    Returns
    -------
    numpy.ndarray of float64, shape (...)
        NaN where the second sum is 0.

    Notes
    -----
    ``sums[..., 0] / sums[..., 1]``.

    Examples
    --------
    >>> ratio_of_sums(np.array([[1.0, 4.0], [1.0, 0.0]])).tolist()
    [0.25, nan]
    """
    return divide(sums[..., 0], sums[..., 1])


def divide(numerators: npt.ArrayLike, denominators: npt.ArrayLike) -> FloatArray:
    """Divide, giving NaN where the denominator is 0."""
    above, below = np.broadcast_arrays(np.asarray(numerators, float), np.asarray(denominators, float))
    quotient = np.full(above.shape, math.nan)
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient


def bootstrap_sums(sums: npt.ArrayLike, draws: int, seed: int) -> FloatArray:
    """Draw the users again: total their sums under Poisson(1) weights.

    Parameters
    ----------
    sums : array_like of float, shape (users, k)
        Per-user sums, from `user_sums`.
    draws : int
        At least 1.
    seed : int

    Returns
    -------
    numpy.ndarray of float64, shape (draws, k)

    Raises
    ------
    UsageError
        When there is no user, no draw, or a sum is not finite.

    Notes
    -----
    ``T_bk = sum_u w_bu s_uk``, ``w_bu ~ Poisson(1)`` independent: the multinomial bootstrap over users
    without its fixed total. Same seed and same number of users: the same weights, also in
    `bootstrap_auc`. The product is added up in a fixed order, without BLAS, so that the bits do not
    depend on threads.

    References
    ----------
    Owen, A. B., Eckles, D. (2012). Bootstrapping data arrays of arbitrary order. Annals of Applied
    Statistics 6(3). https://doi.org/10.1214/12-AOAS547

    Examples
    --------
    >>> bootstrap_sums([[1.0, 1.0], [2.0, 1.0]], draws=200, seed=0).shape
    (200, 2)
    """
    columns = np.ascontiguousarray(as_values("sums", sums, dimensions=2).T)
    weights = _poisson_weights(columns.shape[1], draws, seed)
    return np.concatenate([np.einsum("bu,ku->bk", block.astype(np.float64), columns) for block in weights])


def _poisson_weights(users: int, draws: int, seed: int) -> Iterator[IntArray]:
    if draws < 1:
        raise UsageError(f"draws must be at least 1, got {draws}")
    rng = np.random.default_rng(seed)
    weights = _poisson_cells()
    # Even, since the generator deals cells in pairs: how the draws are blocked must not show.
    at_once = max(2, _WEIGHTS_AT_ONCE // users // 2 * 2)
    for first in range(0, draws, at_once):
        cells = rng.integers(2**16, size=(min(at_once, draws - first), users), dtype=np.uint16)
        yield weights[cells]


def _poisson_cells() -> IntArray:
    """Cut 2^16 equally likely cells at the quantiles of Poisson(1), shape (65536,).

    Mean 1 and variance 1 within 4e-5, weights up to 8; several times faster than a sampler.
    """
    whole = np.cumsum([math.exp(-1) / math.factorial(weight) for weight in range(9)])
    edges = np.round(whole * 2**16).astype(np.int64)
    return np.repeat(np.arange(9), np.diff(edges, prepend=0))


def bootstrap_interval(statistic: Statistic, sums: npt.ArrayLike, draws: int, seed: int) -> Estimate:
    """Estimate a function of totals with its percentile interval over users.

    Parameters
    ----------
    statistic : callable
        Takes totals of shape (..., k), gives values of shape (...); NaN where undefined.
    sums : array_like of float, shape (users, k)
        Per-user sums, from `user_sums`.
    draws : int
        At least 39.
    seed : int

    Returns
    -------
    Estimate
        In the statistic's unit. The ends are NaN with fewer than two users, or when more than one draw in
        twenty leaves the statistic undefined.

    Raises
    ------
    UsageError
        When there is no user, there are too few draws, or a sum is not finite.

    Notes
    -----
    The k-th of B ordered draws stands for the quantile ``k / (B + 1)``.

    References
    ----------
    Owen, A. B., Eckles, D. (2012). Bootstrapping data arrays of arbitrary order. Annals of Applied
    Statistics 6(3). https://doi.org/10.1214/12-AOAS547

    Examples
    --------
    >>> sums = user_sums([1, 1, 2, 3], [[0.2, 1.0], [0.4, 1.0], [0.9, 1.0], [0.1, 1.0]])
    >>> found = bootstrap_interval(ratio_of_sums, sums, draws=200, seed=0)
    >>> round(found.value, 4), found.low < found.value < found.high
    (0.4, True)
    """
    table = as_values("sums", sums, dimensions=2)
    total = float(np.asarray(statistic(table.sum(axis=0))))
    return percentile_interval(total, statistic(bootstrap_sums(table, draws, seed)), table.shape[0])


def percentile_interval(value: float, replicates: npt.ArrayLike, users: int) -> Estimate:
    """Put the central 95 % of the replicates around a value."""
    drawn = np.asarray(replicates, dtype=np.float64)
    if drawn.size < _FEWEST_DRAWS:
        raise UsageError(f"draws must be at least {_FEWEST_DRAWS} for a 95 % interval, got {drawn.size}")
    defined = drawn[np.isfinite(drawn)]
    if users < 2 or drawn.size - defined.size > _UNDEFINED * drawn.size:
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(defined, (0.025, 0.975), method="weibull")
    return Estimate(value, float(low), float(high))


def bootstrap_auc(
    users: npt.ArrayLike, liked: npt.ArrayLike, scores: npt.ArrayLike, draws: int, seed: int
) -> Estimate:
    """Estimate the AUC over all rows with its percentile interval over users.

    Parameters
    ----------
    users : array_like of int, shape (n,)
        Codes, not necessarily dense.
    liked : array_like of bool or 0/1, shape (n,)
    scores : array_like of float, shape (n,)
        Any finite numbers that rise with the chance of a like.
    draws : int
        At least 39.
    seed : int

    Returns
    -------
    Estimate
        In [0, 1]; higher is better; 0.5 is a coin. NaN when all rows, or none, were liked.

    Raises
    ------
    UsageError
        When lengths differ, no row is given, there are too few draws, or a value is not a code, a label
        or a finite number.

    Notes
    -----
    With w the Poisson(1) weight of a row's user, i over liked rows and j over the others:
    ``sum_ij w_i w_j (1[s_i > s_j] + 1[s_i = s_j] / 2) / (sum_i w_i sum_j w_j)``. Scores are sorted once;
    a draw is one cumulative sum of whole numbers.

    References
    ----------
    Owen, A. B., Eckles, D. (2012). Bootstrapping data arrays of arbitrary order. Annals of Applied
    Statistics 6(3). https://doi.org/10.1214/12-AOAS547

    Examples
    --------
    >>> found = bootstrap_auc([1, 1, 2, 2] * 2, [1, 0, 1, 0] * 2, [0.9, 0.1, 0.4, 0.6] * 2, draws=99, seed=0)
    >>> found.value
    0.75
    """
    value, drawn = draw_aucs(users, liked, scores, draws, seed)
    return percentile_interval(value, drawn, np.unique(np.asarray(users)).size)


def draw_aucs(
    users: npt.ArrayLike, liked: npt.ArrayLike, scores: npt.ArrayLike, draws: int, seed: int
) -> tuple[float, FloatArray]:
    """Give the AUC and that of each draw, see `bootstrap_auc`."""
    value = auc(liked, scores)
    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(liked, dtype=np.bool_)
    codes = as_dense_codes("users", users, values.size)
    pairs = _sort_pairs(codes, labels, values)
    count = int(codes.max()) + 1
    drawn = [_weighted_auc(row, pairs) for block in _poisson_weights(count, draws, seed) for row in block]
    return value, np.array(drawn)


@dataclass(frozen=True)
class _Pairs:
    """The users of the liked and of the other rows, and how many others each liked row beats."""

    liked_users: IntArray  # (liked,)
    other_users: IntArray  # (others,) by ascending score
    below: IntArray  # (liked,) others with a lower score
    up_to: IntArray  # (liked,) others with a lower or the same score


def _sort_pairs(codes: IntArray, labels: npt.NDArray[np.bool_], values: FloatArray) -> _Pairs:
    others, other_codes = values[~labels], codes[~labels]
    order = np.argsort(others, kind="stable")
    below, up_to = (np.searchsorted(others[order], values[labels], side=side) for side in ("left", "right"))
    return _Pairs(codes[labels], other_codes[order], below, up_to)


def _weighted_auc(weights: IntArray, pairs: _Pairs) -> float:
    likes = weights[pairs.liked_users]
    others = np.append(0, np.cumsum(weights[pairs.other_users]))
    wins = int((likes * (others[pairs.below] + others[pairs.up_to])).sum())
    possible = 2 * int(likes.sum()) * int(others[-1])
    return wins / possible if possible else math.nan
