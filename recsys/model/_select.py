"""The best of the candidates of each user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.errors import UsageError
from recsys.features import Pairs, Snapshot
from recsys.matrix import UNSEEN
from recsys.model._candidates import Asked, Candidates
from recsys.schema import CREATOR, ITEM, USER

#: Ranked by log-odds, published in float32: a few more than asked, so that rounding loses no item.
SLACK = 8


@dataclass(frozen=True)
class Wanted:
    """What is asked of a ranking.

    Attributes
    ----------
    n : int
        Items a user.
    candidates : tuple of int
        Items a user and proposer; one ranking for each.
    max_per_creator : int or None
        Items of one creator in a list; None is any number.

    """

    n: int
    candidates: tuple[int, ...]
    max_per_creator: int | None

    @property
    def proposed(self) -> tuple[int, ...]:
        """Candidates, but never fewer than a list needs."""
        return tuple(max(self.n + SLACK, number) for number in self.candidates)

    def require_possible(self, snapshot: Snapshot) -> None:
        """Refuse numbers below 1, and a limit on creators where the log has none.

        Raises
        ------
        UsageError

        """
        numbers = {"n": self.n, "max_per_creator": self.max_per_creator, "candidates": min(self.candidates)}
        for name, number in numbers.items():
            if number is not None and number < 1:
                raise UsageError(f"{name} must be at least 1, got {number}")
        if self.max_per_creator is not None and CREATOR not in snapshot.links:
            raise UsageError("max_per_creator needs a log with creators: declare events.columns.creator")


def pairs_of_candidates(asked: Asked, chosen: Candidates) -> Pairs:
    """Turn candidates into places of the snapshot."""
    items = {kind: places[chosen.items] for kind, places in asked.items.places.items()}
    return Pairs({USER: asked.users[chosen.users], **items})


def place_best(
    chosen: Candidates, pairs: Pairs, order: NDArray[np.float64], wanted: Wanted, proposed: int
) -> NDArray[np.int64]:
    """Find each user's best candidates, a few more than asked; within what one creator may have."""
    kept = np.flatnonzero(chosen.ranks <= proposed)
    rows = pl.DataFrame({"user": chosen.users[kept], "order": order[kept]})
    # Candidates come by item, and the sort is stable: ties go to the item that comes first.
    best = pl.arg_sort_by("user", "order", descending=[False, True], maintain_order=True)
    best_first: NDArray[np.int64] = kept[rows.select(best).to_series().to_numpy()]
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
