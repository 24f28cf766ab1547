"""The chains that draw placebo likes: margins, and the law they leave invariant, by enumeration."""

from __future__ import annotations

from functools import partial
from itertools import combinations

import numpy as np
import pytest

from recsys.audit._chains import exchange, resettle

USERS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
ITEMS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 2])
ODDS = np.array([0.3, -0.5, 1.0, 0.0, 0.7, -1.0, 0.4, -0.2, 0.5, -0.4])
LIKES = np.array([0, 4, 8])


def margins(likes: tuple[int, ...] | np.ndarray, codes: np.ndarray) -> list[int]:
    return np.bincount(codes[np.asarray(likes)], minlength=3).tolist()


def target(*kept: np.ndarray) -> dict[tuple[int, ...], float]:
    """Enumerate the law: all sets of three likes with the same margins, by their odds."""
    wanted = [margins(LIKES, codes) for codes in kept]
    states = [s for s in combinations(range(10), 3) if [margins(s, codes) for codes in kept] == wanted]
    weights = np.exp([ODDS[list(s)].sum() for s in states])
    return dict(zip(states, weights / weights.sum(), strict=True))


@pytest.mark.parametrize("kind", ["user", "all", "both"])
def test_a_chain_leaves_the_conditional_law_invariant(kind: str) -> None:
    kept = {"user": (USERS,), "all": (np.zeros(10, int),), "both": (USERS, ITEMS)}[kind]
    law, draws = target(*kept), 20_000
    counts = dict.fromkeys(law, 0)
    likes = LIKES
    for seed in range(draws):
        likes = (
            exchange(likes, USERS, ITEMS, ODDS, 6, seed)
            if kind == "both"
            else resettle(likes, kept[0], ODDS, 4, seed)
        )
        counts[tuple(sorted(likes.tolist()))] += 1
    found = np.array(list(counts.values())) / draws
    expected = np.array(list(law.values()))
    assert len(law) > 3
    # Draws of one chain hang together: five times the standard error of independent ones.
    assert np.abs(found - expected).max() < 5 * np.sqrt(0.25 / draws)


def test_every_step_keeps_the_margins() -> None:
    rng = np.random.default_rng(3)
    users, items = np.sort(rng.integers(30, size=2000)), rng.integers(20, size=2000)
    likes, odds = rng.choice(2000, 200, replace=False), rng.normal(size=2000)
    moved = resettle(likes, users, odds, 5000, 1)
    both = exchange(likes, users, items, odds, 20_000, 1)
    for found in (moved, both):
        assert len(set(found.tolist())) == 200
        assert np.isin(found, likes).mean() < 0.5
        assert np.array_equal(
            np.bincount(users[found], minlength=30), np.bincount(users[likes], minlength=30)
        )
    assert np.array_equal(np.bincount(items[both], minlength=20), np.bincount(items[likes], minlength=20))
    assert not np.array_equal(
        np.bincount(items[moved], minlength=20), np.bincount(items[likes], minlength=20)
    )


def test_who_and_what_has_no_like_changes_no_draw() -> None:
    # User 9 and item 7 have no like; their rows stand among the others'.
    own = np.array([1, 2, 4, 5, 6, 8, 9, 10, 12, 13])
    users, items, odds = np.full(14, 9), np.full(14, 7), np.full(14, 3.0)
    users[own], items[own], odds[own] = USERS, ITEMS, ODDS
    users[[0, 7]], items[[3, 11]] = 0, [1, 2]
    for seed in range(20):
        found = exchange(own[LIKES], users, items, odds, 50, seed)
        assert np.array_equal(found, own[exchange(LIKES, USERS, ITEMS, ODDS, 50, seed)])


def test_a_draw_follows_from_its_seed() -> None:
    for chain in (partial(resettle, LIKES, USERS, ODDS), partial(exchange, LIKES, USERS, ITEMS, ODDS)):
        draws = [tuple(sorted(chain(50, seed).tolist())) for seed in range(20)]
        assert draws == [tuple(sorted(chain(50, seed).tolist())) for seed in range(20)]
        assert len(set(draws)) > 3


def test_where_nothing_can_move_nothing_does() -> None:
    none = np.array([], dtype=np.int64)
    assert len(resettle(none, USERS, ODDS, 50, 7)) == len(exchange(none, USERS, ITEMS, ODDS, 50, 7)) == 0
    everything = np.arange(10)
    assert sorted(resettle(everything, USERS, ODDS, 50, 7)) == list(range(10))
