"""An event log whose rows lie in Spark."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl
from pyspark.sql import Column, DataFrame, functions

from recsys.engines._spark._arrow import collect
from recsys.events import EventLog, ReadCounts
from recsys.schema import FACTORS_ONLY, ITEM, TIME, USER

_SHARES = 2**24


@dataclass(frozen=True)
class SparkLog:
    """What `EventLog` is, for rows that no machine could hold.

    Attributes
    ----------
    rows : pyspark.sql.DataFrame
        Accepted exposures before `as_of`, settled or not, with the columns of `EventLog.exposures`.
    refused : polars.DataFrame
    as_of : datetime.datetime
    signals, outcomes : tuple of str
    positives_only : bool
    counts : ReadCounts
    files : tuple of str
    settle : datetime.timedelta
    negatives_kept : float
        As in `EventLog`.

    """

    rows: DataFrame
    refused: pl.DataFrame
    as_of: datetime
    signals: tuple[str, ...]
    outcomes: tuple[str, ...]
    positives_only: bool
    counts: ReadCounts
    files: tuple[str, ...] = ()
    settle: timedelta = timedelta(0)
    negatives_kept: float = 1.0

    def collect(self) -> pl.DataFrame:
        """Bring all rows to the driver, sorted by user, item and time."""
        return collect(self.rows).sort(USER, ITEM, TIME)

    def take_users(self, share: float, seed: int) -> EventLog:
        """Bring a share of the users to the driver, each with all its rows.

        Parameters
        ----------
        share : float
            Users are drawn by a hash of their id, so the same ones at any cut.
        seed : int

        Returns
        -------
        EventLog
            Its counts are those of everyone.

        """
        rows = collect(self.rows.filter(is_drawn(share, seed))).sort(TIME, USER, ITEM)
        is_settled = pl.col(FACTORS_ONLY) | (pl.col(TIME) < self.as_of - self.settle)
        return EventLog(
            exposures=rows.filter(is_settled),
            refused=self.refused,
            as_of=self.as_of,
            signals=self.signals,
            outcomes=self.outcomes,
            positives_only=self.positives_only,
            counts=self.counts,
            files=self.files,
            settle=self.settle,
            unsettled=rows.filter(~is_settled),
            negatives_kept=self.negatives_kept,
        )


def is_drawn(share: float, seed: int) -> Column:
    """Say, as a condition on rows in Spark, whether a user is among those drawn."""
    hashed = functions.xxhash64(functions.col(USER), functions.lit(seed))
    return functions.pmod(hashed, functions.lit(_SHARES)) < round(share * _SHARES)
