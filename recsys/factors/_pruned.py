"""Top-n in blocks that fit the processor's cache, leaving out what cannot matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.factors._desk import Desk, Shelf
from recsys.factors._scores import lengths_of, slacks_of, width_of_terms
from recsys.matrix import UserItems

#: Users and items of a block of products: rows a power of two apart would meet in the same lines of the cache.
_USERS, _ITEMS = 512, 768
#: Candidates of all users of a block.
_CANDIDATES = 1 << 18
_SIGN = np.uint32(0x8000_0000)
_REST = np.uint32(0x7FFF_FFFF)


@dataclass(frozen=True)
class Pruned:
    """Ranks blocks of items, the longest first, as long as one of them may matter.

    Attributes
    ----------
    shelf : Shelf
    reaches : ndarray of float64, shape (n_items,)
        What scores of the items on the shelf are at most, for a user of length 1.
    longest : float
        Length of the first.
    n : int
        At most n_items.

    """

    shelf: Shelf
    reaches: NDArray[np.float64]
    longest: float
    n: int

    @classmethod
    def of(cls, items: NDArray[np.float32], n: int, prune: bool = True) -> Pruned:
        """Put the items on the shelf; without pruning, any of them may matter to anybody."""
        lengths = lengths_of(items)
        order = np.argsort(-lengths, kind="stable")
        places = np.empty(len(order), np.int32)
        places[order] = np.arange(len(order))
        # Cauchy and Schwarz speak of true products; scores are rounded.
        reaches = lengths[order] * (1 + 2.0**-20) if prune else np.full(len(order), np.inf)
        shelf = Shelf(items[order], order.astype(np.uint32), places)
        return cls(shelf, reaches, float(lengths[order[0]]), n)

    @property
    def _room(self) -> int:
        return 2 * self.n + 64

    @property
    def block(self) -> int:
        """Users to take at a time."""
        return max(1, min(_USERS, _CANDIDATES // self._room))

    def rank(
        self, users: NDArray[np.float32], exclude: UserItems | None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Rank the items of each user whose factors are not all zero: what `Plain.rank` takes and gives."""
        from recsys.factors._loops import finish_block

        desk, terms = self._lay_out(users, exclude), np.zeros(width_of_terms(users.shape[1]))
        self._collect(desk, terms)
        finish_block(desk, self.shelf, terms)
        widest = max(self.n, int(desk.counts.max()))
        return _read(np.sort(desk.candidates[:, :widest], axis=1)[:, : self.n])

    def _lay_out(self, users: NDArray[np.float32], exclude: UserItems | None) -> Desk:
        m, lengths = len(users), lengths_of(users)
        seen, bounds = self._find_seen(exclude, m)
        return Desk(
            users=users,
            lengths=lengths,
            slacks=slacks_of(lengths, self.longest, users.shape[1]),
            bars=np.full(m, -np.inf, np.float32),
            candidates=np.empty((m, self._room), np.uint64),
            counts=np.zeros(m, np.int64),
            seen=seen,
            seen_from=bounds[:-1].copy(),
            seen_to=bounds[1:],
            n=self.n,
        )

    def _find_seen(self, exclude: UserItems | None, m: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        if exclude is None:
            return np.empty(0, np.int32), np.zeros(m + 1, np.int64)
        users, n_items = np.repeat(np.arange(m), np.diff(exclude.indptr)), len(self.shelf.names)
        keys = np.sort(users * n_items + self.shelf.places[exclude.indices])
        return (keys % n_items).astype(np.int32), exclude.indptr.astype(np.int64)

    def _collect(self, desk: Desk, terms: NDArray[np.float64]) -> None:
        from recsys.factors._loops import collect_block

        rows = np.flatnonzero(desk.lengths > 0)
        left, m, items = desk.users[rows], len(rows), self.shelf.factors
        buffer = np.empty(m * _ITEMS, np.float32)
        for first in range(0, len(items), _ITEMS):
            some = items[first : first + _ITEMS]
            products = buffer[: m * len(some)].reshape(m, len(some))
            np.matmul(left[:m], some.T, out=products)
            after = first + len(some)
            reach = float(self.reaches[after]) if after < len(items) else 0.0
            m = collect_block(products, first, reach, desk, self.shelf, rows, left, terms)
            if not m:
                break


def _read(candidates: NDArray[np.uint64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Take candidates apart as the compiled loops put them together; of nothing, the item is -1."""
    upper = (candidates >> np.uint64(32)).astype(np.uint32)
    scores = np.where(upper & _SIGN, upper, upper ^ _REST).view(np.float32)
    items = candidates.astype(np.uint32).view(np.int32)
    return items, np.where(items < 0, np.float32(0), scores)
