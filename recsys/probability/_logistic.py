"""The logistic head: features -> log-odds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recsys.features import COUNT
from recsys.probability._newton import newton

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
    found = newton(design, liked, penalty, np.zeros_like(start), start)
    weights = found[1:] / scale
    lowest = zip(names, features.min(axis=0), strict=True)
    floors = {name: float(low) for name, low in lowest if name.endswith(COUNT)}
    return LogisticHead(tuple(names), weights, float(found[0] - weights @ mean), floors)
