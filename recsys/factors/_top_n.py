"""Every user's n best items, exactly: products in single precision propose, scores to the bit decide."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.factors._plain import Plain
from recsys.factors._pruned import Pruned
from recsys.matrix import UserItems, one_blas_thread

#: Users times items from which loading the compiled loops pays; both rankers find the same.
_WORTH_COMPILING = 10_000_000


@dataclass(frozen=True)
class TopN:
    """Ranked items, a row each, by user and then from best to worst.

    Attributes
    ----------
    users, items : ndarray of int32, shape (m,)
        Places in the rows and columns of the factors.
    scores : ndarray of float32, shape (m,)
        To the bit a function of the pair's factors alone: see `pair_scores`.

    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class Ranker:
    """Items, made ready to be ranked for some users after the other.

    Attributes
    ----------
    items : ndarray of float32, shape (n_items, factors)
        At least one.
    n : int
        How many of them a user gets, from 1 to n_items.
    prune : bool
        Leave out items too short to matter. The result does not depend on it.

    """

    items: NDArray[np.float32]
    n: int
    prune: bool = True

    def rank(self, users: NDArray[np.float32], exclude: UserItems | None = None, threads: int = 0) -> TopN:
        """Do what `Factors.top_n` says.

        Parameters
        ----------
        users : ndarray of float32, shape (n_users, factors)
            At least one.
        exclude : csr_matrix, shape (n_users, n_items), optional
        threads : int

        Returns
        -------
        TopN

        """
        compiled = len(users) * len(self.items) >= _WORTH_COMPILING
        ranker = self._pruned if compiled else self._plain
        found_items = np.full((len(users), self.n), -1, np.int32)
        found_scores = np.zeros((len(users), self.n), np.float32)

        def rank(start: int) -> None:
            block = slice(start, start + ranker.block)
            rows = None if exclude is None else exclude[block]
            found_items[block], found_scores[block] = ranker.rank(users[block], rows)
            for user in np.flatnonzero(~users[block].any(axis=1)):
                seen = np.empty(0, np.int32) if rows is None else rows[int(user)].indices
                first = _first_unseen(seen, self.n, len(self.items))
                found_items[start + user, : len(first)] = first

        with one_blas_thread(), ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            list(pool.map(rank, range(0, len(users), ranker.block)))
        return _leave_out_gaps(found_items, found_scores)

    @cached_property
    def _pruned(self) -> Pruned:
        return Pruned.of(self.items, self.n, self.prune)

    @cached_property
    def _plain(self) -> Plain:
        return Plain.of(self.items, self.n)


def _first_unseen(seen: NDArray[np.int32], n: int, n_items: int) -> NDArray[np.int64]:
    """Rank the items of a user whose scores are all 0."""
    free = np.ones(min(n + len(seen), n_items), np.bool_)
    free[seen[seen < len(free)]] = False
    return np.flatnonzero(free)[:n]


def _leave_out_gaps(items: NDArray[np.int32], scores: NDArray[np.float32]) -> TopN:
    taken = items >= 0
    users = np.repeat(np.arange(len(items), dtype=np.int32), taken.sum(axis=1))
    if taken.all():
        return TopN(users, items.ravel(), scores.ravel())
    return TopN(users, items[taken], scores[taken])
