"""The chains' inner loops, compiled: with this module comes numba, which takes half a second."""

# mypy does not know what numba makes of functions, and numba has its own generator.
# ruff: noqa: NPY002

from __future__ import annotations

import numpy as np

from recsys.compiled import compiled

#: Then a like stays where it is: the rows it finds taken are the same before a step and after, so the law holds.
_TRIES = 100


@compiled()
def resettle_loop(likes, begin, end, reach, moves, seed):  # type: ignore[no-untyped-def]
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


@compiled()
def _find_free(taken, own_rows, own_items, low, high, item, pick):  # type: ignore[no-untyped-def]
    """Count a user's unliked rows of an item; give the one numbered `pick` beside, -1 where there is none."""
    last = high
    while low < high:
        middle = (low + high) // 2
        if own_items[middle] < item:
            low = middle + 1
        else:
            high = middle
    free, found = 0, -1
    while low < last and own_items[low] == item:
        if not taken[own_rows[low]]:
            if free == pick:
                found = own_rows[low]
            free += 1
        low += 1
    return free, found


@compiled()
def _propose(  # type: ignore[no-untyped-def]
    liked, free, taken, liked_from, free_from, users, items, own_rows, own_items, own_from
):
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
    m_uh, _ = _find_free(taken, own_rows, own_items, own_from[u], own_from[u + 1], h, 0)
    if m_uh == 0:
        return nothing
    _, d = _find_free(taken, own_rows, own_items, own_from[u], own_from[u + 1], h, np.random.randint(m_uh))
    m_vh, _ = _find_free(taken, own_rows, own_items, own_from[v], own_from[v + 1], h, 0)
    l_u, l_v = liked_from[u + 1] - liked_from[u], liked_from[v + 1] - liked_from[v]
    return a, b, c, d, l_v * m_uh / (l_u * (m_vh + 1))


@compiled()
def exchange_loop(  # type: ignore[no-untyped-def]
    liked,
    free,
    slots,
    taken,
    liked_from,
    free_from,
    users,
    items,
    log_odds,
    own_rows,
    own_items,
    own_from,
    moves,
    seed,
):
    np.random.seed(seed)
    for _ in range(moves):
        a, b, c, d, odds = _propose(
            liked, free, taken, liked_from, free_from, users, items, own_rows, own_items, own_from
        )
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
