"""What each user, item, creator and category adds to an outcome: empirical-Bayes effects in log-odds.

One after the other, each given those before it: the user; the category, the creator within it, the item within
both; then what this user makes of the category, and of the creator. Each is shrunk by a beta-binomial whose mean is
what was expected of its exposures and whose precision is fitted, so that an entity that says nothing adds nothing,
and one never seen adds exactly zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit, logit

from recsys.features._precision import fit_precision
from recsys.features._rates import rows_where
from recsys.matrix import UNSEEN
from recsys.schema import CATEGORY, CREATOR, ITEM, USER

_LEAST_MEAN = 1e-9
_PIECE = 2**18
#: From the broad to the narrow.
LINKS = (CATEGORY, CREATOR)


@dataclass(frozen=True)
class Affinities:
    """What users make of a creator or category, beyond what both are to everyone.

    Attributes
    ----------
    others : int
        How many creators or categories there are.
    keys : ndarray of int64, shape (n,)
        ``user place * others + other place`` of the pairs that met, ascending.
    values : ndarray of float32, shape (n, d)
        Log-odds, one column an outcome.

    """

    others: int
    keys: NDArray[np.int64]
    values: NDArray[np.float32]

    def of(self, users: NDArray[np.int32], others: NDArray[np.int32]) -> NDArray[np.float32]:
        """Look pairs up, shape (m, d): zero where they never met, or either is unseen."""
        if not len(self.keys):
            return np.zeros((len(users), self.values.shape[1]), np.float32)
        asked = users.astype(np.int64) * self.others + others
        found = np.minimum(np.searchsorted(self.keys, asked), len(self.keys) - 1)
        met = (users >= 0) & (others >= 0) & (self.keys[found] == asked)
        return np.where(met[:, None], self.values[found], np.float32(0))


@dataclass(frozen=True)
class Met:
    """Who met what, an exposure a row.

    Attributes
    ----------
    places : mapping of str to ndarray of int32, shape (n,)
        Users and items; the item's creator and category where the log has them, -1 unknown.
    sizes : mapping of str to int
        How many of each there are.

    """

    places: Mapping[str, NDArray[np.int32]]
    sizes: Mapping[str, int]

    def pairs(self, kind: str) -> NumberedPairs:
        """Number the pairs of user and `kind` that met."""
        others = self.places[kind].astype(np.int64)
        asked = np.where(others == UNSEEN, -1, self.places[USER] * np.int64(self.sizes[kind]) + others)
        # Not np.unique: its stable sort takes twice the time of both of these.
        keys = pl.Series(asked).unique().sort().to_numpy()
        place = pl.Series(asked).rank("dense").to_numpy().astype(np.int32) - np.int32(1)
        unknown = np.int32(len(keys) > 0 and keys[0] == -1)
        return NumberedPairs(keys[unknown:], place - unknown)


@dataclass(frozen=True)
class NumberedPairs:
    """Pairs of users and others.

    Attributes
    ----------
    keys : ndarray of int64, shape (m,)
        ``user place * others + other place``, ascending.
    places : ndarray of int32, shape (n,)
        Each row's place among the keys; -1 where the other is unknown.

    """

    keys: NDArray[np.int64]
    places: NDArray[np.int32]


@dataclass
class Expectation:
    """What is expected of each exposure, as more and more is taken into account.

    Attributes
    ----------
    success : ndarray of float64, shape (n,)
        0 or 1.
    rate : float, optional
        Default: the overall rate.
    log_odds : ndarray of float64, shape (n,)
        Starts at the rate.

    """

    success: NDArray[np.float64]
    rate: float | None = None
    log_odds: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        rate = overall_rate(self.success) if self.rate is None else self.rate
        self.log_odds = np.full(len(self.success), logit(rate))

    def add(self, codes: NDArray[Any], size: int, precision: float | None = None) -> NDArray[np.float64]:
        """Estimate the effect of each of `size` entities, shape (size,), and take it into account.

        Parameters
        ----------
        codes : ndarray of int, shape (n,)
            -1 is unknown: it has no effect.
        size : int
        precision : float, optional
            Default: what fits these entities.

        Returns
        -------
        ndarray of float64, shape (size,)

        """
        effects = shrunk_effects(*self.sums(codes, size), precision=precision)
        self.take(effects, codes)
        return effects

    def take(self, effects: NDArray[np.float64], codes: NDArray[Any]) -> None:
        """Take effects that are known already into account."""
        self.log_odds += np.append(effects, 0.0)[codes]

    def sums(
        self, codes: NDArray[Any], size: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Count each entity's successes, its trials and the successes expected of it, each of shape (size,)."""
        known = rows_where(codes != UNSEEN)
        held = codes[known]
        weights = (self.success[known], None, expit(self.log_odds[known]))
        successes, trials, expected = (
            np.bincount(held, weight, minlength=size).astype(np.float64) for weight in weights
        )
        return successes, trials, expected


def overall_rate(success: NDArray[np.float64]) -> float:
    """Take the rate of an outcome, kept off 0 and 1: ``(k + 1/2) / (n + 1)``."""
    return rate_of(float(success.sum()), len(success))


def rate_of(successes: float, trials: float) -> float:
    """Give the rate of counts, kept off 0 and 1."""
    return (successes + 0.5) / (trials + 1)


def shrunk_effects(
    successes: NDArray[np.float64],
    trials: NDArray[np.float64],
    expected: NDArray[np.float64],
    *,
    precision: float | None = None,
) -> NDArray[np.float64]:
    """Estimate by how many log-odds entities depart from what was expected of them.

    Parameters
    ----------
    successes, trials, expected : ndarray, shape (n,)
        Weighted counts will do. ``0 < expected < trials`` where there are trials.
    precision : float, optional
        Default: `effects_precision` of these entities.

    Returns
    -------
    ndarray of float64, shape (n,)
        ``logit((k + s mu) / (m + s)) - logit(mu)`` with ``mu = e / m`` and s the precision; 0 without trials.

    """
    s = effects_precision(successes, trials, expected) if precision is None else precision
    effects = np.empty(len(trials))
    # A piece at a time: of millions of pairs the parts of the formula would take more memory than the pairs.
    for piece in (slice(start, start + _PIECE) for start in range(0, len(trials), _PIECE)):
        effects[piece] = _effects_under(s, successes[piece], trials[piece], expected[piece])
    return effects


def _effects_under(
    s: float, successes: NDArray[np.float64], trials: NDArray[np.float64], expected: NDArray[np.float64]
) -> NDArray[np.float64]:
    effects = np.zeros(len(trials))
    k, m, mu = _means(successes, trials, expected)
    effects[trials > 0] = np.log((k + s * mu) / (m - k + s * (1 - mu))) - logit(mu)
    return effects


def effects_precision(
    successes: NDArray[np.float64], trials: NDArray[np.float64], expected: NDArray[np.float64]
) -> float:
    """Fit how much entities differ from what was expected of them: `fit_precision` of those with trials."""
    return fit_precision(*_means(successes, trials, expected))


def _means(
    successes: NDArray[np.float64], trials: NDArray[np.float64], expected: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    seen = rows_where(trials > 0)
    k, m = successes[seen], trials[seen]
    return k, m, np.clip(expected[seen] / m, _LEAST_MEAN, 1 - _LEAST_MEAN)


@dataclass(frozen=True)
class Effects:
    """What each entity adds to one outcome, in log-odds.

    Attributes
    ----------
    entities : dict of str to ndarray of float64, shape (n,)
        By kind. What an item adds is beyond its creator and category.
    affinities : dict of str to ndarray of float32, shape (n_pairs,)
        By kind, in the order of `Met.pairs`.

    """

    entities: dict[str, NDArray[np.float64]]
    affinities: dict[str, NDArray[np.float32]]


def estimate_effects(met: Met, pairs: Mapping[str, NumberedPairs], success: NDArray[np.float64]) -> Effects:
    """Estimate the effects on one outcome.

    Parameters
    ----------
    met : Met of n exposures
    pairs : mapping of str to NumberedPairs
        `Met.pairs` of each kind that users are attached to, the broad before the narrow.
    success : ndarray of float64, shape (n,)
        1 or 0; NaN is unknown.

    Returns
    -------
    Effects

    """
    known = rows_where(~np.isnan(success))
    expectation = Expectation(success[known])
    entities = {
        kind: expectation.add(met.places[kind][known], met.sizes[kind]) for kind in (USER, *pairs, ITEM)
    }
    affinities = {
        kind: expectation.add(numbered.places[known], len(numbered.keys)).astype(np.float32)
        for kind, numbered in pairs.items()
    }
    return Effects(entities, affinities)
