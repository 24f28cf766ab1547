"""Heads and calibrators: features -> will_like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

from recsys.config import ModelSettings
from recsys.errors import DataError
from recsys.features import COUNT
from recsys.matrix import one_blas_thread

FLOOR = 1e-7
_STEPS = 100
_SHORTEST = 1e-8
_TOLERANCE = 1e-10
_CALIBRATOR_RIDGE = 1e-2
_LEAST_SPREAD = 0.1


@dataclass(frozen=True)
class LogisticHead:
    """Ridge-penalised logistic regression on standardised features.

    Attributes
    ----------
    names : tuple of str
        d features, by name.
    weights : ndarray of float64, shape (d,)
        Log-odds a unit of the raw feature.
    intercept : float
    floors : mapping of str to float
        The smallest count of each kind in the fit. Below it the head does not extrapolate: where no item
        of the fit was new, a new one is taken for the least shown.

    """

    names: tuple[str, ...]
    weights: NDArray[np.float64]
    intercept: float
    floors: Mapping[str, float] = field(default_factory=dict)

    def lift(self, names: Sequence[str], features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Lift counts among features, shape (n, len(names)), to what the head was fitted on."""
        floors = np.array([self.floors.get(name, -np.inf) for name in names])
        return np.asarray(np.maximum(features, floors))

    def logit(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute log-odds.

        Parameters
        ----------
        features : ndarray, shape (n, d)

        Returns
        -------
        ndarray of float64, shape (n,)

        """
        # Not `@`: BLAS rounds a row by its place among the others.
        held = np.ascontiguousarray(self.lift(self.names, features))
        summed: NDArray[np.float64] = np.einsum("nd,d->n", held, self.weights)
        return summed + self.intercept


@dataclass(frozen=True)
class BetaCalibrator:
    """Beta calibration (Kull, Silva Filho and Flach 2017).

    Attributes
    ----------
    a, b : float
        Not negative, so that the order of probabilities is kept.
    c : float

    Notes
    -----
    ``logit p' = a ln p - b ln(1 - p) + c``; a = b = 1, c = 0 changes nothing.

    """

    a: float
    b: float
    c: float

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
        calibrated = self.a * log_expit(logit) - self.b * log_expit(-logit) + self.c
        return np.clip(expit(calibrated), FLOOR, 1 - FLOOR)


@dataclass(frozen=True)
class ProbabilityHead:
    """A head and its calibrator.

    Attributes
    ----------
    head : LogisticHead
    calibrator : BetaCalibrator
    base_rate : float
        Like rate of the exposures they were fitted on.

    """

    head: LogisticHead
    calibrator: BetaCalibrator
    base_rate: float

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute will_like.

        Parameters
        ----------
        features : ndarray, shape (n, d)
            Columns `head.names`.

        Returns
        -------
        ndarray of float64, shape (n,)
            In [1e-7, 1 - 1e-7].

        """
        return self.calibrator.apply(self.head.logit(features))


def fit_probability_head(
    features: NDArray[np.float64],
    liked: NDArray[np.bool_],
    users: NDArray[np.int32],
    names: Sequence[str],
    settings: ModelSettings,
) -> ProbabilityHead:
    """Fit the head on logged exposures with their true zeros, its calibrator on users it did not see.

    Parameters
    ----------
    features : ndarray, shape (n, d)
    liked : ndarray of bool, shape (n,)
    users : ndarray of int, shape (n,)
        Any code a user.
    names : sequence of d str
    settings : ModelSettings
        `folds`, `l2` and `seed`.

    Returns
    -------
    ProbabilityHead

    Raises
    ------
    DataError
        When only one label is there.

    Notes
    -----
    Each of `folds` heads is fitted on the other folds' users and predicts its own; the calibrator is
    fitted on those predictions; the head that serves is then fitted on all rows.

    """
    if liked.all() or not liked.any():
        raise DataError("a head needs liked and unliked exposures")
    with one_blas_thread():
        folds = _user_folds(users, settings.folds, settings.seed)
        held_out = np.zeros(len(liked))
        for fold in np.unique(folds):
            own = folds == fold
            if liked[~own].all() or not liked[~own].any():
                raise DataError(f"the likes of too few users to hold out a fold of {settings.folds}")
            held_out[own] = fit_logistic(features[~own], liked[~own], names, settings.l2).logit(features[own])
        return ProbabilityHead(
            fit_logistic(features, liked, names, settings.l2),
            fit_beta_calibrator(held_out, liked),
            float(liked.mean()),
        )


def _user_folds(users: NDArray[np.int32], folds: int, seed: int) -> NDArray[np.int64]:
    codes, inverse = np.unique(users, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(codes))
    return shuffled[inverse] % folds


def fit_logistic(
    features: NDArray[np.float64], liked: NDArray[np.bool_], names: Sequence[str], l2: float
) -> LogisticHead:
    """Fit a logistic regression.

    Parameters
    ----------
    features : ndarray, shape (n, d)
    liked : ndarray of bool, shape (n,)
    names : sequence of d str
    l2 : float
        Ridge penalty ``l2 / 2 * |w|^2`` on standardised features; the intercept is free.

    Returns
    -------
    LogisticHead

    Notes
    -----
    A feature that varies by less than 0.1 is divided by 0.1 instead of its standard deviation. Features
    are log-odds, log-counts and dot products: what hardly varies at one cut may vary at the next, when
    all shrunk rates move with their prior, and must not carry a weight of thousands there.

    """
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.maximum(scale, _LEAST_SPREAD)
    design = np.column_stack([np.ones(len(liked)), (features - mean) / scale])
    rate = liked.mean()
    start = np.append(np.log(rate / (1 - rate)), np.zeros(features.shape[1]))
    penalty = np.append(0.0, np.full(features.shape[1], l2))
    found = _newton(design, liked, penalty, np.zeros_like(start), start)
    weights = found[1:] / scale
    lowest = zip(names, features.min(axis=0), strict=True)
    floors = {name: float(low) for name, low in lowest if name.endswith(COUNT)}
    return LogisticHead(tuple(names), weights, float(found[0] - weights @ mean), floors)


def fit_beta_calibrator(logit: NDArray[np.float64], liked: NDArray[np.bool_]) -> BetaCalibrator:
    """Fit beta calibration on predictions for rows that the head did not see.

    Parameters
    ----------
    logit : ndarray, shape (n,)
    liked : ndarray of bool, shape (n,)

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
    inputs = np.column_stack([np.ones(len(logit)), log_expit(logit), -log_expit(-logit)])
    identity = np.array([0.0, 1.0, 1.0])
    penalty = np.array([0.0, _CALIBRATOR_RIDGE, _CALIBRATOR_RIDGE])

    def fit(free: list[int]) -> NDArray[np.float64]:
        found = np.zeros(3)
        found[free] = _newton(inputs[:, free], liked, penalty[free], identity[free], identity[free])
        return found

    best = fit([0, 1, 2])
    if best[1:].min() < 0:
        # Convex: with the plane's best point outside the quadrant, the quadrant's lies on its edge.
        edge = [found for found in map(fit, ([0, 1], [0, 2], [0])) if found[1:].min() >= 0]
        best = min(edge, key=lambda found: _objective(inputs, liked, penalty, identity, found))
    c, a, b = best.tolist()
    return BetaCalibrator(a, b, c)


def _newton(
    design: NDArray[np.float64],
    liked: NDArray[np.bool_],
    penalty: NDArray[np.float64],
    centre: NDArray[np.float64],
    start: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Minimise ``sum log loss + penalty/2 (w - centre)^2`` by Newton steps, halved until they descend.

    It stops where the Newton decrement is within rounding, or no step of it descends any further.
    """
    weights, value = start, _objective(design, liked, penalty, centre, start)
    for _ in range(_STEPS):
        p = expit(design @ weights)
        gradient = design.T @ (p - liked) + penalty * (weights - centre)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        if gradient @ step < _TOLERANCE * (1 + abs(value)):
            return weights - step
        size, lower = 1.0, _objective(design, liked, penalty, centre, weights - step)
        while lower > value and size > _SHORTEST:
            size /= 2
            lower = _objective(design, liked, penalty, centre, weights - size * step)
        if lower > value:
            return weights
        weights, value = weights - size * step, lower
    return weights


def _objective(
    design: NDArray[np.float64],
    liked: NDArray[np.bool_],
    penalty: NDArray[np.float64],
    centre: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> float:
    logit = design @ weights
    return float(
        -np.sum(log_expit(np.where(liked, logit, -logit))) + np.sum(penalty * (weights - centre) ** 2) / 2
    )
