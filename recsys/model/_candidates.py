"""Which items are worth scoring for whom: every factorisation proposes its best, and so does the crowd."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.factors import Factors, TopN
from recsys.features import DOT, Pairs, Snapshot
from recsys.matrix import UserItems
from recsys.schema import ITEM


@dataclass(frozen=True)
class Candidates:
    """Pairs to score, each once, by user and then by item.

    Attributes
    ----------
    users, items : ndarray of int64, shape (n,)
        Places among the users and items that were asked.
    ranks : ndarray of int64, shape (n,)
        The best place, from 1, that any proposer gave the item in this user's list.

    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    ranks: NDArray[np.int64]

    def where(self, places: NDArray[np.int64]) -> Candidates:
        """Take some of the pairs, in the order given."""
        return Candidates(self.users[places], self.items[places], self.ranks[places])

    @classmethod
    def of(cls, best: TopN) -> Candidates:
        """Take one proposer's lists, by user and then by rank."""
        users = best.users.astype(np.int64)
        first = np.searchsorted(best.users, best.users)
        return cls(users, best.items.astype(np.int64), np.arange(1, len(users) + 1) - first)


@dataclass(frozen=True)
class Asked:
    """For whom, and out of what.

    Attributes
    ----------
    users : ndarray of int32, shape (n_users,)
        Places in the snapshot; -1 is unseen.
    items : Pairs of length n_items
        Places of the eligible items, their creators and categories.
    exclude : csr_matrix, shape (n_users, n_items)
        Pairs with an entry are not proposed.

    """

    users: NDArray[np.int32]
    items: Pairs
    exclude: UserItems


def propose_candidates(
    snapshot: Snapshot,
    asked: Asked,
    by_crowd: NDArray[np.float64],
    signals: tuple[str, ...],
    n: int,
    threads: int = 0,
) -> Candidates:
    """Collect every proposer's n best items of each user.

    Parameters
    ----------
    snapshot : Snapshot
    asked : Asked
    by_crowd : ndarray of float64, shape (n_items,)
        What the head makes of each item for someone it knows nothing about.
    signals : tuple of str
        Factorisations that may propose: to the users, and of the items, that they know.
    n : int
        Items a user and proposer.
    threads : int
        0 means one a core. The result does not depend on it.

    Returns
    -------
    Candidates
        At least n eligible items a user, where there are as many. Those with ``ranks <= m`` are what would
        be proposed if m were asked.

    """
    n_items = max(len(by_crowd), 1)
    proposed = [_propose_by_crowd(asked, by_crowd, n)]
    for signal in signals:
        proposed += _propose_by_factors(snapshot.factors[signal], asked, n, threads)
    pairs = [one.users * n_items + one.items for one in proposed]
    ranks = [one.ranks for one in proposed]
    # One number a proposal, the rank last. Not np.unique: its hash table takes ten times as long as sorting.
    keys = np.sort(np.concatenate(pairs) * (n + 1) + np.concatenate(ranks))
    pair, rank = np.divmod(keys, n + 1)
    first = np.append(True, pair[1:] != pair[:-1])[: len(pair)]
    users, items = np.divmod(pair[first], n_items)
    return Candidates(users, items, rank[first])


def readable_signals(names: tuple[str, ...]) -> tuple[str, ...]:
    """Name the factorisations among the features of a head."""
    return tuple(name.removeprefix(DOT) for name in names if name.startswith(DOT))


def _propose_by_crowd(asked: Asked, by_crowd: NDArray[np.float64], n: int) -> Candidates:
    order = np.lexsort((np.arange(len(by_crowd)), -by_crowd))
    standing = np.empty_like(order)
    standing[order] = np.arange(len(order))
    # However much of the crowd's best is kept from somebody, the list ends within so many places.
    kept_away = np.diff(asked.exclude.indptr)
    depth = min(len(order), n + int(kept_away.max(initial=0)))
    users, places = np.repeat(np.arange(len(kept_away)), kept_away), standing[asked.exclude.indices]
    is_open = np.ones((len(asked.users), depth), np.bool_)
    is_open[users[places < depth], places[places < depth]] = False
    ranks = np.cumsum(is_open, axis=1, dtype=np.int32)
    users, places = np.nonzero(is_open & (ranks <= n))
    return Candidates(users, order[places], ranks[users, places].astype(np.int64))


def _propose_by_factors(factors: Factors, asked: Asked, n: int, threads: int) -> Iterator[Candidates]:
    items = asked.items.places[ITEM]
    known_items = np.flatnonzero(np.append(factors.item_factors.any(axis=1), False)[items])
    known_users = np.flatnonzero(np.append(factors.user_factors.any(axis=1), False)[asked.users])
    if not len(known_items) or not len(known_users):
        return
    part = Factors(factors.user_factors[asked.users[known_users]], factors.item_factors[items[known_items]])
    best = Candidates.of(part.top_n(n, asked.exclude[known_users][:, known_items], threads))
    yield Candidates(known_users[best.users], known_items[best.items], best.ranks)
