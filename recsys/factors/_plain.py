"""Top-n where compiling costs more than it saves: whole rows of products, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.factors._scores import lengths_of, pair_scores, slacks_of
from recsys.matrix import UserItems

#: Users times items of a block.
_CELLS = 2_000_000


@dataclass(frozen=True)
class Plain:
    """Ranks whole rows.

    Attributes
    ----------
    items : ndarray of float32, shape (n_items, factors)
    longest : float
        Length of the longest.
    n : int
        At most n_items.

    """

    items: NDArray[np.float32]
    longest: float
    n: int

    @classmethod
    def of(cls, items: NDArray[np.float32], n: int) -> Plain:
        """Measure the items."""
        return cls(items, float(lengths_of(items).max()), n)

    @property
    def block(self) -> int:
        """Users to take at a time."""
        return max(1, _CELLS // len(self.items))

    def rank(
        self, users: NDArray[np.float32], exclude: UserItems | None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Rank the items of each user whose factors are not all zero.

        Parameters
        ----------
        users : ndarray of float32, shape (m, factors)
        exclude : csr_matrix, shape (m, n_items), optional

        Returns
        -------
        (ndarray of int32, ndarray of float32), both of shape (m, n)
            Items and their scores; item -1 where there are no more.

        """
        rows, items = self._find_candidates(users, exclude)
        scores = pair_scores(users, self.items, rows, items)
        order = np.lexsort((items, -scores, rows))
        rows, items, scores = rows[order], items[order], scores[order]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        best = rank < self.n
        found_items = np.full((len(users), self.n), -1, np.int32)
        found_scores = np.zeros((len(users), self.n), np.float32)
        found_items[rows[best], rank[best]] = items[best]
        found_scores[rows[best], rank[best]] = scores[best]
        return found_items, found_scores

    def _find_candidates(
        self, users: NDArray[np.float32], exclude: UserItems | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        products, lengths = users @ self.items.T, lengths_of(users)
        if exclude is not None:
            products[np.repeat(np.arange(len(users)), np.diff(exclude.indptr)), exclude.indices] = -np.inf
        products[lengths == 0] = -np.inf
        worst = np.partition(products, -self.n, axis=1)[:, -self.n]
        bar = worst - slacks_of(lengths, self.longest, users.shape[1])
        rows, items = np.nonzero((products >= bar[:, None]) & (products > -np.inf))
        return rows, items
