"""Ranking by score, for a log that has no probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.factors import Factors
from recsys.features import COUNT, Pairs, Snapshot
from recsys.schema import ITEM, USER


def score_factors(snapshot: Snapshot, signal: str, users: NDArray[np.int32], items: Pairs) -> Factors:
    """Rank by one factorisation; users it does not know get the most exposed items.

    Parameters
    ----------
    snapshot : Snapshot
    signal : str
    users : ndarray of int32, shape (n,)
    items : Pairs of length m

    Returns
    -------
    Factors

    """
    factors = snapshot.factors[signal]
    left = _rows(factors.user_factors, users)
    popularity = _popularity(snapshot, items.places[ITEM])
    cold = np.logical_not(left.any(axis=1))
    return Factors(
        _columns(left, cold), _columns(_rows(factors.item_factors, items.places[ITEM]), popularity)
    )


def score_order(snapshot: Snapshot, signal: str, pairs: Pairs) -> NDArray[np.float64]:
    """Compute what `score_factors` ranks by, pair by pair.

    Parameters
    ----------
    snapshot : Snapshot
    signal : str
    pairs : Pairs of length n

    Returns
    -------
    ndarray of float64, shape (n,)

    """
    users, items = pairs.places[USER], pairs.places[ITEM]
    factors = snapshot.factors[signal]
    known = np.append(factors.user_factors.any(axis=1), False)
    return np.where(known[users], factors.scores(users, items), _popularity(snapshot, items))


def _popularity(snapshot: Snapshot, items: NDArray[np.int32]) -> NDArray[np.float64]:
    table = snapshot.entities[ITEM]
    return np.asarray(table.values[items, table.names.index(COUNT)])


def _rows(factors: NDArray[np.float32], places: NDArray[np.int32]) -> NDArray[np.float32]:
    if not len(factors):
        return np.zeros((len(places), factors.shape[1]), np.float32)
    return np.where(places[:, None] >= 0, factors[places], np.float32(0))


def _columns(*parts: NDArray[Any]) -> NDArray[np.float32]:
    return np.column_stack(parts).astype(np.float32)
