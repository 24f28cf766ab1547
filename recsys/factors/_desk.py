"""What the compiled loops work on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Shelf(NamedTuple):
    """Items, the longest first: what comes later can do less and less.

    Attributes
    ----------
    factors : ndarray of float32, shape (n_items, factors)
    names : ndarray of uint32, shape (n_items,)
        The caller's place of each.
    places : ndarray of int32, shape (n_items,)
        The reverse: where the caller's items stand here.

    """

    factors: NDArray[np.float32]
    names: NDArray[np.uint32]
    places: NDArray[np.int32]


class Desk(NamedTuple):
    """What is known so far of a block of m users.

    Attributes
    ----------
    users : ndarray of float32, shape (m, factors)
    lengths, slacks : ndarray of float64, shape (m,)
    bars : ndarray of float32, shape (m,)
        What a product must reach to matter.
    candidates : ndarray of uint64, shape (m, room)
    counts : ndarray of int64, shape (m,)
        How many of them there are.
    seen : ndarray of int32, shape (entries,)
        Places on the shelf of what is left out, by user and then by place.
    seen_from, seen_to : ndarray of int64, shape (m,)
        Where each user's begin, of those still to come, and end.
    n : int

    """

    users: NDArray[np.float32]
    lengths: NDArray[np.float64]
    slacks: NDArray[np.float64]
    bars: NDArray[np.float32]
    candidates: NDArray[np.uint64]
    counts: NDArray[np.int64]
    seen: NDArray[np.int32]
    seen_from: NDArray[np.int64]
    seen_to: NDArray[np.int64]
    n: int
