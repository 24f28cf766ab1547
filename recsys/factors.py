"""Factors: arrays, pair scores and exact top-n."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.matrix import UserItems, one_blas_thread

_BLOCK_CELLS = 8_000_000
_PAIR_CHUNK = 65_536


@dataclass(frozen=True)
class TopN:
    """Ranked items, a row each, by user and then from best to worst.

    Attributes
    ----------
    users, items : ndarray of int32, shape (m,)
        Places in the rows and columns of the factors.
    scores : ndarray of float32, shape (m,)

    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class Factors:
    """A factorisation: score of (u, i) = user_factors[u] . item_factors[i].

    Attributes
    ----------
    user_factors : ndarray of float32, shape (n_users, factors)
    item_factors : ndarray of float32, shape (n_items, factors)
        A row of zeros: nothing was observed, every score is 0 and means nothing.

    """

    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]

    def scores(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.float32]:
        """Score pairs.

        Parameters
        ----------
        users, items : ndarray of int32, shape (n,)
            -1 is unseen.

        Returns
        -------
        ndarray of float32, shape (n,)
            0 where either side is unseen.

        """
        scores = np.zeros(len(users), dtype=np.float32)
        if not len(self.user_factors) or not len(self.item_factors):
            return scores
        for start in range(0, len(users), _PAIR_CHUNK):
            u, i = users[start : start + _PAIR_CHUNK], items[start : start + _PAIR_CHUNK]
            dots = np.einsum("nf,nf->n", self.user_factors[u], self.item_factors[i])
            scores[start : start + _PAIR_CHUNK] = np.where((u >= 0) & (i >= 0), dots, 0.0)
        return scores

    @cached_property
    def typical_score(self) -> float:
        """Root mean square of the scores of all observed users with all observed items.

        Scores grow with what was observed; in this unit those of two factorisations compare. 1.0 where
        nothing was observed.
        """
        with one_blas_thread():
            users, items = (_mean_outer_product(side) for side in (self.user_factors, self.item_factors))
        # The mean over u, i of (x_u . y_i)^2 is the trace of mean(x x') mean(y y').
        return float(np.sqrt(np.sum(users * items))) or 1.0

    def is_warm(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Say where both sides were observed, so that a score means something."""
        known_users = np.append(self.user_factors.any(axis=1), False)
        known_items = np.append(self.item_factors.any(axis=1), False)
        return np.asarray(known_users[users] & known_items[items])

    def top_n(self, n: int, exclude: UserItems | None = None, threads: int = 0) -> TopN:
        """Find every user's n best items, exactly.

        Parameters
        ----------
        n : int
            Items a user; users with fewer eligible items get fewer rows.
        exclude : csr_matrix, shape (n_users, n_items), optional
            Pairs with an entry are left out.
        threads : int
            0 means one a core. The result does not depend on it.

        Returns
        -------
        TopN
            Ties go to the item that comes first.

        """
        n = min(n, len(self.item_factors))
        if n == 0 or not len(self.user_factors):
            return TopN(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))
        size = max(1, _BLOCK_CELLS // len(self.item_factors))
        blocks = [range(start, min(start + size, self.n_users)) for start in range(0, self.n_users, size)]
        with one_blas_thread(), ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            ranked = list(pool.map(lambda block: self._rank_block(block, n, exclude), blocks))
        return TopN(*(np.concatenate(parts) for parts in zip(*ranked, strict=True)))

    @property
    def n_users(self) -> int:
        """Rows of `user_factors`."""
        return len(self.user_factors)

    def _rank_block(
        self, block: range, n: int, exclude: UserItems | None
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        scores = self.user_factors[block.start : block.stop] @ self.item_factors.T
        if exclude is not None:
            rows = exclude[block.start : block.stop]
            scores[np.repeat(np.arange(len(block)), np.diff(rows.indptr)), rows.indices] = -np.inf
        items = _select_best(scores, n)
        best = np.take_along_axis(scores, items, axis=1)
        eligible = best > -np.inf
        users = np.broadcast_to(np.arange(block.start, block.stop, dtype=np.int32)[:, None], items.shape)
        return users[eligible], items[eligible].astype(np.int32), best[eligible]


def _mean_outer_product(factors: NDArray[np.float32]) -> NDArray[np.float64]:
    observed = int(factors.any(axis=1).sum())
    return (factors.T @ factors).astype(np.float64) / max(observed, 1)


def _select_best(scores: NDArray[np.float32], n: int) -> NDArray[np.int64]:
    """Return the columns of each row's n largest, largest first, ties by column."""
    chosen = np.sort(np.argpartition(scores, -n, axis=1)[:, -n:], axis=1)
    values = np.take_along_axis(scores, chosen, axis=1)
    for row in _rows_tied_at_the_edge(scores, values, n):
        chosen[row] = np.sort(np.argsort(-scores[row], kind="stable")[:n])
        values[row] = scores[row, chosen[row]]
    return np.take_along_axis(chosen, np.argsort(-values, axis=1, kind="stable"), axis=1)


def _rows_tied_at_the_edge(scores: NDArray[np.float32], values: NDArray[np.float32], n: int) -> Iterator[int]:
    # argpartition keeps an arbitrary one of several equal to the n-th best.
    at_least = (scores >= values.min(axis=1, keepdims=True)).sum(axis=1)
    return (int(row) for row in np.flatnonzero(at_least > n))
