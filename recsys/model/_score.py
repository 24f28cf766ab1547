"""Pairs -> what ranks them, and the columns that are published."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.features import Pairs, Snapshot
from recsys.matrix import UNSEEN
from recsys.model._rank import score_order
from recsys.probability import ProbabilityHead
from recsys.schema import ITEM, LIKED, USER


@dataclass(frozen=True)
class Scorer:
    """A snapshot and a head, at work.

    Attributes
    ----------
    snapshot : Snapshot
    head : ProbabilityHead or None
        None ranks by the like score.
    threads : int
        0 means one a core. No result depends on it.

    """

    snapshot: Snapshot
    head: ProbabilityHead | None
    threads: int

    @property
    def known_head(self) -> ProbabilityHead:
        """The head of a model that has probabilities.

        Raises
        ------
        DataError
            When it has none.

        """
        if self.head is None:
            raise DataError("a log of positives only has no probabilities: unliked exposures are needed")
        return self.head

    def features(self, pairs: Pairs) -> NDArray[np.float64]:
        """Compute the features that the head reads, shape (n, d)."""
        return self.snapshot.pair_features(pairs, self.known_head.head.names)

    def order(self, pairs: Pairs) -> NDArray[np.float64]:
        """Compute what ranks pairs, shape (n,): the head's log-odds, or without a head `score_order`."""
        if self.head is None:
            return score_order(self.snapshot, LIKED, pairs)
        head, pieces = self.head.head, [piece for _, piece in pairs.in_pieces()]
        with ThreadPoolExecutor(self.threads or os.cpu_count()) as pool:
            scored = list(pool.map(lambda piece: head.logit(self.features(piece)), pieces))
        return np.concatenate([np.empty(0), *scored])

    def order_for_nobody(self, items: Pairs) -> NDArray[np.float64]:
        """Compute what ranks items for someone unknown, shape (n,)."""
        nobody = np.full(len(items.places[ITEM]), UNSEEN, np.int32)
        return self.order(Pairs({USER: nobody, **items.places}))

    def columns(self, pairs: Pairs, order: NDArray[np.float64]) -> list[pl.Series]:
        """Give what is published of pairs: `will_like`, its interval, `score`.

        Parameters
        ----------
        pairs : Pairs of length n
        order : ndarray of float64, shape (n,)
            From `order`.

        Returns
        -------
        list of polars.Series of float32
            `will_like`, `will_like_low`, `will_like_high`, null without a head; `score`, null where either
            side has no like.

        """
        factors = self.snapshot.factors[LIKED]
        users, items = pairs.places[USER], pairs.places[ITEM]
        warm = pl.Series(factors.is_warm(users, items))
        scores = pl.Series(factors.scores(users, items))
        return [*self._will_like(order), scores.set(~warm, None).alias("score")]

    def _will_like(self, order: NDArray[np.float64]) -> list[pl.Series]:
        names = ("will_like", "will_like_low", "will_like_high")
        if self.head is None:
            return [pl.Series(name, [None], pl.Float32).new_from_index(0, len(order)) for name in names]
        interval = self.head.interval(order)
        columns = (self.head.will_like(order), interval.low, interval.high)
        return [pl.Series(name, _to_float32(values)) for name, values in zip(names, columns, strict=True)]


def _to_float32(probabilities: NDArray[np.float64]) -> NDArray[np.float32]:
    # The float32 next below 1 is 1 - 6e-8: rounding must not close the interval.
    return np.minimum(probabilities.astype(np.float32), np.nextafter(np.float32(1), np.float32(0)))
