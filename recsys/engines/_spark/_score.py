"""Likeliest items, ranked and written where users' records, or their rows in a model, lie.

Executors hold the factors and tables of all items, and score some users at a time with their candidates alone: MLlib's
`recommendForAllUsers` computes, and moves, a score of every user with every item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, Protocol

import polars as pl
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession, functions

from recsys.engines._spark._arrow import collect, in_pieces, map_batches, to_batches, to_table
from recsys.engines._spark._log import SparkLog
from recsys.engines._spark._records import USERS_AT_ONCE, factors_of, rows_of
from recsys.engines._spark._rows import user_rows, with_users, without_users
from recsys.engines._spark._snapshots import Everyone
from recsys.features import Crowd, Snapshot, describe_members
from recsys.model import Wanted, WillLikeModel, pairs_of
from recsys.probability import ProbabilityHead
from recsys.schema import ITEM, LIKED, USER, as_predictions, same_id_kind
from recsys.split import known_before

#: Writes frames, and says where in a dataclass of `_WRITTEN`; None where there is no frame.
Write = Callable[[Iterator[pl.DataFrame]], Any]
_WRITTEN = {"file": "string", "sha256": "string", "rows": "bigint", "bytes": "bigint"}
_SHOWN, _IS_KNOWN = "shown", "is_known"


@dataclass(frozen=True)
class Order:
    """What is to be ranked.

    Attributes
    ----------
    head : ProbabilityHead or None
    wanted : Wanted
        With one number of candidates.
    exclude : {"seen", "liked", "none"}
    day : datetime.date
    version : str
        Of the model.
    items : polars.DataFrame, optional
        The eligible catalogue, as `WillLikeModel.recommend` takes it. Default: every item that the model knows.

    """

    head: ProbabilityHead | None
    wanted: Wanted
    exclude: str
    day: date
    version: str
    items: pl.DataFrame | None = None


def rank_everyone(everyone: Everyone, order: Order, write: Write) -> list[dict[str, Any]]:
    """Rank the items of every user, and write what each task finds.

    Parameters
    ----------
    everyone : Everyone
        At the cut up to which the log goes.
    order : Order
    write : callable
        Called once a task, on whatever machine, with frames of `recsys.schema.Predictions`.

    Returns
    -------
    list of dict
        `file`, `sha256`, `rows` and `bytes` of what the tasks wrote that succeeded, in order of users; others may have
        written too.

    """
    before, factors = everyone.before, everyone.factors
    members = _FromRecords(everyone.crowd, factors.widths, before.records.settle)
    return _rank(factors.beside(before.records.table), members, order, write)


def rank_from_model(
    snapshot: Snapshot, log: SparkLog, users: pl.Series | None, order: Order, write: Write
) -> list[dict[str, Any]]:
    """Rank items by a model that lies on the driver.

    Parameters
    ----------
    snapshot : Snapshot
    log : SparkLog
        What it showed is not recommended again.
    users : polars.Series, optional
        Ids of whom to rank for. Default: all that the model knows.
    order : Order
    write : callable

    Returns
    -------
    list of dict
        As `rank_everyone`.

    """
    session: SparkSession = log.rows.sparkSession
    known = session.createDataFrame(to_table(user_rows(snapshot))).withColumn(_IS_KNOWN, functions.lit(True))
    if users is not None:
        dtype = snapshot.entities[USER].index.ids.dtype
        same_id_kind(users.dtype, dtype, USER)
        ids = users.cast(dtype, strict=False).drop_nulls().unique()
        known = session.createDataFrame(to_table(ids.to_frame(USER))).join(known, USER, "left")
    pairs = functions.struct(ITEM, LIKED)
    shown = log.rows.groupBy(USER).agg(functions.collect_list(pairs).alias(_SHOWN))
    return _rank(known.join(shown, USER, "left"), _FromModel(without_users(snapshot)), order, write)


class _Members(Protocol):
    """How the snapshot of some users is made."""

    def of(self, piece: pl.DataFrame) -> tuple[Snapshot, pl.Series, pl.DataFrame] | None:
        """Give it, whom to rank for, and what these were shown, `user_id`, `item_id`, `liked`; None for nobody."""
        ...


@dataclass(frozen=True)
class _FromRecords:
    """Of records with factors beside them."""

    crowd: Crowd
    widths: dict[str, int]
    settle: timedelta

    def of(self, piece: pl.DataFrame) -> tuple[Snapshot, pl.Series, pl.DataFrame] | None:
        shown = rows_of(piece)
        known = known_before(shown, self.crowd.cut, self.settle)
        if known.is_empty():
            return None
        snapshot = describe_members(known, self.crowd, factors_of(piece, known, self.widths))
        return snapshot, snapshot.entities[USER].index.ids, self._with_ids(shown)

    def _with_ids(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Put ids where places were; items that were not known before the cut are not recommended anyway."""
        places = pl.Series(self.crowd.anew[ITEM][rows[ITEM].to_numpy()])
        known = rows.filter(places >= 0)
        return known.with_columns(self.crowd.indices[ITEM].ids.gather(places.filter(places >= 0)).alias(ITEM))


@dataclass(frozen=True)
class _FromModel:
    """Of users' rows in a model, with what they were shown beside them."""

    rest: Snapshot

    def of(self, piece: pl.DataFrame) -> tuple[Snapshot, pl.Series, pl.DataFrame] | None:
        shown = piece.select(USER, _SHOWN).explode(_SHOWN).drop_nulls(_SHOWN).unnest(_SHOWN)
        return with_users(self.rest, piece.filter(_IS_KNOWN)), piece[USER], shown


def _rank(table: DataFrame, members: _Members, order: Order, write: Write) -> list[dict[str, Any]]:
    task = _RankAndWrite(members, order, write)
    # What tasks write, one after the other, is sorted as what one machine writes.
    table = table.repartitionByRange(USER).sortWithinPartitions(USER)
    return collect(map_batches(table, task, _WRITTEN)).to_dicts()


@dataclass(frozen=True)
class _RankAndWrite:
    """Batches of users -> one row that says what was written."""

    members: _Members
    order: Order
    write: Write

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        written = self.write(self._rank(batches))
        if written is not None:
            yield from to_batches(pl.DataFrame([asdict(written)]).select(*_WRITTEN))

    def _rank(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pl.DataFrame]:
        order, candidates = self.order, self.order.wanted.candidates[0]
        for piece in in_pieces(batches, USERS_AT_ONCE):
            found = self.members.of(piece)
            if found is None:
                continue
            snapshot, users, shown = found
            # A task has one core.
            model, exclude = WillLikeModel(snapshot, order.head, threads=1), pairs_of(shown, order.exclude)
            for part in model.recommend_in_parts(users, order.wanted, items=order.items, exclude=exclude):
                yield as_predictions(part[candidates], order.day, order.version)
