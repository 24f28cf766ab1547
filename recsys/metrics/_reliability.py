"""Calibration as a curve: recalibrated rates by forecast, and what chance alone would show."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.errors import UsageError
from recsys.metrics._pav import central_95, pool_forecasts, pool_likes, recalibrate, simulate_likes


def reliability_curve(liked: npt.ArrayLike, will_like: npt.ArrayLike) -> pl.DataFrame:
    """List the blocks of forecasts that PAV recalibrates to one rate.

    Parameters
    ----------
    liked : array_like of bool or 0/1, shape (n,)
    will_like : array_like of float, shape (n,)
        Probabilities, strictly between 0 and 1.

    Returns
    -------
    polars.DataFrame
        One row a block, ascending: `forecast_low`, `forecast_high`, `forecast_mean`, `recalibrated` (the
        block's like rate, strictly rising) and `rows`. Calibrated when `recalibrated` is close to
        `forecast_mean`.

    Raises
    ------
    UsageError
        As `corp_decomposition`.

    Notes
    -----
    The recalibrated rates minimise ``sum_i (y_i - r_i)^2`` over all r that never fall as p rises.

    References
    ----------
    Dimitriadis, T., Gneiting, T., Jordan, A. I. (2021). Stable reliability diagrams for probabilistic
    classifiers. PNAS 118(8). https://doi.org/10.1073/pnas.2016191118

    Examples
    --------
    >>> curve = reliability_curve([0, 1, 0, 1], [0.2, 0.2, 0.6, 0.8])
    >>> [round(rate, 4) for rate in curve["recalibrated"]], curve["rows"].to_list()
    ([0.3333, 1.0], [3, 1])
    """
    forecasts = pool_forecasts(will_like)
    blocks = recalibrate(pool_likes(liked, will_like, forecasts), forecasts.rows)
    last = np.append(blocks.starts[1:], forecasts.values.size) - 1
    totals = np.add.reduceat(forecasts.ordered, forecasts.starts[blocks.starts])
    return pl.DataFrame(
        {
            "forecast_low": forecasts.values[blocks.starts],
            "forecast_high": forecasts.values[last],
            "forecast_mean": totals / blocks.rows,
            "recalibrated": blocks.rates,
            "rows": blocks.rows,
        }
    )


def reliability_null_band(will_like: npt.ArrayLike, draws: int, seed: int, points: int = 100) -> pl.DataFrame:
    """Simulate the reliability curve that the true probabilities would show.

    Parameters
    ----------
    will_like : array_like of float, shape (n,)
        Probabilities, strictly between 0 and 1.
    draws : int
        Simulations, at least 39.
    seed : int
    points : int
        At most this many forecasts, evenly spaced in rank from the lowest to the highest.

    Returns
    -------
    polars.DataFrame
        Columns `forecast` (ascending), `low` and `high`: the central 95 % of the recalibrated rate at that
        forecast. Pointwise: one forecast in twenty is expected to leave it.

    Raises
    ------
    UsageError
        When a value is not a probability, or there are too few draws or points.

    Notes
    -----
    Quantiles of r(p) over ``y* ~ Bernoulli(p)``, r being the PAV fit of y* on p; the grid holds observed
    forecasts only, so that r is nowhere interpolated. The paper also resamples the forecasts; here they
    are kept as they are.

    References
    ----------
    Dimitriadis, T., Gneiting, T., Jordan, A. I. (2021). Stable reliability diagrams for probabilistic
    classifiers. PNAS 118(8). https://doi.org/10.1073/pnas.2016191118

    Examples
    --------
    >>> band = reliability_null_band([0.1, 0.4] * 50, draws=99, seed=0)
    >>> band["forecast"].to_list(), bool((band["low"] < band["high"]).all())
    ([0.1, 0.4], True)
    """
    if points < 2:
        raise UsageError(f"points must be at least 2, got {points}")
    forecasts = pool_forecasts(will_like)
    ranks = np.linspace(0, forecasts.ordered.size - 1, points).round().astype(np.int64)
    grid = np.unique(np.searchsorted(forecasts.starts, ranks, side="right") - 1)
    simulated = simulate_likes(forecasts, draws, seed)
    low, high = central_95([recalibrate(likes, forecasts.rows).by_forecast[grid] for likes in simulated])
    return pl.DataFrame({"forecast": forecasts.values[grid], "low": low, "high": high})
