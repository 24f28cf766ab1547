"""Settings -> a log in Spark: what is accepted of its files, and what was refused, with reasons."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from pyspark.sql import Column, DataFrame, SparkSession, Window, functions

from recsys.config import EventsSettings
from recsys.engines._spark._arrow import collect, to_table
from recsys.engines._spark._failures import one_line
from recsys.engines._spark._files import FILE, PLACE, PLACES, SparkFiles, find_files, open_url
from recsys.engines._spark._fold import Fold, fold
from recsys.engines._spark._log import SparkLog
from recsys.engines._spark._rules import Accept, Describe, Rules, count_figures, spark_schema
from recsys.engines._spark._stored import carried_as, signed
from recsys.events import (
    EVENT_TYPE,
    KEY,
    MOST_TYPES,
    VIEW,
    Roles,
    Tally,
    check_share,
    chosen,
    columns_read,
    count_rows,
    describe_refused,
    end_of,
    require_views,
    tell_positives,
)
from recsys.schema import FACTORS_ONLY, LIKED, REASONS, ROW, TIME, USER


def read(
    settings: EventsSettings,
    as_of: datetime | None = None,
    open_session: Callable[[], SparkSession] = SparkSession.active,
) -> SparkLog:
    """Read the log that the settings describe, in Spark: the same rows as `recsys.events.read`.

    Parameters
    ----------
    settings : EventsSettings
    as_of : datetime.datetime, optional
        With a zone. Only rows before it are read. Default: just after the last row.
    open_session : callable
        Gives the session. Default: the one that is open.

    Returns
    -------
    SparkLog
        Its rows stay in Spark's memory or on its disks; refused ones, which are few, come to the driver.

    Raises
    ------
    RecsysError
        As `recsys.events.read`; of a log on this machine, what its columns tell before Spark is opened.

    Notes
    -----
    Each row is read, and refused, by the code that reads it locally, a batch after another. What a column means may
    depend on all rows (the unit of times, whether the strings of a CSV are numbers): such figures are counted
    first, once for each such question. Events are folded in the same way, all of some users at a time. Ids that are
    unsigned integers become signed.

    """
    files = _open(settings, as_of, open_session)
    with one_line(files.head.name):
        held = Held.of(files, settings, as_of)
        try:
            return _finish(held)
        finally:
            held.release()


def _open(
    settings: EventsSettings, as_of: datetime | None, open_session: Callable[[], SparkSession]
) -> SparkFiles:
    path = str(chosen(settings, as_of))
    if "://" in path:
        return open_url(path, open_session())
    found = find_files(path)
    Rules(settings, as_of, {}).ask(found.head)
    return SparkFiles(found.head, open_session(), found.kind, found.files)


def _finish(held: Held) -> SparkLog:
    settings, name = held.settings, held.files.head.name
    all_rows = _tally(held.rows, read=functions.count("*"), last=functions.max(TIME))
    refused = held.refused()
    check_share(all_rows["read"], refused, settings.max_refused, name, held.as_of)
    as_of = end_of(all_rows["last"]) if held.as_of is None else held.as_of.astimezone(UTC)
    unique = _without_repeated(held.rows.filter(functions.col(REASONS).isNull()).drop(REASONS))
    rows, events = _fold(held, unique) if settings.folds else (unique.drop(ROW), {})
    rows = rows.persist()
    found = _count(rows, as_of - settings.settle)
    tally = Tally(**{"unique": found["exposures"], "views": found["exposures"], **events, **found})
    return SparkLog(
        rows=rows,
        refused=refused,
        as_of=as_of,
        signals=held.roles.signals,
        outcomes=held.roles.outcomes,
        positives_only=tell_positives(tally, name),
        counts=count_rows(all_rows["read"], refused, tally, settings),
        files=held.files.files,
        settle=settings.settle,
        negatives_kept=settings.negatives_kept,
    )


def _fold(held: Held, unique: DataFrame) -> tuple[DataFrame, dict[str, int]]:
    """Make exposures of events, and count these."""
    events, settings = held.keep(unique), held.settings
    is_view = functions.col(EVENT_TYPE).isin(*settings.event_types[VIEW])
    counted = _tally(events, unique=functions.count("*"), views=functions.count_if(is_view))
    types = events.select(EVENT_TYPE).distinct().orderBy(EVENT_TYPE).limit(MOST_TYPES)
    require_views(counted["views"], lambda: collect(types)[EVENT_TYPE].to_list(), settings)
    return fold(events, held.empty.drop(REASONS), Fold(settings, held.roles.numbers)), counted


def _without_repeated(rows: DataFrame) -> DataFrame:
    """Keep of equal rows the one that comes first in the log; a user's end up in one part, one after the other."""
    key = [name for name in KEY if name in rows.columns]
    before = Window.partitionBy(USER).orderBy(*key, ROW)
    same = [functions.lag(name).over(before).eqNullSafe(functions.col(name)) for name in key]
    repeats = functools.reduce(operator.and_, same)
    return rows.withColumn("repeats", repeats).filter(~functions.col("repeats")).drop("repeats")


def _count(rows: DataFrame, settled_before: datetime) -> dict[str, Any]:
    micros = (settled_before - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
    feeds_factors, liked = functions.col(FACTORS_ONLY), functions.col(LIKED)
    settled = feeds_factors | (functions.col(TIME) < functions.timestamp_micros(functions.lit(micros)))
    return _tally(
        rows,
        exposures=functions.count("*"),
        settled=functions.count_if(settled),
        liked=functions.count_if(settled & liked),
        unliked=functions.count_if(settled & ~liked & ~feeds_factors),
        factors_only=functions.count_if(feeds_factors),
    )


def _tally(rows: DataFrame, **figures: Column) -> dict[str, Any]:
    return collect(rows.agg(*(figure.alias(name) for name, figure in figures.items()))).row(0, named=True)


@dataclass(frozen=True)
class Held:
    """Rows held against the rules, in Spark.

    Attributes
    ----------
    files : SparkFiles
    settings : EventsSettings
    as_of : datetime.datetime, optional
    rows : pyspark.sql.DataFrame
        As `Rules.accept` gives them.
    empty : polars.DataFrame
        Their columns, without a row.
    roles : Roles
    kept : list of pyspark.sql.DataFrame
        What Spark keeps until these rows are read: they, and more.

    """

    files: SparkFiles
    settings: EventsSettings
    as_of: datetime | None
    rows: DataFrame
    empty: pl.DataFrame
    roles: Roles
    kept: list[DataFrame] = field(default_factory=list)

    @classmethod
    def of(cls, files: SparkFiles, settings: EventsSettings, as_of: datetime | None) -> Held:
        """Hold all rows against the rules."""
        rules = Rules(settings, as_of, count_figures(files, settings, as_of))
        columns = columns_read(files.head, settings)
        empty = rules.accept(files.head)
        accepted = files.rows(columns).mapInArrow(Accept(files.pieces(columns), rules), spark_schema(empty))
        held = cls(files, settings, as_of, accepted, empty, rules.roles(files.head))
        held.keep(accepted)
        return held

    def keep(self, rows: DataFrame) -> DataFrame:
        """Let Spark keep rows that are asked for more than once."""
        self.kept.append(rows.persist())
        return rows

    def release(self) -> None:
        """Let it forget them."""
        for rows in self.kept:
            rows.unpersist()

    def refused(self) -> pl.DataFrame:
        """Bring the refused rows to the driver, as they were written."""
        broken = collect(self.rows.filter(functions.col(REASONS).isNotNull()).select(ROW, REASONS))
        if broken.is_empty():
            return describe_refused(self.files.head, broken)
        wanted = self.files.session.createDataFrame(to_table(broken))
        columns = frozenset(self.files.head.types)
        stored = self.files.rows(columns)
        number = functions.col(FILE).cast("long") * PLACES + functions.col(PLACE)
        again = stored.join(functions.broadcast(wanted), number == functions.col(ROW)).drop(ROW)
        schema = spark_schema(signed(describe_refused(self.files.head, broken.clear())))
        found = collect(again.mapInArrow(Describe(self.files.pieces(columns)), schema))
        return self._by_position(found)

    def _by_position(self, refused: pl.DataFrame) -> pl.DataFrame:
        """Number rows as if all files were one."""
        carried = [name for name, kind in self.files.head.types.items() if carried_as(kind) is not None]
        sizes = pl.DataFrame(schema={FILE: pl.Int32, "count": pl.Int64})
        if len(self.files.files) > 1:
            sizes = collect(self.files.rows(carried[:1]).groupBy(FILE).count()).sort(FILE)
        before = sizes.select(pl.col(FILE).cast(pl.Int64), first=pl.col("count").cum_sum() - pl.col("count"))
        file = (pl.col(ROW) // PLACES).alias(FILE)
        found = refused.with_columns(file).join(before, on=FILE, how="left")
        position = (pl.col("first").fill_null(0) + pl.col(ROW) % PLACES).cast(pl.get_index_type())
        return found.with_columns(position.alias(ROW)).select(refused.columns).sort(ROW)
