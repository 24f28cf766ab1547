"""Penalised logistic regression by Newton steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

_STEPS = 100
_SHORTEST = 1e-8
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Regression:
    """What is minimised: ``sum weight * log loss + penalty/2 (w - centre)^2``.

    Attributes
    ----------
    design : ndarray of float64, shape (n, d)
    liked : ndarray of bool, shape (n,)
    weights : ndarray of float64, shape (n,)
        How often each row counts.
    penalty, centre : ndarray of float64, shape (d,)

    """

    design: NDArray[np.float64]
    liked: NDArray[np.bool_]
    weights: NDArray[np.float64]
    penalty: NDArray[np.float64]
    centre: NDArray[np.float64]

    def objective(self, found: NDArray[np.float64]) -> float:
        """Compute the objective."""
        logit = self.design @ found
        losses = -log_expit(np.where(self.liked, logit, -logit))
        return float(self.weights @ losses + self.penalty @ (found - self.centre) ** 2 / 2)

    def minimise(self, start: NDArray[np.float64]) -> NDArray[np.float64]:
        """Descend by Newton steps, halved until they descend.

        It stops where the Newton decrement is within rounding, or no step of it descends any further.
        """
        found, value = start, self.objective(start)
        for _ in range(_STEPS):
            gradient, hessian = self._derivatives(found)
            step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
            if gradient @ step < _TOLERANCE * (1 + abs(value)):
                return found - step
            size, lower = 1.0, self.objective(found - step)
            while lower > value and size > _SHORTEST:
                size /= 2
                lower = self.objective(found - size * step)
            if lower > value:
                return found
            found, value = found - size * step, lower
        return found

    def _derivatives(self, found: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        p = expit(self.design @ found)
        gradient = self.design.T @ (self.weights * (p - self.liked)) + self.penalty * (found - self.centre)
        hessian = (self.design * (self.weights * p * (1 - p))[:, None]).T @ self.design
        return gradient, hessian + np.diag(self.penalty)
