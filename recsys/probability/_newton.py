"""Penalised logistic regression by Newton steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

_STEPS = 100
_SHORTEST = 1e-8
_TOLERANCE = 1e-10


def newton(
    design: NDArray[np.float64],
    liked: NDArray[np.bool_],
    penalty: NDArray[np.float64],
    centre: NDArray[np.float64],
    start: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Minimise ``sum log loss + penalty/2 (w - centre)^2`` by Newton steps, halved until they descend.

    It stops where the Newton decrement is within rounding, or no step of it descends any further.
    """
    weights, value = start, objective(design, liked, penalty, centre, start)
    for _ in range(_STEPS):
        p = expit(design @ weights)
        gradient = design.T @ (p - liked) + penalty * (weights - centre)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        if gradient @ step < _TOLERANCE * (1 + abs(value)):
            return weights - step
        size, lower = 1.0, objective(design, liked, penalty, centre, weights - step)
        while lower > value and size > _SHORTEST:
            size /= 2
            lower = objective(design, liked, penalty, centre, weights - size * step)
        if lower > value:
            return weights
        weights, value = weights - size * step, lower
    return weights


def objective(
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
