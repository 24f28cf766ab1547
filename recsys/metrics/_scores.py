"""Proper scores of probabilities: log loss, normalised entropy, Brier skill."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import entr

from recsys.errors import UsageError
from recsys.metrics._checks import FloatArray, as_liked, as_will_like, require_same_rows


def binary_entropy(rate: npt.ArrayLike) -> FloatArray:
    """Measure the uncertainty of a yes or no that is yes at a given rate.

    Parameters
    ----------
    rate : array_like of any shape
        Share of yes, in [0, 1]. NaN stays NaN.

    Returns
    -------
    numpy.ndarray of the same shape
        Nats, in [0, ln 2]; 0 when the answer is certain, ln 2 at a rate of one half.

    Raises
    ------
    UsageError
        When a rate lies outside [0, 1].

    Notes
    -----
    ``H(r) = -r ln r - (1 - r) ln(1 - r)``, with ``0 ln 0 = 0``.

    Examples
    --------
    >>> [round(float(h), 4) for h in binary_entropy([0.0, 0.02, 0.5])]
    [0.0, 0.098, 0.6931]
    """
    rates = np.asarray(rate, dtype=np.float64)
    if np.any((rates < 0) | (rates > 1)):
        raise UsageError(f"a rate must lie in [0, 1], got {rates[(rates < 0) | (rates > 1)][0]:g}")
    return np.asarray(entr(rates) + entr(1 - rates), dtype=np.float64)


def log_losses(liked: npt.ArrayLike, will_like: npt.ArrayLike) -> FloatArray:
    """Score each row's probability by how surprised it was.

    Parameters
    ----------
    liked : array_like of bool or 0/1, shape (n,)
    will_like : array_like of float, shape (n,)
        Probabilities, strictly between 0 and 1.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        Nats, above 0; lower is better.

    Raises
    ------
    UsageError
        When lengths differ, no row is given, or a value is not a label or a probability.

    Notes
    -----
    ``-y ln p - (1 - y) ln(1 - p)``.

    Examples
    --------
    >>> [round(float(loss), 4) for loss in log_losses([1, 0], [0.5, 0.1])]
    [0.6931, 0.1054]
    """
    labels, forecasts = as_liked(liked), as_will_like(will_like)
    require_same_rows(liked=labels, will_like=forecasts)
    return -np.where(labels, np.log(forecasts), np.log1p(-forecasts))


def log_loss(liked: npt.ArrayLike, will_like: npt.ArrayLike) -> float:
    """Average the log losses of all rows.

    Parameters
    ----------
    liked : array_like of bool or 0/1, shape (n,)
    will_like : array_like of float, shape (n,)
        Probabilities, strictly between 0 and 1.

    Returns
    -------
    float
        Nats per row, above 0; lower is better.

    Raises
    ------
    UsageError
        As `log_losses`.

    Notes
    -----
    ``mean(-y ln p - (1 - y) ln(1 - p))``.

    Examples
    --------
    >>> round(log_loss([1, 0], [0.5, 0.1]), 4)
    0.3993
    """
    return float(log_losses(liked, will_like).mean())


def normalized_entropy(liked: npt.ArrayLike, will_like: npt.ArrayLike) -> float:
    """Compare the log loss with that of always saying these rows' like rate.

    Parameters
    ----------
    liked : array_like of bool or 0/1, shape (n,)
    will_like : array_like of float, shape (n,)
        Probabilities, strictly between 0 and 1.

    Returns
    -------
    float
        Above 0; lower is better; 1 is no better than the base rate, more than 1 is worse. ``1 - NE`` is
        the explained share. NaN when all rows, or none, were liked.

    Raises
    ------
    UsageError
        As `log_losses`.

    Notes
    -----
    ``NE = mean log loss / H(pi)``, with ``pi`` the like rate of the same rows.

    References
    ----------
    He, X. et al. (2014). Practical lessons from predicting clicks on ads at Facebook. ADKDD.
    https://doi.org/10.1145/2648584.2648589

    Examples
    --------
    >>> round(normalized_entropy([1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]), 12)
    1.0
    """
    loss, rate = log_loss(liked, will_like), as_liked(liked).mean()
    return loss / float(binary_entropy(rate)) if 0 < rate < 1 else float("nan")


def brier_skill(liked: npt.ArrayLike, will_like: npt.ArrayLike) -> float:
    """Compare the squared error with that of always saying these rows' like rate.

    Parameters
    ----------
    liked : array_like of bool or 0/1, shape (n,)
    will_like : array_like of float, shape (n,)
        Probabilities, strictly between 0 and 1.

    Returns
    -------
    float
        At most 1; higher is better; 0 is no better than the base rate, below 0 is worse. NaN when all
        rows, or none, were liked.

    Raises
    ------
    UsageError
        As `log_losses`.

    Notes
    -----
    ``1 - mean((p - y)^2) / (pi (1 - pi))``, with ``pi`` the like rate of the same rows.

    References
    ----------
    Brier, G. W. (1950). Verification of forecasts expressed in terms of probability. Monthly Weather
    Review 78(1).

    Examples
    --------
    >>> brier_skill([1, 0], [0.75, 0.25])
    0.75
    """
    labels, forecasts = as_liked(liked), as_will_like(will_like)
    require_same_rows(liked=labels, will_like=forecasts)
    rate = float(labels.mean())
    error = float(np.square(forecasts - labels).mean())
    return 1 - error / (rate * (1 - rate)) if 0 < rate < 1 else float("nan")
