"""One record a user: its number and all its rows; and what is computed from them, some users at a time.

The rows of a record are what a snapshot is taken from, items, creators and categories as places in the indices of the
whole log, which the driver holds. Executors cut records at an instant and hand their rows to the functions of
`recsys.features` and `recsys.model`: there is one rule for what was known when, and one for what it means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame, SparkSession, Window, functions

from recsys.engines._spark._arrow import (
    collect,
    in_pieces,
    in_utc,
    map_batches,
    to_batches,
    to_matrix,
    to_table,
)
from recsys.engines._spark._log import SparkLog, is_drawn
from recsys.errors import DataError
from recsys.features import Kernel
from recsys.matrix import UNSEEN, IdIndex
from recsys.schema import CATEGORY, CREATED, CREATOR, FACTORS_ONLY, ITEM, LIKED, TIME, USER, arrived
from recsys.split import known_before

NUMBER, ROWS = "number", "rows"
#: Users whose rows are worked on at once.
USERS_AT_ONCE = 2_048
_USERS_A_BUCKET = 100_000
_MOST_USERS = 2**31 - 1


@dataclass(frozen=True)
class Records:
    """The records of a log.

    Attributes
    ----------
    table : pyspark.sql.DataFrame
        `number` (int, from 0), `user_id`, `rows` (array of struct).
    indices : dict of str to IdIndex
        Items, creators and categories of the whole log.
    settle : datetime.timedelta

    """

    table: DataFrame
    indices: dict[str, IdIndex]
    settle: timedelta

    @classmethod
    def of(cls, log: SparkLog) -> Records:
        """Gather each user's rows, and keep them in Spark: those of the log are not needed there any more."""
        kinds = [kind for kind in (ITEM, CREATOR, CATEGORY) if kind in log.rows.columns]
        indices = {kind: IdIndex.of(collect(log.rows.select(kind).distinct())[kind]) for kind in kinds}
        rows = log.rows
        for kind, index in indices.items():
            rows = _with_places(rows, kind, index)
        told = [TIME, CREATED, LIKED, *log.signals]
        wanted = [*kinds, *told, *(arrived(name) for name in told), FACTORS_ONLY]
        held = functions.struct(*(name for name in wanted if name in log.rows.columns))
        gathered = rows.groupBy(USER).agg(functions.collect_list(held).alias(ROWS))
        count = log.rows.select(USER).distinct().count()
        table = gathered.join(_number_users(log.rows, count), USER).select(NUMBER, USER, ROWS)
        kept = _by_number(table, count).persist()
        kept.count()
        return cls(kept, indices, log.settle)

    def at(self, cut: datetime) -> RecordsBefore:
        """Look at what was known before a cut."""
        return RecordsBefore(self, cut)

    def release(self) -> None:
        """Keep them no longer."""
        self.table.unpersist()


@dataclass(frozen=True)
class RecordsBefore:
    """The records of a log as they were at a cut."""

    records: Records
    cut: datetime

    def combine(self, kernel: Kernel, how: Mapping[str, str]) -> pl.DataFrame:
        """Do what `recsys.features.Holder` says."""
        types = dict.fromkeys(how, "double")
        if "last" in how.values():
            user = dict(self.records.table.dtypes)[USER]
            types = dict.fromkeys(how, "int") | {"time": "timestamp", "user": user}
        found = self.map_known(_WithoutFactors(kernel), {"kind": "string", "place": "int", **types})
        return combined(found, how)

    def map_known(
        self,
        kernel: Callable[[pl.DataFrame, dict[str, NDArray[np.float32]]], pl.DataFrame],
        schema: Mapping[str, str],
        factors: UserFactors | None = None,
    ) -> DataFrame:
        """Apply a function to the rows, and factors, of some users after the others'.

        Parameters
        ----------
        kernel : callable
            As `recsys.features.Holder.combine` takes it, with each user's factors by signal, ascending by id.
        schema : mapping of str to str
            Columns that it gives, and their types in Spark.
        factors : UserFactors, optional

        Returns
        -------
        pyspark.sql.DataFrame

        """
        table = self.records.table if factors is None else factors.beside(self.records.table)
        widths = {} if factors is None else factors.widths
        apply = MapKnown(kernel, tuple(schema), self.cut, self.records.settle, widths)
        return map_batches(table, apply, schema)


@dataclass(frozen=True)
class UserFactors:
    """Users' factors, by signal.

    Attributes
    ----------
    table : pyspark.sql.DataFrame
        `number`, then a column of arrays a signal; who was not observed has null, or no row.
    widths : dict of str to int
        Factors by signal; 0 where nobody was observed.

    """

    table: DataFrame
    widths: dict[str, int]

    @classmethod
    def of(cls, sides: list[DataFrame], widths: dict[str, int]) -> UserFactors:
        """Keep in one table what several have, each `number` and a signal's column: in one shuffle, not a join each."""
        rows = reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), sides)
        told = [functions.first(f"`{name}`", True).alias(name) for name in rows.columns if name != NUMBER]
        return cls(rows.groupBy(NUMBER).agg(*told).persist(), widths)

    def beside(self, records: DataFrame) -> DataFrame:
        """Put them beside the records."""
        return records.join(self.table, NUMBER, "left")


@dataclass(frozen=True)
class MapKnown:
    """Batches of records -> what a kernel gives of those rows that were known before a cut."""

    kernel: Callable[[pl.DataFrame, dict[str, NDArray[np.float32]]], pl.DataFrame]
    columns: tuple[str, ...]
    cut: datetime
    settle: timedelta
    widths: dict[str, int]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Do it, some users at a time."""
        for piece in in_pieces(batches, USERS_AT_ONCE):
            known = known_before(rows_of(piece), self.cut, self.settle)
            if not known.is_empty():
                found = self.kernel(known, factors_of(piece, known, self.widths))
                yield from to_batches(found.select(self.columns))


@dataclass(frozen=True)
class _WithoutFactors:
    kernel: Kernel

    def __call__(self, known: pl.DataFrame, _: object) -> pl.DataFrame:
        return self.kernel(known)


def rows_of(records: pl.DataFrame) -> pl.DataFrame:
    """Lay the rows of records out, in order of time."""
    rows = in_utc(records.select(NUMBER, USER, ROWS).explode(ROWS).unnest(ROWS))
    return rows.sort(TIME, USER, ITEM, maintain_order=True).set_sorted(TIME)


def factors_of(
    records: pl.DataFrame, known: pl.DataFrame, widths: Mapping[str, int]
) -> dict[str, NDArray[np.float32]]:
    """Take the factors of the users of some rows, by signal, ascending by id."""
    users = known.select(USER).unique().sort(USER).join(records, on=USER, how="left", maintain_order="left")
    return {
        name: to_matrix(users[name], width)
        if name in users.columns
        else np.zeros((len(users), width), np.float32)
        for name, width in widths.items()
    }


def combined(found: DataFrame, how: Mapping[str, str]) -> pl.DataFrame:
    """Combine tables by kind and place, and bring the result to the driver."""
    ways: dict[str, Callable[[str], Column]] = {
        "sum": functions.sum,
        "min": functions.min,
        # The exact one, as everywhere.
        "median": functions.median,
        "last": lambda name: functions.max_by(name, functions.struct("time", "user")),
    }
    named = [ways[way](f"`{name}`" if way != "last" else name).alias(name) for name, way in how.items()]
    return collect(found.groupBy("kind", "place").agg(*named))


def _with_places(rows: DataFrame, kind: str, index: IdIndex) -> DataFrame:
    """Put places where ids were; -1 is unknown."""
    session: SparkSession = rows.sparkSession
    places = pl.DataFrame({"id": index.ids, "place": np.arange(len(index), dtype=np.int32)})
    known = session.createDataFrame(to_table(places)).withColumnRenamed("id", kind)
    joined = rows.join(functions.broadcast(known), kind, "left")
    return (
        joined.drop(kind).withColumn(kind, functions.coalesce("place", functions.lit(UNSEEN))).drop("place")
    )


def _by_number(records: DataFrame, count: int) -> DataFrame:
    """Lay records where joins by number find them, so that none moves again; in no more parts than have work."""
    told = records.sparkSession.conf.get("spark.sql.shuffle.partitions") or ""
    parts = math.ceil(count / USERS_AT_ONCE) or 1
    # Where Spark is left to choose, as on Databricks, it is a word.
    laid = (
        records.repartition(min(int(told), parts), NUMBER)
        if told.isdecimal()
        else records.repartition(NUMBER)
    )
    return laid.sortWithinPartitions(NUMBER)


def _number_users(rows: DataFrame, count: int) -> DataFrame:
    """Number users from 0: the same ones alike whatever machine failed, and in no machine's memory at once."""
    users = rows.select(USER).distinct()
    if count > _MOST_USERS:
        raise DataError(f"{count:,} users are more than ALS can number, {_MOST_USERS:,}")
    buckets = 1 + count // _USERS_A_BUCKET
    bucket = functions.pmod(functions.xxhash64(USER), functions.lit(buckets))
    users = users.withColumn("bucket", bucket)
    sizes = collect(users.groupBy("bucket").count()).sort("bucket")
    firsts = sizes.select("bucket", (pl.col("count").cum_sum() - pl.col("count")).alias("first"))
    starts = rows.sparkSession.createDataFrame(to_table(firsts))
    within = functions.row_number().over(Window.partitionBy("bucket").orderBy(USER))
    numbered = users.withColumn("within", within).join(functions.broadcast(starts), "bucket")
    return numbered.select(
        USER, (functions.col("first") + functions.col("within") - 1).cast("int").alias(NUMBER)
    )


def draw_records(records: DataFrame, share: float, seed: int) -> DataFrame:
    """Take the records of the users that `SparkLog.take_users` draws."""
    return records.filter(is_drawn(share, seed))
