"""The logistic head: features -> log-odds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.features import evidence_of
from recsys.probability._contributions import Contributions
from recsys.probability._newton import Regression
from recsys.schema import LIKED

#: Ridge penalties that are tried, from a head that hardly learns to one that hardly holds back.
PENALTIES = (1000.0, 300.0, 100.0, 30.0, 10.0)
_LEAST_SPREAD = 0.1
_ROWS_AT_ONCE = 4096


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
    lows, highs, means : ndarray of float64, shape (d,)
        Of each feature in the fit. Beyond its range the head does not extrapolate: where no item of the fit
        was new, a new one is taken for the least shown.

    """

    names: tuple[str, ...]
    weights: NDArray[np.float64]
    intercept: float
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]
    means: NDArray[np.float64]

    def logit(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute log-odds.

        Parameters
        ----------
        features : ndarray, shape (n, d)

        Returns
        -------
        ndarray of float64, shape (n,)

        """
        found = np.empty(len(features))
        # A piece at a time: what is held back then never leaves the processor's cache.
        for start in range(0, len(features), _ROWS_AT_ONCE):
            piece = self._hold(features[start : start + _ROWS_AT_ONCE])
            # Not `@`: BLAS rounds a row by its place among the others.
            np.einsum("nd,d->n", piece, self.weights, out=found[start : start + _ROWS_AT_ONCE])
        return found + self.intercept

    def contributions(self, features: NDArray[np.float64]) -> Contributions:
        """Split log-odds into what each feature adds to those of the average exposure of the fit.

        Parameters
        ----------
        features : ndarray, shape (n, d)

        Returns
        -------
        Contributions

        """
        return Contributions(
            float(self.intercept + self.weights @ self.means),
            (self._hold(features) - self.means) * self.weights,
        )

    def _hold(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.ascontiguousarray(np.clip(features, self.lows, self.highs))


def fit_logistic(
    features: NDArray[np.float64],
    liked: NDArray[np.bool_],
    names: Sequence[str],
    l2: float,
    weights: NDArray[np.float64] | None = None,
    outcome: str = LIKED,
) -> LogisticHead:
    """Fit a logistic regression.

    Parameters
    ----------
    features : ndarray, shape (n, d)
    liked : ndarray of bool, shape (n,)
    names : sequence of d str
    l2 : float
        Ridge penalty on standardised features; the intercept is free.
    weights : ndarray, shape (n,), optional
        How often each row counts. Default: once.
    outcome : str, optional
        What the labels are of. Default: the like.

    Returns
    -------
    LogisticHead

    Notes
    -----
    The penalty is ``l2 / 2 * |w - c|^2``. For the features of `recsys.features.evidence_of`, which are log-odds
    and already shrunk, c is their face value, a weight of 1; for all others it is 0. So a head with few likes to learn
    from adds up the evidence, and one with many weighs it.

    A feature that varies by less than 0.1 is divided by 0.1 instead of its standard deviation. Features are
    log-odds, their product, log-counts, dot products and weights in [0, 1]: what hardly varies at one cut may
    vary at the next, when all shrunk rates move with their prior, and must not carry a weight of thousands
    there.

    """
    weights = np.ones(len(liked)) if weights is None else weights
    mean = np.average(features, axis=0, weights=weights)
    scale = np.maximum(np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weights)), _LEAST_SPREAD)
    design = np.column_stack([np.ones(len(liked)), (features - mean) / scale])
    rate = np.average(liked, weights=weights)
    evidence = evidence_of(outcome)
    face_value = np.append(0.0, np.where([name in evidence for name in names], scale, 0.0))
    start = np.append(np.log(rate / (1 - rate)), face_value[1:])
    penalty = np.append(0.0, np.full(features.shape[1], l2))
    found = Regression(design, liked, weights, penalty, face_value).minimise(start)
    raw = found[1:] / scale
    low, high = features.min(axis=0, initial=np.inf), features.max(axis=0, initial=-np.inf)
    return LogisticHead(tuple(names), raw, float(found[0] - raw @ mean), low, high, mean)
