"""Placebo likes: presses that might have been, drawn from what dwell would predict."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.audit._chains import exchange, resettle
from recsys.audit._dwell import Given
from recsys.audit._result import PlaceboCheck
from recsys.audit._rows import AuditRows
from recsys.matrix import distinct_codes

#: Steps a like, to the hub and from there to each placebo: within strata, and where both margins are kept.
MOVES = 60
SWAPS = 400
_Chain = Callable[[NDArray[np.int64], int, int], NDArray[np.int64]]


@dataclass(frozen=True)
class Placebos:
    """Draws of one kind of placebo likes.

    Attributes
    ----------
    kind : str
    liked : ndarray of bool, shape (draws, n)
        Of the known rows.
    check : PlaceboCheck

    """

    kind: str
    liked: NDArray[np.bool_]
    check: PlaceboCheck


def draw_placebos(
    rows: AuditRows, given: Given, kind: str, draws: int, seed: int, threads: int = 1
) -> Placebos:
    """Draw placebo likes of one kind, inside the training window.

    Parameters
    ----------
    rows : AuditRows
    given : Given
        Log-odds of a press on each known row.
    kind : str
        `global` keeps the number of likes before the calibrate window and after; `dwell` draws them with odds
        ``exp f(dwell)``; `habit` keeps every user's count too; `habit_crowd` every item's as well. All counts are kept
        on each side of the calibrate cut.
    draws : int
        At least 2.
    seed : int
    threads : int, optional
        The draws do not depend on it.

    Returns
    -------
    Placebos

    Notes
    -----
    A chain goes from the real likes to a hub, then from there once a draw: the real likes and the draws are then
    exchangeable wherever likes follow nothing but what the placebo keeps.

    References
    ----------
    Besag and Clifford (1989). Generalized Monte Carlo significance tests. Biometrika 76(4).

    """
    likes = np.flatnonzero(rows.liked)
    chain, steps = _chain_of(rows, given, kind)
    steps *= len(likes)
    seeds = np.random.SeedSequence([seed, len(kind), *kind.encode()]).generate_state(2 * draws + 1) >> 1
    hub = chain(likes, steps, int(seeds[0]))

    def walk(pair: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        # Two pieces of one chain, so that what is shared halfway can be seen.
        half = chain(hub, steps // 2, pair[0])
        return half, chain(half, steps - steps // 2, pair[1])

    with ThreadPoolExecutor(threads) as pool:
        pairs = zip(map(int, seeds[1 : draws + 1]), map(int, seeds[draws + 1 :]), strict=True)
        halfway, ends = (list(found) for found in zip(*pool.map(walk, pairs), strict=True))
    liked = np.zeros((draws, len(rows.known)), dtype=np.bool_)
    for draw, end in enumerate(ends):
        liked[draw, end] = True
    moved = 1 - float(np.mean([_overlap(likes, end) for end in ends]))
    check = PlaceboCheck(kind, moved, _shared(halfway), _shared(ends))
    return Placebos(kind, liked, check)


def _chain_of(rows: AuditRows, given: Given, kind: str) -> tuple[_Chain, int]:
    sides = rows.sides
    if kind == "habit_crowd":
        users, items = _stratify(rows.users, sides), _stratify(rows.items, sides)

        def swap(likes: NDArray[np.int64], steps: int, seed: int) -> NDArray[np.int64]:
            return exchange(likes, users, items, given.log_odds, steps, seed)

        return swap, SWAPS
    strata = _stratify(rows.users, sides) if kind == "habit" else sides
    log_odds = np.zeros(len(sides)) if kind == "global" else given.log_odds
    order = np.argsort(strata, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))

    def move(likes: NDArray[np.int64], steps: int, seed: int) -> NDArray[np.int64]:
        return order[resettle(place[likes], strata[order], log_odds[order], steps, seed)]

    return move, MOVES


def _stratify(codes: NDArray[np.int32], sides: NDArray[np.int64]) -> NDArray[np.int64]:
    return distinct_codes(pl.Series(codes.astype(np.int64) * (int(sides.max()) + 1) + sides)).astype(np.int64)


def _shared(draws: list[NDArray[np.int64]]) -> float:
    return float(np.mean([_overlap(one, other) for one, other in combinations(draws, 2)]))


def _overlap(likes: NDArray[np.int64], others: NDArray[np.int64]) -> float:
    return float(np.isin(likes, others).mean())
