"""What happened lately: weights that halve, by a user's own exposures or by days."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.factors import Factors
from recsys.features._effects import overall_rate, shrunk_effects

#: Days from its creation, or else its first exposure, after which an item is half as new; days after which an
#: exposure counts half in the trend.
HALF_LIFE_DAYS = 7.0
_TREND_PRIOR = 5.0
_MICROSECONDS_A_DAY = 86_400_000_000


def exposures_since(users: NDArray[np.int32], size: int) -> NDArray[np.int64]:
    """Count how many exposures of the same user came after each.

    Parameters
    ----------
    users : ndarray of int32, shape (n,)
        Rows in order of time.
    size : int
        How many users there are.

    Returns
    -------
    ndarray of int64, shape (n,)
        0 is the user's last.

    """
    by_user = np.argsort(users, kind="stable")
    ends = np.cumsum(np.bincount(users, minlength=size))
    since = np.empty(len(users), np.int64)
    since[by_user] = ends[users[by_user]] - 1 - np.arange(len(users))
    return since


def late_effects(
    users: NDArray[np.int32], success: NDArray[np.float64], weights: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    """Estimate what users add to an outcome, recent exposures weighing more.

    Parameters
    ----------
    users : ndarray of int32, shape (n,)
    success : ndarray of float64, shape (n,)
        0 or 1.
    weights : ndarray of float64, shape (n,)
    size : int

    Returns
    -------
    ndarray of float64, shape (size,)
        Log-odds beyond the overall rate: `shrunk_effects` of the weighted counts.

    """
    return shrunk_effects(*late_sums(users, success, weights, size, overall_rate(success)))


def late_sums(
    users: NDArray[np.int32],
    success: NDArray[np.float64],
    weights: NDArray[np.float64],
    size: int,
    rate: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Count each user's weighted successes, trials, and the successes expected of it, each of shape (size,)."""
    trials, successes = (
        np.bincount(users, counted, minlength=size).astype(np.float64)
        for counted in (weights, weights * success)
    )
    return successes, trials, rate * trials


def weights_by_day(times: pl.Series, cut: datetime) -> NDArray[np.float64]:
    """Weigh exposures by age, shape (n,): 1 at the cut, one half a week earlier.

    Parameters
    ----------
    times : polars.Series of n instants
    cut : datetime.datetime

    Returns
    -------
    ndarray of float64, shape (n,)

    """
    days = (cut - times).dt.total_microseconds().to_numpy() / _MICROSECONDS_A_DAY
    return np.asarray(0.5 ** (days / HALF_LIFE_DAYS))


def largest_weight(codes: NDArray[np.int32], weights: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Take the largest weight of each entity, shape (size,); 0 where there is none."""
    largest = np.zeros(size)
    np.maximum.at(largest, codes, weights)
    return largest


def smallest_weight(codes: NDArray[np.int32], weights: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Take the smallest weight of each entity, shape (size,); 1 where there is none."""
    smallest = np.ones(size)
    np.minimum.at(smallest, codes, weights)
    return smallest


def trends(items: NDArray[np.int32], weights: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Say how much more of an item's exposures are recent than of all exposures.

    Parameters
    ----------
    items : ndarray of int32, shape (n,)
    weights : ndarray of float64, shape (n,)
    size : int

    Returns
    -------
    ndarray of float64, shape (size,)
        ``ln((w + 5) / (e + 5))``: w the item's weight, e what its exposures would weigh on average.

    """
    recent = np.bincount(items, weights, minlength=size).astype(np.float64)
    counts = np.bincount(items, minlength=size)
    return trends_of(recent, counts, weights.sum() / max(len(weights), 1))


def trends_of(
    recent: NDArray[np.float64], counts: NDArray[np.int64], mean_weight: float
) -> NDArray[np.float64]:
    """Give the trends of items of these weights, counts, and mean weight of an exposure."""
    return np.asarray(np.log((recent + _TREND_PRIOR) / (counts * mean_weight + _TREND_PRIOR)))


def late_tastes(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    weights: NDArray[np.float64],
    factors: Factors,
) -> Factors:
    """Compare items with what each user liked lately, as a factorisation.

    Parameters
    ----------
    users, items : ndarray of int32, shape (n,)
        Of the likes.
    weights : ndarray of float64, shape (n,)
    factors : Factors
        In whose space items are compared.

    Returns
    -------
    Factors
        The score is the weighted sum of cosine similarities, over one plus the weights.

    """
    directions = directions_of(factors.item_factors)
    shape: Any = (factors.n_users, len(directions))
    liked = csr_matrix((weights, (users, items)), shape=shape)
    total = np.asarray(liked.sum(axis=1)).reshape(-1, 1)
    profiles = np.asarray(liked @ directions) / (1.0 + total)
    return Factors(profiles.astype(np.float32), directions.astype(np.float32))


def directions_of(item_factors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give items the length 1; those without factors stay where they are."""
    lengths = np.linalg.norm(item_factors.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(item_factors / np.where(lengths > 0, lengths, 1.0))
