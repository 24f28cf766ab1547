"""Beta calibration: log-odds of a head -> probabilities, with their interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from recsys.probability._newton import Regression

FLOOR = 1e-7
_CALIBRATOR_RIDGE = 1e-2
_Z = 1.959963984540054
_EXACT = ((0.0, 0.0, 0.0),) * 3


@dataclass(frozen=True)
class Interval:
    """Bounds of probabilities.

    Attributes
    ----------
    low, high : ndarray of float64, shape (n,)
        In [1e-7, 1 - 1e-7].

    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True)
class BetaCalibrator:
    """Beta calibration (Kull, Silva Filho and Flach 2017).

    Attributes
    ----------
    a, b : float
        Not negative, so that the order of probabilities is kept.
    c : float
    covariance : tuple of tuple of float, shape (3, 3)
        Of a, b and c, from `clustered_covariance`; zero where they are taken as exact.

    Notes
    -----
    ``logit p' = a ln p - b ln(1 - p) + c``; a = b = 1, c = 0 changes nothing.

    """

    a: float
    b: float
    c: float
    covariance: tuple[tuple[float, ...], ...] = _EXACT

    def apply(self, logit: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrate.

        Parameters
        ----------
        logit : ndarray, shape (n,)
            Log-odds of the head.

        Returns
        -------
        ndarray of float64, shape (n,)
            Probabilities in [1e-7, 1 - 1e-7].

        """
        return _to_probability(self.log_odds(logit))

    def interval(self, logit: NDArray[np.float64]) -> Interval:
        """Say how well the rows of the fit pin the calibrated probability down, and nothing more.

        Parameters
        ----------
        logit : ndarray, shape (n,)
            Log-odds of the head.

        Returns
        -------
        Interval
            Of 95 %, around `apply`: normal in log-odds.

        """
        inputs, variance = _inputs(logit), np.zeros(len(logit))
        for row, covariances in zip(inputs, self.covariance, strict=True):
            for column, covariance in zip(inputs, covariances, strict=True):
                variance += covariance * row * column
        middle, reach = self.log_odds(logit), _Z * np.sqrt(np.maximum(variance, 0.0))
        return Interval(_to_probability(middle - reach), _to_probability(middle + reach))

    def log_odds(self, logit: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrate, and stay in log-odds."""
        ln_p, minus_ln_rest, _ = _inputs(logit)
        return np.asarray(self.a * ln_p + self.b * minus_ln_rest + self.c)


def fit_beta_calibrator(
    logit: NDArray[np.float64], liked: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
) -> BetaCalibrator:
    """Fit beta calibration on predictions for rows that the head did not see.

    Parameters
    ----------
    logit : ndarray, shape (n,)
    liked : ndarray of bool, shape (n,)
    weights : ndarray, shape (n,), optional
        How often each row counts. Default: once.

    Returns
    -------
    BetaCalibrator

    Notes
    -----
    Logistic regression of the label on ``ln p`` and ``-ln(1 - p)`` with a, b >= 0. Departures from the
    paper: where either comes out negative, the best of the fits with either at zero; and a ridge of 0.01
    towards a = b = 1, so that a constant head leaves a finite answer.

    References
    ----------
    Kull, Silva Filho and Flach (2017), Beta calibration, AISTATS.

    """
    weights = np.ones(len(logit)) if weights is None else weights
    inputs = np.column_stack([np.ones(len(logit)), log_expit(logit), -log_expit(-logit)])
    identity = np.array([0.0, 1.0, 1.0])
    penalty = np.array([0.0, _CALIBRATOR_RIDGE, _CALIBRATOR_RIDGE])

    def fit(free: list[int]) -> NDArray[np.float64]:
        found = np.zeros(3)
        part = Regression(inputs[:, free], liked, weights, penalty[free], identity[free])
        found[free] = part.minimise(identity[free])
        return found

    best = fit([0, 1, 2])
    if best[1:].min() < 0:
        # Convex: with the plane's best point outside the quadrant, the quadrant's lies on its edge.
        edge = [found for found in map(fit, ([0, 1], [0, 2], [0])) if found[1:].min() >= 0]
        best = min(edge, key=Regression(inputs, liked, weights, penalty, identity).objective)
    c, a, b = best.tolist()
    return BetaCalibrator(a, b, c)


def clustered_covariance(
    calibrator: BetaCalibrator,
    logit: NDArray[np.float64],
    liked: NDArray[np.bool_],
    users: NDArray[np.int32],
    weights: NDArray[np.float64] | None = None,
) -> tuple[tuple[float, ...], ...]:
    """Estimate how a calibrator varies when users are drawn again.

    Parameters
    ----------
    calibrator : BetaCalibrator
        Fitted on these rows.
    logit : ndarray, shape (n,)
    liked : ndarray of bool, shape (n,)
    users : ndarray of int, shape (n,)
        Any code a user.
    weights : ndarray, shape (n,), optional
        How often each row counts. Default: once.

    Returns
    -------
    tuple of tuple of float, shape (3, 3)
        Of a, b and c; zero for what the fit held at its bound.

    Notes
    -----
    ``H^-1 (sum_u g_u g_u') H^-1``, with g_u the gradient of a user's rows and H the Hessian of the fit: what
    the covariance of refits with Poisson(1) weights on users tends to, without their noise.

    References
    ----------
    Liang, Zeger (1986). Longitudinal data analysis using generalized linear models. Biometrika 73(1).

    """
    found = np.array([calibrator.a, calibrator.b, calibrator.c])
    free = np.flatnonzero([calibrator.a > 0, calibrator.b > 0, True])
    inputs = _inputs(logit)
    weights = np.ones(len(logit)) if weights is None else weights
    p = expit((found[:, None] * inputs).sum(axis=0))
    codes = np.unique(users, return_inverse=True)[1]
    gradients = np.column_stack([np.bincount(codes, weights * (p - liked) * inputs[one]) for one in free])
    hessian = np.array([[np.sum(weights * p * (1 - p) * inputs[i] * inputs[j]) for j in free] for i in free])
    hessian += np.diag(np.where(free < 2, _CALIBRATOR_RIDGE, 0.0))
    half = np.linalg.pinv(hessian) @ gradients.T
    covariance = np.zeros((3, 3))
    covariance[np.ix_(free, free)] = half @ half.T
    return tuple(tuple(row) for row in covariance.tolist())


def _inputs(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a, b and c multiply, shape (3, n)."""
    return np.stack([log_expit(logit), -log_expit(-logit), np.ones(len(logit))])


def _to_probability(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(expit(log_odds), FLOOR, 1 - FLOOR)
