"""Empirical-Bayes rates: successes and trials -> shrunk log-odds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, digamma


def rows_where(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | slice:
    """Take the rows of a mask, or all without a copy where it leaves none out."""
    return slice(None) if mask.all() else mask


def shrunk_log_odds(successes: NDArray[np.int64], trials: NDArray[np.int64]) -> NDArray[np.float64]:
    """Estimate each entity's rate, shrunk towards its peers: empirical Bayes, in log-odds.

    Parameters
    ----------
    successes, trials : ndarray of int, shape (n,)

    Returns
    -------
    ndarray of float64, shape (n + 1,)
        ``ln((k + a) / (m - k + b))`` for k successes in m trials; the last value is the prior
        ``ln(a / b)``, for an entity never seen.

    """
    return log_odds_under(fit_beta_binomial(successes, trials), successes, trials)


def log_odds_under(
    prior: tuple[float, float], successes: NDArray[np.int64], trials: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Estimate rates in log-odds under a given prior a, b: `shrunk_log_odds` has the formula."""
    (a, b), k, m = prior, np.append(successes, 0), np.append(trials, 0)
    return np.asarray(np.log((k + a) / (m - k + b)))


def fit_beta_binomial(successes: NDArray[np.int64], trials: NDArray[np.int64]) -> tuple[float, float]:
    """Fit the beta-binomial's a and b by maximum likelihood.

    Parameters
    ----------
    successes, trials : ndarray of int, shape (n,)
        Entities without trials say nothing.

    Returns
    -------
    a, b : float
        Positive. Prior mean a / (a + b); prior weight a + b, in trials, at most 2.4 million.

    Notes
    -----
    Maximises ``sum ln B(k + a, m - k + b) - ln B(a, b)`` over ln a, ln b. Equal (k, m) are counted
    once with their multiplicity.

    """
    cells, multiplicity = np.unique(np.column_stack([successes, trials]), axis=0, return_counts=True)
    held = cells[:, 1] > 0
    k, m, weight = cells[held, 0], cells[held, 1], multiplicity[held]
    if not len(k):
        return 1.0, 1.0
    mean = (np.sum(weight * k) + 0.5) / (np.sum(weight * m) + 1.0)

    def negative_log_likelihood(ln_ab: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        a, b = np.exp(ln_ab)
        value = np.sum(weight * (betaln(k + a, m - k + b) - betaln(a, b)))
        both = digamma(m + a + b) - digamma(a + b)
        slope_a = a * np.sum(weight * (digamma(k + a) - digamma(a) - both))
        slope_b = b * np.sum(weight * (digamma(m - k + b) - digamma(b) - both))
        return -float(value), -np.array([slope_a, slope_b])

    start = np.log([5.0 * mean, 5.0 * (1.0 - mean)])
    bounds = [(-12.0, 14.0), (-12.0, 14.0)]
    best = minimize(negative_log_likelihood, start, jac=True, method="L-BFGS-B", bounds=bounds)
    a, b = np.exp(best.x)
    return float(a), float(b)
