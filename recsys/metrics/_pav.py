"""Forecasts pooled where they are equal, recalibrated without bins, and drawn as if they were true."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from recsys.metrics._checks import (
    FloatArray,
    IntArray,
    as_draws,
    as_liked,
    as_will_like,
    require_same_rows,
)


@dataclass(frozen=True)
class Forecasts:
    """Rows sorted by forecast, and where each distinct forecast begins."""

    ordered: FloatArray  # (n,)
    starts: IntArray  # (distinct,)
    values: FloatArray  # (distinct,)
    rows: IntArray  # (distinct,)


@dataclass(frozen=True)
class Recalibrated:
    """What pool-adjacent-violators (PAV) makes of pooled forecasts."""

    by_forecast: FloatArray  # (distinct,)
    starts: IntArray  # (blocks,) index of the first distinct forecast
    rates: FloatArray  # (blocks,)
    rows: IntArray  # (blocks,)


def pool_forecasts(will_like: npt.ArrayLike) -> Forecasts:
    """Sort the forecasts once, and find the distinct ones."""
    ordered = np.sort(as_will_like(will_like))
    require_same_rows(will_like=ordered)
    starts = np.flatnonzero(np.append(True, ordered[1:] > ordered[:-1]))
    return Forecasts(ordered, starts, ordered[starts], np.diff(starts, append=ordered.size))


def pool_likes(liked: npt.ArrayLike, will_like: npt.ArrayLike, forecasts: Forecasts) -> IntArray:
    """Count the likes of each distinct forecast."""
    labels, values = as_liked(liked), as_will_like(will_like)
    require_same_rows(liked=labels, will_like=values)
    groups = np.searchsorted(forecasts.values, values[labels])
    return np.bincount(groups, minlength=forecasts.values.size).astype(np.int64)


def recalibrate(likes: IntArray, rows: IntArray) -> Recalibrated:
    """Fit rates that never fall from one distinct forecast to the next."""
    starts = isotonic_regression(likes / rows, weights=rows.astype(np.float64)).blocks[:-1].astype(np.int64)
    block_rows = np.add.reduceat(rows, starts)
    # From whole numbers: PAV's own running means could end at 1 + 1e-16, whose entropy is minus infinity.
    rates = np.add.reduceat(likes, starts) / block_rows
    return Recalibrated(np.repeat(rates, np.diff(starts, append=rows.size)), starts, rates, block_rows)


def simulate_likes(forecasts: Forecasts, draws: int, seed: int) -> Iterator[IntArray]:
    """Draw the likes of each distinct forecast as if the forecasts were the true probabilities."""
    rng = np.random.default_rng(seed)
    for _ in range(as_draws(draws)):
        likes = rng.random(forecasts.ordered.size) < forecasts.ordered
        yield np.add.reduceat(likes, forecasts.starts, dtype=np.int64)


def central_95(simulated: npt.ArrayLike) -> FloatArray:
    """Give the 2.5 % and 97.5 % quantiles over the first axis."""
    # Weibull's positions, k / (draws + 1): a further draw falls inside exactly 95 times in 100.
    quantiles = np.quantile(np.asarray(simulated), (0.025, 0.975), axis=0, method="weibull")
    return np.asarray(quantiles, dtype=np.float64)
