"""Calibration as a number: the CORP decomposition, and the miscalibration that chance alone would show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from recsys.errors import UsageError, nearest
from recsys.metrics._checks import FloatArray, IntArray
from recsys.metrics._pav import Forecasts, central_95, pool_forecasts, pool_likes, recalibrate, simulate_likes
from recsys.metrics._scores import binary_entropy


@dataclass(frozen=True)
class CorpDecomposition:
    """A mean score in three parts: ``score = miscalibration - discrimination + uncertainty``.

    Attributes
    ----------
    miscalibration : float
        What recalibration would gain, at least 0; lower is better. Above 0 even for the true
        probabilities: read it beside `miscalibration_null_band`.
    discrimination : float
        What the recalibrated forecast gains over the base rate, at least 0; higher is better.
    uncertainty : float
        The score of the base rate; a property of the rows, not of the forecast.
    """

    miscalibration: float
    discrimination: float
    uncertainty: float

    @property
    def score(self) -> float:
        """The mean score of the forecast as it stands; lower is better."""
        return self.miscalibration - self.discrimination + self.uncertainty


@dataclass(frozen=True)
class NullBand:
    """Where a figure falls 95 times in 100 when the forecasts are the true probabilities.

    Attributes
    ----------
    low, high : float
        The 2.5 % and 97.5 % quantiles over the simulations.
    """

    low: float
    high: float


@dataclass(frozen=True)
class _Score:
    """A proper score: its sum over rows, and its mean over rows that forecast their own rate."""

    total: Callable[[IntArray, Forecasts], float]
    entropy: Callable[[npt.ArrayLike], FloatArray]


def _log_loss(likes: IntArray, forecasts: Forecasts) -> float:
    p, others = forecasts.values, forecasts.rows - likes
    return float(-np.sum(likes * np.log(p) + others * np.log1p(-p)))


def _squared_error(likes: IntArray, forecasts: Forecasts) -> float:
    p, others = forecasts.values, forecasts.rows - likes
    return float(np.sum(likes * (1 - p) ** 2 + others * p**2))


def _variance(rate: npt.ArrayLike) -> FloatArray:
    rates = np.asarray(rate, dtype=np.float64)
    return rates * (1 - rates)


_SCORES = {"log_loss": _Score(_log_loss, binary_entropy), "brier": _Score(_squared_error, _variance)}


def _score_recalibrated(likes: IntArray, rows: IntArray, score: _Score) -> float:
    blocks = recalibrate(likes, rows)
    return float(np.sum(blocks.rows * score.entropy(blocks.rates)) / rows.sum())


def corp_decomposition(
    liked: npt.ArrayLike, will_like: npt.ArrayLike, score: Literal["log_loss", "brier"] = "log_loss"
) -> CorpDecomposition:
    """Split a mean score into miscalibration, discrimination and uncertainty.

    Parameters
    ----------
    liked : array_like of bool or 0/1, shape (n,)
    will_like : array_like of float, shape (n,)
        Probabilities, strictly between 0 and 1.
    score : {"log_loss", "brier"}
        Nats per row, or squared error per row.

    Returns
    -------
    CorpDecomposition

    Raises
    ------
    UsageError
        When lengths differ, no row is given, a value is not a label or a probability, or the score is
        not one of the two.

    Notes
    -----
    With S the mean score, r the PAV-recalibrated forecast and pi the like rate of these rows:
    ``miscalibration = S(p) - S(r)``, ``discrimination = S(pi) - S(r)``, ``uncertainty = S(pi)``.
    In a block that forecasts its own rate the mean log loss is H(rate) and the mean squared error is
    rate (1 - rate), with ``0 ln 0 = 0``.

    References
    ----------
    Dimitriadis, T., Gneiting, T., Jordan, A. I. (2021). Stable reliability diagrams for probabilistic
    classifiers. PNAS 118(8). https://doi.org/10.1073/pnas.2016191118

    Examples
    --------
    >>> parts = corp_decomposition([0, 1, 0, 1], [0.2, 0.2, 0.6, 0.8], score="brier")
    >>> round(parts.uncertainty, 4), round(parts.discrimination, 4), round(parts.miscalibration, 4)
    (0.25, 0.0833, 0.1033)
    """
    if score not in _SCORES:
        raise UsageError(f"{score!r} is not a score: {nearest(score, _SCORES)}")
    forecasts, rule = pool_forecasts(will_like), _SCORES[score]
    likes = pool_likes(liked, will_like, forecasts)
    rows = forecasts.ordered.size
    recalibrated = _score_recalibrated(likes, forecasts.rows, rule)
    uncertainty = float(rule.entropy(likes.sum() / rows))
    return CorpDecomposition(
        rule.total(likes, forecasts) / rows - recalibrated, uncertainty - recalibrated, uncertainty
    )


def miscalibration(liked: npt.ArrayLike, will_like: npt.ArrayLike) -> float:
    """Measure the log loss that recalibration would save.

    Parameters
    ----------
    liked : array_like of bool or 0/1, shape (n,)
    will_like : array_like of float, shape (n,)
        Probabilities, strictly between 0 and 1.

    Returns
    -------
    float
        Nats per row, at least 0; lower is better. Above 0 even for the true probabilities: read it
        beside `miscalibration_null_band`.

    Raises
    ------
    UsageError
        As `corp_decomposition`.

    Notes
    -----
    ``S(p) - S(r)``, with S the mean log loss and r the PAV-recalibrated forecast.

    References
    ----------
    Dimitriadis, T., Gneiting, T., Jordan, A. I. (2021). Stable reliability diagrams for probabilistic
    classifiers. PNAS 118(8). https://doi.org/10.1073/pnas.2016191118

    Examples
    --------
    >>> round(miscalibration([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5]), 12)
    0.0
    """
    return corp_decomposition(liked, will_like).miscalibration


def miscalibration_null_band(will_like: npt.ArrayLike, draws: int, seed: int) -> NullBand:
    """Simulate the log-loss miscalibration that the true probabilities would show.

    Parameters
    ----------
    will_like : array_like of float, shape (n,)
        Probabilities, strictly between 0 and 1.
    draws : int
        Simulations, at least 39.
    seed : int

    Returns
    -------
    NullBand
        Nats per row. A `miscalibration` above `high` is more than chance.

    Raises
    ------
    UsageError
        When a value is not a probability or there are too few draws.

    Notes
    -----
    Quantiles of ``miscalibration(y*, p)`` over ``y* ~ Bernoulli(p)``, rows independent given p and the
    forecasts kept as they are. Repeated rows, and likes that hang together within a user beyond what p
    knows, leave this band although ``E[y | p] = p``: with 100 rows a user and an unknown habit of standard
    deviation 1 in logits, 60 % of calibrated forecasters did (25 rows: 16 %).

    References
    ----------
    Dimitriadis, T., Gneiting, T., Jordan, A. I. (2021). Stable reliability diagrams for probabilistic
    classifiers. PNAS 118(8). https://doi.org/10.1073/pnas.2016191118

    Examples
    --------
    >>> band = miscalibration_null_band([0.1, 0.2, 0.3, 0.4] * 25, draws=99, seed=0)
    >>> 0 <= band.low < band.high < 0.1
    True
    """
    forecasts, rule = pool_forecasts(will_like), _SCORES["log_loss"]
    # The loss is linear in the likes: no logarithm is taken again in a draw.
    logit = np.log(forecasts.values) - np.log1p(-forecasts.values)
    without_likes = rule.total(np.zeros_like(forecasts.rows), forecasts)
    simulated = [
        (without_likes - float(np.sum(likes * logit))) / forecasts.ordered.size
        - _score_recalibrated(likes, forecasts.rows, rule)
        for likes in simulate_likes(forecasts, draws, seed)
    ]
    low, high = central_95(simulated)
    return NullBand(float(low), float(high))
