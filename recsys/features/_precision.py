"""How much entities differ: the precision of a beta-binomial whose means are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import betaln

_LN_PRECISION = (-5.0, 14.0)
#: Up to so many trials a sum of logarithms is quicker than gamma functions.
_FEW = 64


@dataclass(frozen=True)
class RisingFactorials:
    """Products ``s b (s b + 1) ... (s b + n - 1)``, a base b and a count n each: ``gamma(s b + n) / gamma(s b)``.

    Attributes
    ----------
    bases : ndarray of float64, shape (n,)
        Those of the highest counts first.
    above : ndarray of int64, shape (highest count,)
        How many counts lie above 0, 1, ...

    """

    bases: NDArray[np.float64]
    above: NDArray[np.int64]

    @classmethod
    def of(cls, counts: NDArray[np.int8], bases: NDArray[np.float64]) -> RisingFactorials:
        """Take whole counts, at most 127, and their bases, both of shape (n,)."""
        return cls(bases[np.argsort(-counts, kind="stable")], _count_above(counts))

    def log(self, s: float) -> float:
        """Sum the logarithms of all products, less ``sum ln b`` of the first factors."""
        scaled = s * self.bases[: self.above[1]] if len(self.above) > 1 else self.bases[:0]
        first = np.log(s) * self.above[:1].sum()
        return float(first + sum(np.log(scaled[:n] + 1 + j).sum() for j, n in enumerate(self.above[1:])))


@dataclass(frozen=True)
class BetaBinomials:
    """Counts ``k ~ BetaBinomial(m, s mu, s (1 - mu))`` with means that are given.

    Attributes
    ----------
    successes, trials, mean : ndarray of float64, shape (n,)
        Weighted counts will do.

    """

    successes: NDArray[np.float64]
    trials: NDArray[np.float64]
    mean: NDArray[np.float64]

    def where(self, kept: NDArray[np.bool_]) -> BetaBinomials:
        """Keep some of the counts."""
        return BetaBinomials(self.successes[kept], self.trials[kept], self.mean[kept])

    def log_likelihood(self, s: float) -> float:
        """Compute the log-likelihood of a precision, less what does not depend on it."""
        k, m, a, b = self.successes, self.trials, s * self.mean, s * (1 - self.mean)
        return float(np.sum(betaln(k + a, m - k + b) - betaln(a, b)))


def fit_precision(
    successes: NDArray[np.float64], trials: NDArray[np.float64], mean: NDArray[np.float64]
) -> float:
    """Fit the precision of a beta-binomial whose means are given, by maximum likelihood.

    Parameters
    ----------
    successes, trials : ndarray, shape (n,)
        Weighted counts will do.
    mean : ndarray, shape (n,)
        In (0, 1).

    Returns
    -------
    float
        s of Beta(s mu, s (1 - mu)), in trials, between .007 and 1.2 million.

    Notes
    -----
    A single trial says nothing of s: its probability is mu whatever s is. Of counts that are few and whole the gamma
    functions of the likelihood are products, which are ten times as quick.

    """
    told = BetaBinomials(successes, trials, mean).where(trials != 1)
    if not len(told.trials):
        return float(np.exp(_LN_PRECISION[1]))
    few = (told.trials <= _FEW) & _is_whole(told.trials) & _is_whole(told.successes)
    many, some = told.where(~few), told.where(few)
    k, m = some.successes.astype(np.int8), some.trials.astype(np.int8)  # small, to be sorted soon
    hits, misses = RisingFactorials.of(k, some.mean), RisingFactorials.of(m - k, 1 - some.mean)
    tries = _count_above(m)

    def negative_log_likelihood(ln_s: float) -> float:
        s = float(np.exp(ln_s))
        of_tries = float(tries @ np.log(s + np.arange(len(tries))))
        return of_tries - hits.log(s) - misses.log(s) - many.log_likelihood(s)

    best = minimize_scalar(negative_log_likelihood, bounds=_LN_PRECISION, method="bounded")
    return float(np.exp(best.x))


def _count_above(counts: NDArray[np.int8]) -> NDArray[np.int64]:
    """Count how many lie above 0, 1, ..., up to the highest."""
    above = len(counts) - np.cumsum(np.bincount(counts, minlength=1))
    return np.asarray(above[above > 0])


def _is_whole(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(values == np.floor(values))
