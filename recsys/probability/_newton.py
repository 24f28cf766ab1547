"""Penalised logistic regression by Newton steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

_STEPS = 100
_SHORTEST = 1e-8
_TOLERANCE = 1e-10
#: Sums are of pieces of this many rows, whatever the number of threads: each has its own, and they are added in order.
_ROWS_AT_ONCE = 2**16
_THINNED = 8
_Found = TypeVar("_Found")


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
    threads : int
        0 means one a core. No result depends on it.

    """

    design: NDArray[np.float64]
    liked: NDArray[np.bool_]
    weights: NDArray[np.float64]
    penalty: NDArray[np.float64]
    centre: NDArray[np.float64]
    threads: int = 1

    def objective(self, found: NDArray[np.float64]) -> float:
        """Compute the objective."""

        def loss(rows: slice) -> np.float64:
            logit = self.design[rows] @ found
            losses = -log_expit(np.where(self.liked[rows], logit, -logit))
            return np.float64(self.weights[rows] @ losses)

        return float(sum(self._by_piece(loss)) + self.penalty @ (found - self.centre) ** 2 / 2)

    def minimise(self, start: NDArray[np.float64]) -> NDArray[np.float64]:
        """Descend by Newton steps, halved until they descend.

        It stops where the Newton decrement is within rounding, or no step of it descends any further. Where rows
        are many, it starts from what every eighth of them says: half of the steps over all are then saved.
        """
        thinned = self._thinned()
        if len(self.design) > _ROWS_AT_ONCE and 0 < thinned.liked.sum() < len(thinned.liked):
            start = thinned.minimise(start)
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

    def _thinned(self) -> Regression:
        rows = slice(None, None, _THINNED)
        some = (self.design[rows], self.liked[rows], self.weights[rows])
        return Regression(*some, self.penalty / _THINNED, self.centre, self.threads)

    def _derivatives(self, found: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        def of_loss(rows: slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            design, weights = self.design[rows], self.weights[rows]
            p = expit(design @ found)
            slope = design.T @ (weights * (p - self.liked[rows]))
            return slope, (design * (weights * p * (1 - p))[:, None]).T @ design

        gradients, hessians = zip(*self._by_piece(of_loss), strict=True)
        gradient = sum(gradients) + self.penalty * (found - self.centre)
        return gradient, sum(hessians) + np.diag(self.penalty)

    def _by_piece(self, compute: Callable[[slice], _Found]) -> list[_Found]:
        size = max(len(self.design), 1)
        pieces = [slice(start, start + _ROWS_AT_ONCE) for start in range(0, size, _ROWS_AT_ONCE)]
        if self.threads == 1 or len(pieces) == 1:
            return [compute(piece) for piece in pieces]
        with ThreadPoolExecutor(self.threads or os.cpu_count()) as pool:
            return list(pool.map(compute, pieces))
