"""Which items are worth scoring for whom: every factorisation proposes its best, and so does the crowd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.factors import Factors, Ranker, TopN
from recsys.features import DOT, Pairs
from recsys.matrix import UserItems


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


@dataclass(frozen=True)
class Proposer:
    """One factorisation, and the eligible items that it knows.

    Attributes
    ----------
    factors : Factors
    known : ndarray of int64, shape (m,)
        Places of those items among the eligible.
    ranker : Ranker
        Of their factors.

    """

    factors: Factors
    known: NDArray[np.int64]
    ranker: Ranker

    @classmethod
    def of(cls, factors: Factors, items: NDArray[np.int32], n: int) -> Proposer:
        """Make a factorisation ready to propose n of the items, given as places in the snapshot, to a user."""
        known = np.flatnonzero(np.append(factors.item_factors.any(axis=1), False)[items])
        return cls(factors, known, Ranker(factors.item_factors[items[known]], min(n, len(known))))

    def propose(self, asked: Asked, threads: int = 0) -> Candidates:
        """Rank its items for the users that it knows."""
        users = np.flatnonzero(np.append(self.factors.user_factors.any(axis=1), False)[asked.users])
        if not len(users) or not len(self.known):
            return Candidates(*(np.empty(0, np.int64) for _ in range(3)))
        factors, exclude = self.factors.user_factors[asked.users[users]], asked.exclude[users]
        if len(self.known) < exclude.shape[1]:
            exclude = exclude[:, self.known]
        best = Candidates.of(self.ranker.rank(factors, exclude, threads))
        return Candidates(users[best.users], self.known[best.items], best.ranks)


def rank_crowd(by_crowd: NDArray[np.float64]) -> NDArray[np.int64]:
    """Order items, shape (n_items,), by what the head makes of each for someone it knows nothing about."""
    return np.lexsort((np.arange(len(by_crowd)), -by_crowd))


def propose_candidates(
    asked: Asked, crowd: NDArray[np.int64], proposers: Sequence[Proposer], n: int, threads: int = 0
) -> Candidates:
    """Collect every proposer's n best items of each user.

    Parameters
    ----------
    asked : Asked
    crowd : ndarray of int64, shape (n_items,)
        From `rank_crowd`.
    proposers : sequence of Proposer
        Of n items a user.
    n : int
        Items a user that the crowd proposes.
    threads : int
        0 means one a core. The result does not depend on it.

    Returns
    -------
    Candidates
        At least n eligible items a user, where there are as many. Those with ``ranks <= m`` are what would
        be proposed if m were asked.

    """
    n_items = max(len(crowd), 1)
    proposed = [_propose_by_crowd(asked, crowd, n), *(one.propose(asked, threads) for one in proposers)]
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


def _propose_by_crowd(asked: Asked, order: NDArray[np.int64], n: int) -> Candidates:
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
