"""Two arrays and what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.factors._top_n import Ranker, TopN
from recsys.matrix import UserItems, one_blas_thread

_PAIR_CHUNK = 65_536


@dataclass(frozen=True)
class Factors:
    """A factorisation: score of (u, i) = user_factors[u] . item_factors[i].

    Attributes
    ----------
    user_factors : ndarray of float32, shape (n_users, factors)
    item_factors : ndarray of float32, shape (n_items, factors)
        A row of zeros: nothing was observed, every score is 0 and means nothing.
    unit : float, optional
        The typical score of all users, where these are some of them.

    """

    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    unit: float | None = field(default=None, kw_only=True)

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
        if self.unit is not None:
            return self.unit
        with one_blas_thread():
            users, items = (mean_outer_product(side) for side in (self.user_factors, self.item_factors))
        return typical_score_of(users, items)

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
        return Ranker(self.item_factors, n).rank(self.user_factors, exclude, threads)

    @property
    def n_users(self) -> int:
        """Rows of `user_factors`."""
        return len(self.user_factors)


def typical_score_of(users: NDArray[np.float64], items: NDArray[np.float64]) -> float:
    """Give the root mean square score of users and items with these means of outer products.

    Parameters
    ----------
    users, items : ndarray of float64, shape (factors, factors)
        ``mean(x x')`` over those that were observed.

    Returns
    -------
    float
        1.0 where nothing was observed.

    """
    # The mean over u, i of (x_u . y_i)^2 is the trace of mean(x x') mean(y y').
    return float(np.sqrt(np.sum(users * items))) or 1.0


def mean_outer_product(factors: NDArray[np.float32]) -> NDArray[np.float64]:
    observed = int(factors.any(axis=1).sum())
    return (factors.T @ factors).astype(np.float64) / max(observed, 1)
