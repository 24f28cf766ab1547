"""The best of the candidates of each user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.features import Pairs
from recsys.matrix import UNSEEN
from recsys.model._candidates import Asked, Candidates
from recsys.schema import CREATOR, ITEM, USER

#: Ranked by log-odds, published in float32: a few more than asked, so that rounding loses no item.
SLACK = 8


@dataclass(frozen=True)
class Wanted:
    """What is asked: n items a user out of a catalogue, once for each number that a proposer may propose."""

    catalogue: pl.DataFrame
    eligible: Pairs
    n: int
    proposed: tuple[int, ...]
    max_per_creator: int | None


def pairs_of_candidates(asked: Asked, chosen: Candidates) -> Pairs:
    """Turn candidates into places of the snapshot."""
    items = {kind: places[chosen.items] for kind, places in asked.items.places.items()}
    return Pairs({USER: asked.users[chosen.users], **items})


def place_best(
    chosen: Candidates, pairs: Pairs, order: NDArray[np.float64], wanted: Wanted, proposed: int
) -> NDArray[np.int64]:
    """Find each user's best candidates, a few more than asked; within what one creator may have."""
    kept = np.flatnonzero(chosen.ranks <= proposed)
    # Candidates come by item, and the sort is stable: ties go to the item that comes first.
    best_first = kept[np.lexsort((-order[kept], chosen.users[kept]))]
    if wanted.max_per_creator is not None:
        creators = pairs.places[CREATOR][best_first]
        standing = _count_before(chosen.users[best_first], creators)
        best_first = best_first[(creators == UNSEEN) | (standing < wanted.max_per_creator)]
    users = chosen.users[best_first]
    return best_first[_count_before(users, np.zeros_like(users)) < wanted.n + SLACK]


def _count_before(users: NDArray[np.int64], groups: NDArray[Any]) -> NDArray[np.int64]:
    """Count the earlier rows of the same user and group."""
    rows = pl.DataFrame({"user": users, "group": groups})
    counted = rows.select(pl.int_range(pl.len()).over("user", "group").alias("before"))
    return counted["before"].to_numpy()


def take_best(scored: pl.DataFrame, n: int) -> pl.DataFrame:
    """Rank what was scored by will_like, then by the log-odds behind it, then by item; keep n a user."""
    keys = ["user_place", "will_like", "order", "item_place"]
    ranked = scored.sort(keys, descending=[False, True, True, False])
    ranked = ranked.with_columns(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("user_place").alias("rank")
    )
    ranked = ranked.filter(pl.col("rank") <= n)
    return ranked.select(USER, ITEM, "rank", "will_like", "will_like_low", "will_like_high", "score")
