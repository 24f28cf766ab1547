"""Markov chains over which exposures were liked, compiled: all margins that a placebo keeps are kept in every step.

Both take and give positions of likes; the law that they leave invariant is ``P(likes) ~ exp(sum of log-odds of the
liked rows)`` among all likes with the same margins (Besag and Clifford 1989 for their use in tests of significance).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

_TRIES = 100


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
    begin, end = np.empty(len(strata), np.int64), np.empty(len(strata), np.int64)
    sizes = np.diff(edges)
    begin[:], end[:] = np.repeat(edges[:-1], sizes), np.repeat(edges[1:], sizes)
    # Each stratum in its own unit, so that one with low odds is not lost in rounding.
    top = np.repeat(np.maximum.reduceat(log_odds, edges[:-1]), sizes)
    reach = np.cumsum(np.exp(np.maximum(log_odds - top, -30.0)))
    found: NDArray[np.int64] = _resettle(likes.copy(), begin, end, reach, moves, seed)
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
    by_pair = np.lexsort((items, users))
    by_item = np.argsort(items, kind="stable")
    if len(likes) < 2:
        return likes.copy()
    taken = np.zeros(len(users), np.bool_)
    taken[likes] = True
    free = by_item[~taken[by_item]]
    liked = likes[np.argsort(users[likes], kind="stable")]
    slots = np.empty(len(users), np.int64)
    slots[liked], slots[free] = np.arange(len(liked)), np.arange(len(free))
    liked_from = np.append(0, np.cumsum(np.bincount(users[liked], minlength=int(users.max()) + 1)))
    free_from = np.append(0, np.cumsum(np.bincount(items[free], minlength=int(items.max()) + 1)))
    found: NDArray[np.int64] = _exchange(
        liked, free, slots, taken, liked_from, free_from, users, items, log_odds, by_pair, moves, seed
    )
    return found


# mypy does not know what numba makes of these, and numba has its own generator.
# ruff: noqa: NPY002


@njit(nogil=True)
def _resettle(likes, begin, end, reach, moves, seed):  # type: ignore[no-untyped-def]
    np.random.seed(seed)
    taken = np.zeros(len(begin), np.bool_)
    taken[likes] = True
    for _ in range(moves):
        place = np.random.randint(len(likes))
        row = likes[place]
        first, last = begin[row], end[row]
        below = reach[first - 1] if first > 0 else 0.0
        for _ in range(_TRIES):
            at = below + np.random.random() * (reach[last - 1] - below)
            other = min(first + np.searchsorted(reach[first:last], at, side="right"), last - 1)
            if other == row or not taken[other]:
                taken[row], taken[other] = False, True
                likes[place] = other
                break
    return likes


@njit(nogil=True)
def _find_free(taken, by_pair, users, items, user, item, pick):  # type: ignore[no-untyped-def]
    """Count the unliked rows of a pair; give the one numbered `pick` beside, -1 where there is none."""
    low, high = 0, len(by_pair)
    while low < high:
        middle = (low + high) // 2
        row = by_pair[middle]
        if users[row] < user or (users[row] == user and items[row] < item):
            low = middle + 1
        else:
            high = middle
    free, found = 0, -1
    while low < len(by_pair) and users[by_pair[low]] == user and items[by_pair[low]] == item:
        if not taken[by_pair[low]]:
            if free == pick:
                found = by_pair[low]
            free += 1
        low += 1
    return free, found


@njit(nogil=True)
def _propose(liked, free, taken, liked_from, free_from, users, items, by_pair):  # type: ignore[no-untyped-def]
    """Give the rows a, b, c, d of a proposal, or -1, and the odds of proposing it against the way back."""
    nothing = (-1, -1, -1, -1, 0.0)
    a = liked[np.random.randint(len(liked))]
    u, j = users[a], items[a]
    if free_from[j + 1] == free_from[j]:
        return nothing
    b = free[np.random.randint(free_from[j], free_from[j + 1])]
    v = users[b]
    if v == u or liked_from[v + 1] == liked_from[v]:
        return nothing
    c = liked[np.random.randint(liked_from[v], liked_from[v + 1])]
    h = items[c]
    if h == j:
        return nothing
    m_uh, _ = _find_free(taken, by_pair, users, items, u, h, 0)
    if m_uh == 0:
        return nothing
    _, d = _find_free(taken, by_pair, users, items, u, h, np.random.randint(m_uh))
    m_vh, _ = _find_free(taken, by_pair, users, items, v, h, 0)
    l_u, l_v = liked_from[u + 1] - liked_from[u], liked_from[v + 1] - liked_from[v]
    return a, b, c, d, l_v * m_uh / (l_u * (m_vh + 1))


@njit(nogil=True)
def _exchange(  # type: ignore[no-untyped-def]
    liked, free, slots, taken, liked_from, free_from, users, items, log_odds, by_pair, moves, seed
):
    np.random.seed(seed)
    for _ in range(moves):
        a, b, c, d, odds = _propose(liked, free, taken, liked_from, free_from, users, items, by_pair)
        if a < 0:
            continue
        gain = log_odds[b] + log_odds[d] - log_odds[a] - log_odds[c]
        if np.random.random() >= odds * np.exp(gain):
            continue
        taken[a], taken[b], taken[c], taken[d] = False, True, False, True
        # u's like moves from a to d, v's from c to b; item j's free row from b to a, item h's from d to c.
        at_a, at_b, at_c, at_d = slots[a], slots[b], slots[c], slots[d]
        liked[at_a], free[at_b], liked[at_c], free[at_d] = d, a, b, c
        slots[d], slots[a], slots[b], slots[c] = at_a, at_b, at_c, at_d
    return liked
