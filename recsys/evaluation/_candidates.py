"""How many candidates a user the ranking needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.evaluation._score import LONGEST_LIST, PER_USER, Ranking
from recsys.inference import Estimate, paired_difference
from recsys.model import WillLikeModel
from recsys.schema import ITEM, USER

#: Beside these the number that serves, and all items where that is affordable.
NUMBERS = (30, 50, 100, 200, 500, 1000)
#: The users that are ranked for this, drawn where there are more.
MOST_USERS = 1_000
#: Users times items up to which all items are tried.
MOST_PAIRS = 6_000_000
NDCG, RECALL = "ndcg@10", "recall@20"


@dataclass(frozen=True)
class Tried:
    """How well users are ranked when each proposer may name so many candidates.

    Attributes
    ----------
    candidates : int
    users : int
        With a like to find.
    ndcg, recall : Estimate
        NDCG@10 and Recall@20, means over users; higher is better.
    difference : Estimate
        NDCG@10 less that of the most candidates tried, paired by user.

    """

    candidates: int
    users: int
    ndcg: Estimate
    recall: Estimate
    difference: Estimate

    @property
    def is_below_the_most(self) -> bool:
        """Whether fewer candidates cost more NDCG@10 than noise explains."""
        return self.difference.high < 0

    def as_dict(self) -> dict[str, Any]:
        """Give the figures as JSON can hold them."""
        return {
            "candidates": self.candidates,
            "users": self.users,
            NDCG: self.ndcg.as_dict(),
            RECALL: self.recall.as_dict(),
            f"{NDCG}_difference": self.difference.as_dict(),
        }


def try_candidates(model: WillLikeModel, ranking: Ranking) -> tuple[Tried, ...]:
    """Rank the same users with several numbers of candidates, scoring every pair once.

    Parameters
    ----------
    model : WillLikeModel
    ranking : Ranking
        What is relevant, and how it is served.

    Returns
    -------
    tuple of Tried
        From the fewest candidates to the most; empty when no user has a relevant item, or the model finds
        all items equal. Below ``20 + 8`` candidates nothing changes: a list of 20 needs them.

    """
    if not ranking.is_defined(model):
        return ()
    users = _draw(ranking.relevant[USER].unique().sort(), ranking.seed)
    relevant = ranking.relevant.filter(pl.col(USER).is_in(users.implode()))
    found = model.recommend_by_candidates(
        users,
        LONGEST_LIST,
        exclude=ranking.seen,
        candidates=_numbers(len(users), len(model.snapshot.entities[ITEM].index), ranking.candidates),
        max_per_creator=ranking.max_per_creator,
    )
    ndcg, recall = (
        {number: _by_user(name, ranked, relevant) for number, ranked in found.items()}
        for name in (NDCG, RECALL)
    )
    most = ndcg[max(ndcg)]
    return tuple(
        Tried(
            number,
            len(users),
            ranking.mean_over_users(ndcg[number]),
            ranking.mean_over_users(recall[number]),
            paired_difference(ndcg[number], most, np.arange(len(users))),
        )
        for number in found
    )


def _draw(users: pl.Series, seed: int) -> pl.Series:
    if len(users) <= MOST_USERS:
        return users
    chosen = np.random.default_rng(seed).choice(len(users), MOST_USERS, replace=False)
    return users.gather(np.sort(chosen))


def _numbers(users: int, items: int, served: int) -> list[int]:
    """Choose what to try, from the fewest to the most; more than there are items is all of them."""
    every = [items] if users * items <= MOST_PAIRS else []
    return sorted({*(min(number, items) for number in (*NUMBERS, served)), *every})


def _by_user(name: str, ranked: pl.DataFrame, relevant: pl.DataFrame) -> NDArray[np.float64]:
    figure, k = PER_USER[name]
    return figure(ranked, relevant, k)["value"].to_numpy()
