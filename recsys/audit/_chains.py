"""Markov chains over which exposures were liked: all margins that a placebo keeps are kept in every step.

Both take and give positions of likes; the law that they leave invariant is ``P(likes) ~ exp(sum of log-odds of the
liked rows)`` among all likes with the same margins (Besag and Clifford 1989 for their use in tests of significance).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Log-odds below the highest of a stratum that still differ.
_LEAST = -30.0


def resettle(
    likes: NDArray[np.int64],
    strata: NDArray[np.int64],
    log_odds: NDArray[np.float64],
    moves: int,
    seed: int,
) -> NDArray[np.int64]:
    """Move likes within strata: every stratum keeps its count.

    Parameters
    ----------
    likes : ndarray of int64, shape (k,)
        Rows that are liked.
    strata : ndarray of int64, shape (n,)
        Ascending.
    log_odds : ndarray of float64, shape (n,)
        Of a like on each row, up to a constant a stratum; 30 below the stratum's highest counts as 30 below.
    moves : int
        Likes that are taken up and set down again.
    seed : int

    Returns
    -------
    ndarray of int64, shape (k,)

    Notes
    -----
    Gibbs steps: a like, chosen at random, is set down on row r of its stratum with probability proportional to
    ``exp(log_odds_r)`` among the rows that carry no other like.

    """
    if not len(likes):
        return likes.copy()
    edges = np.flatnonzero(np.diff(strata, prepend=strata[0] - 1, append=strata[-1] + 1))
    sizes = np.diff(edges)
    begin, end = np.repeat(edges[:-1], sizes), np.repeat(edges[1:], sizes)
    # Each stratum in its own unit, so that one with low odds is not lost in rounding.
    top = np.repeat(np.maximum.reduceat(log_odds, edges[:-1]), sizes)
    reach = np.cumsum(np.exp(np.maximum(log_odds - top, _LEAST)))
    from recsys.audit._loops import resettle_loop

    found: NDArray[np.int64] = resettle_loop(likes.copy(), begin, end, reach, moves, seed)
    return found


def exchange(
    likes: NDArray[np.int64],
    users: NDArray[np.int64],
    items: NDArray[np.int64],
    log_odds: NDArray[np.float64],
    moves: int,
    seed: int,
) -> NDArray[np.int64]:
    """Swap the items of two users' likes among exposed pairs: every user and every item keeps its count.

    Parameters
    ----------
    likes : ndarray of int64, shape (k,)
        Rows that are liked.
    users, items : ndarray of int64, shape (n,)
        Codes.
    log_odds : ndarray of float64, shape (n,)
        Of a like on each row, up to a constant a user and a constant an item.
    moves : int
        Proposals.
    seed : int

    Returns
    -------
    ndarray of int64, shape (k,)

    Notes
    -----
    A proposal takes a like a = (u, j), an unliked row b = (v, j) of another user, one of v's other likes c = (v, h),
    and an unliked row d = (u, h); a and c lose their likes to b and d. The way back takes b, a, d, c in the same
    manner, so that it is accepted with ``min(1, exp(f_b + f_d - f_a - f_c) l_v m_uh / (l_u (m_vh + 1)))``, l the
    likes of a user and m the unliked rows of a pair.

    """
    if len(likes) < 2:
        return likes.copy()
    rows = _rows_that_take_part(likes, users, items)
    within = np.searchsorted(rows, likes)
    return rows[
        _exchange(within, _renumber(users[rows]), _renumber(items[rows]), log_odds[rows], moves, seed)
    ]


def _rows_that_take_part(
    likes: NDArray[np.int64], users: NDArray[np.int64], items: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Find the rows, ascending, whose user and item both have a like: all that a proposal can ever touch."""
    takes_part = np.ones(len(users), np.bool_)
    for codes in (users, items):
        liked = np.zeros(int(codes.max()) + 1, np.bool_)
        liked[codes[likes]] = True
        takes_part &= liked[codes]
    return np.flatnonzero(takes_part)


def _renumber(codes: NDArray[np.int64]) -> NDArray[np.int32]:
    """Number codes from 0 without gaps. Half as wide: proposals jump about, and what they wait for is memory."""
    return np.asarray(np.unique(codes, return_inverse=True)[1]).astype(np.int32)


def _exchange(
    likes: NDArray[np.int64],
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    log_odds: NDArray[np.float64],
    moves: int,
    seed: int,
) -> NDArray[np.int64]:
    """Do what `exchange` does where every row takes part."""
    own_rows, by_item = (
        rows.astype(np.int32) for rows in (np.lexsort((items, users)), np.argsort(items, kind="stable"))
    )
    taken = np.zeros(len(users), np.bool_)
    taken[likes] = True
    free = by_item[~taken[by_item]]
    liked = likes[np.argsort(users[likes], kind="stable")].astype(np.int32)
    slots = np.empty(len(users), np.int32)
    slots[liked], slots[free] = np.arange(len(liked)), np.arange(len(free))
    n_users, n_items = int(users.max()) + 1, int(items.max()) + 1
    liked_from, free_from, own_from = (
        np.append(0, np.cumsum(np.bincount(codes, minlength=size))).astype(np.int32)
        for codes, size in ((users[liked], n_users), (items[free], n_items), (users, n_users))
    )
    from recsys.audit._loops import exchange_loop

    own = (own_rows, items[own_rows], own_from)
    lists = (liked, free, slots, taken, liked_from, free_from)
    found: NDArray[np.int32] = exchange_loop(*lists, users, items, log_odds, *own, moves, seed)
    return found.astype(np.int64)
