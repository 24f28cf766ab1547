"""The logistic head: features -> log-odds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
_PIECE = 2**16


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


@dataclass(frozen=True)
class Design:
    """Standardised features, to be fitted with one penalty or several.

    Attributes
    ----------
    names : tuple of str
        d features, by name.
    columns : ndarray of float64, shape (n, 1 + d)
        Ones, then the features less their mean, in units of their spread.
    liked : ndarray of bool, shape (n,)
    weights : ndarray of float64, shape (n,)
    lows, highs, means, spreads : ndarray of float64, shape (d,)
        Of the raw features.

    """

    names: tuple[str, ...]
    columns: NDArray[np.float64]
    liked: NDArray[np.bool_]
    weights: NDArray[np.float64]
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]
    means: NDArray[np.float64]
    spreads: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        features: NDArray[np.float64],
        liked: NDArray[np.bool_],
        names: Sequence[str],
        weights: NDArray[np.float64],
        rows: NDArray[np.int64] | None = None,
    ) -> Design:
        """Standardise features, of all rows or of some, in one copy.

        Parameters
        ----------
        features : ndarray, shape (n, d)
        liked : ndarray of bool, shape (n,)
        names : sequence of d str
        weights : ndarray, shape (n,)
        rows : ndarray of int, optional
            Ascending. Default: all.

        Returns
        -------
        Design

        """
        if rows is not None:
            liked, weights = liked[rows], weights[rows]
        pieces = [slice(start, start + _PIECE) for start in range(0, max(len(liked), 1), _PIECE)]
        total = weights.sum()

        def raw() -> Iterator[NDArray[np.float64]]:
            return (features[piece if rows is None else rows[piece]] for piece in pieces)

        def average(parts: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
            sums = [
                (part * weights[piece, None]).sum(axis=0) for piece, part in zip(pieces, parts, strict=True)
            ]
            return np.asarray(sum(sums) / total)

        means = average(raw())
        spreads = np.maximum(np.sqrt(average((part - means) ** 2 for part in raw())), _LEAST_SPREAD)
        # BLAS rounds by the layout: all rows keep that of the features, some are laid out row by row.
        by_column = rows is None and features.flags.f_contiguous
        columns = np.ones((len(liked), 1 + features.shape[1]), order="F" if by_column else "C")
        for piece, part in zip(pieces, raw(), strict=True):
            columns[piece, 1:] = (part - means) / spreads
        lows = np.min([part.min(axis=0, initial=np.inf) for part in raw()], axis=0)
        highs = np.max([part.max(axis=0, initial=-np.inf) for part in raw()], axis=0)
        return cls(tuple(names), columns, liked, weights, lows, highs, means, spreads)

    def fit(self, l2: float, outcome: str = LIKED, threads: int = 1) -> LogisticHead:
        """Fit a head, as `fit_logistic` does."""
        rate = np.average(self.liked, weights=self.weights)
        evidence = evidence_of(outcome)
        at_face_value = np.where([name in evidence for name in self.names], self.spreads, 0.0)
        start = np.append(np.log(rate / (1 - rate)), at_face_value)
        penalty = np.append(0.0, np.full(len(self.names), l2))
        centre = np.append(0.0, at_face_value)
        found = Regression(self.columns, self.liked, self.weights, penalty, centre, threads).minimise(start)
        raw = found[1:] / self.spreads
        intercept = float(found[0] - raw @ self.means)
        return LogisticHead(self.names, raw, intercept, self.lows, self.highs, self.means)


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
    return Design.of(features, liked, names, weights).fit(l2, outcome)
