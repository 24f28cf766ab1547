"""Events in Spark -> exposures: the local reader's fold, on all events of some users at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
from pyspark.sql import DataFrame

from recsys.config import EventsSettings
from recsys.engines._spark._arrow import to_batches, to_frame
from recsys.engines._spark._rules import ROWS_AT_ONCE, gathered, spark_schema
from recsys.events import expose
from recsys.schema import ROW, USER


@dataclass(frozen=True)
class Fold:
    """Fold batches of events.

    Attributes
    ----------
    settings : EventsSettings
    numbers : tuple of str
        Names of signals and outcomes.
    rows_at_once : int
        About as many are held; more of a user who has more.

    """

    settings: EventsSettings
    numbers: tuple[str, ...]
    rows_at_once: int = ROWS_AT_ONCE

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Turn batches in which the events of each user lie together into batches of exposures."""
        for events in whole_users(batches, self.rows_at_once):
            yield from to_batches(self.of(events))

    def of(self, events: pl.DataFrame) -> pl.DataFrame:
        """Give the exposures that events come to."""
        return expose(events, self.settings, self.numbers).drop(ROW)


def fold(events: DataFrame, empty: pl.DataFrame, task: Fold) -> DataFrame:
    """Make exposures of events.

    Parameters
    ----------
    events : pyspark.sql.DataFrame
        Accepted, no key twice, with `row`; all rows of a user in one part, and one after the other.
    empty : polars.DataFrame
        Their columns, without a row.
    task : Fold

    Returns
    -------
    pyspark.sql.DataFrame
        With the columns of `EventLog.exposures`; those of a user are still in one part.

    """
    return events.mapInArrow(task, spark_schema(task.of(empty)))


def whole_users(batches: Iterable[pa.RecordBatch], rows_at_once: int) -> Iterator[pl.DataFrame]:
    """Cut rows so that no user lies in two pieces.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        In which the rows of each user lie together.
    rows_at_once : int

    Yields
    ------
    polars.DataFrame

    """
    rest = None
    for table in gathered(batches, rows_at_once):
        rows = to_frame(table) if rest is None else pl.concat([rest, to_frame(table)])
        # More of the last user's may follow.
        is_last = rows[USER] == rows[USER].last()
        yield rows.filter(~is_last)
        rest = rows.filter(is_last)
    if rest is not None:
        yield rest
