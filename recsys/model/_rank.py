"""Exact top-n by will_like.

A logistic head over dot products is itself a factorisation: the log-odds of (u, i) are the inner product
of u's weighted factors and 1 with i's factors and what the head makes of i, plus what it makes of u, which
is the same for all of u's items. The calibrator keeps the order. So the best items of every user by
probability need no candidates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.factors import Factors
from recsys.features import COUNT, Pairs, Snapshot
from recsys.probability import LogisticHead
from recsys.schema import ITEM, USER


def logit_factors(snapshot: Snapshot, head: LogisticHead, users: NDArray[np.int32], items: Pairs) -> Factors:
    """Write the head's log-odds, but for what they owe to the user alone, as a factorisation.

    Parameters
    ----------
    snapshot : Snapshot
    head : LogisticHead
    users : ndarray of int32, shape (n,)
        Places; -1 is unseen.
    items : Pairs of length m
        Places of the items, their creators and categories.

    Returns
    -------
    Factors
        ``user_factors[a] . item_factors[b]`` ranks the b-th items of the a-th user as the log-odds do.

    """
    weights = dict(zip(head.names, head.weights, strict=True))
    dots = [
        (factors, weights[f"dot:{name}"] / factors.typical_score)
        for name, factors in snapshot.factors.items()
        if f"dot:{name}" in weights
    ]
    theirs = sum(
        (_told(snapshot, head, kind, places) for kind, places in items.places.items()),
        np.zeros(len(items.places[ITEM])),
    )
    left = [_rows(factors.user_factors, users) * np.float32(weight) for factors, weight in dots]
    right = [_rows(factors.item_factors, items.places[ITEM]) for factors, _ in dots]
    return Factors(_columns(*left, np.ones(len(users))), _columns(*right, theirs))


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


def _told(
    snapshot: Snapshot, head: LogisticHead, kind: str, places: NDArray[np.int32]
) -> NDArray[np.float64]:
    table = snapshot.entities[kind]
    names = [f"{kind}:{name}" for name in table.names]
    weights = dict(zip(head.names, head.weights, strict=True))
    weight = np.array([weights.get(name, 0.0) for name in names])
    return np.asarray((head.lift(names, table.values) * weight).sum(axis=1)[places])


def _rows(factors: NDArray[np.float32], places: NDArray[np.int32]) -> NDArray[np.float32]:
    if not len(factors):
        return np.zeros((len(places), factors.shape[1]), np.float32)
    return np.where(places[:, None] >= 0, factors[places], np.float32(0))


def _columns(*parts: NDArray[Any]) -> NDArray[np.float32]:
    return np.column_stack(parts).astype(np.float32)
