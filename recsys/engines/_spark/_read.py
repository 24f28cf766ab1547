"""A log in Spark: its rows held against the rules of the local reader, by the local reader."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession, Window, functions, types
from pyspark.sql.pandas.types import from_arrow_schema

from recsys.config import EventsSettings
from recsys.engines._spark._arrow import collect, to_batches, to_table
from recsys.engines._spark._failures import one_line
from recsys.engines._spark._files import FILE, NUMBER, PLACE, PLACES, Pieces, SparkFiles, open_files
from recsys.engines._spark._log import SparkLog
from recsys.engines._spark._stored import carried_as, signed
from recsys.errors import ConfigError
from recsys.events import (
    HIGH,
    KEY,
    LOW,
    ReadCounts,
    Roles,
    Source,
    accept_rows,
    check_share,
    chosen,
    columns_read,
    count_reasons,
    describe_refused,
    end_of,
    label_exposures,
    tell_positives,
)
from recsys.schema import FACTORS_ONLY, LIKED, REASONS, ROW, TIME, USER

_ROWS_AT_ONCE = 200_000
_WAYS: dict[str, Callable[[str], Column]] = {"total": functions.sum, LOW: functions.min, HIGH: functions.max}
_FIGURES = "figure string, total double, low double, high double"
Figures = dict[str, dict[str, Any]]


def read(
    settings: EventsSettings, as_of: datetime | None = None, session: SparkSession | None = None
) -> SparkLog:
    """Read the log that the settings describe, in Spark: the same rows as `recsys.events.read`.

    Parameters
    ----------
    settings : EventsSettings
    as_of : datetime.datetime, optional
        With a zone. Only rows before it are read. Default: just after the last row.
    session : pyspark.sql.SparkSession, optional
        Default: the one that is open.

    Returns
    -------
    SparkLog
        Its rows stay in Spark's memory or on its disks; refused ones, which are few, come to the driver.

    Raises
    ------
    RecsysError
        As `recsys.events.read`.

    Notes
    -----
    Each row is read, and refused, by the code that reads it locally, a batch after another. What a column means may
    depend on all rows (the unit of times, whether the strings of a CSV are numbers): such figures are counted
    first, once for each such question. Ids that are unsigned integers become signed.

    """
    if settings.layout == "event_log":
        raise ConfigError('layout = "event_log" needs model.engine = "local": Spark reads logs of exposures')
    session = session or SparkSession.active()
    files = open_files(str(chosen(settings, as_of)), session)
    with one_line(files.head.name):
        held = Held.of(files, settings, as_of)
        try:
            return _finish(held)
        finally:
            held.rows.unpersist()


def _finish(held: Held) -> SparkLog:
    settings, name = held.settings, held.files.head.name
    all_rows = _tally(held.rows, read=functions.count("*"), last=functions.max(TIME))
    refused = held.refused()
    check_share(all_rows["read"], refused, settings.max_refused, name, held.as_of)
    as_of = end_of(all_rows["last"]) if held.as_of is None else held.as_of.astimezone(UTC)
    rows = _without_repeated(held.rows.filter(functions.col(REASONS).isNull()).drop(REASONS)).persist()
    found = _count(rows, as_of - settings.settle)
    return SparkLog(
        rows=rows,
        refused=refused,
        as_of=as_of,
        signals=held.roles.signals,
        outcomes=held.roles.outcomes,
        positives_only=tell_positives(found["liked"], found["unliked"], name),
        counts=ReadCounts(
            read=all_rows["read"],
            refused=len(refused),
            duplicates=all_rows["read"] - len(refused) - found["unique"],
            unsettled=found["unique"] - found["settled"],
            folded=0,
            likes_without_view=0,
            accepted=found["settled"],
            reasons=count_reasons(refused),
        ),
        files=held.files.files,
        settle=settings.settle,
        negatives_kept=settings.negatives_kept,
    )


def _without_repeated(rows: DataFrame) -> DataFrame:
    """Keep of equal rows the one that comes first in the log; a user's rows end up in one place."""
    key = [name for name in KEY if name in rows.columns]
    before = Window.partitionBy(USER).orderBy(*key, ROW)
    same = [functions.lag(name).over(before).eqNullSafe(functions.col(name)) for name in key]
    repeats = functools.reduce(operator.and_, same)
    return rows.withColumn("repeats", repeats).filter(~functions.col("repeats")).drop("repeats", ROW)


def _count(rows: DataFrame, settled_before: datetime) -> dict[str, Any]:
    micros = (settled_before - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
    feeds_factors, liked = functions.col(FACTORS_ONLY), functions.col(LIKED)
    settled = feeds_factors | (functions.col(TIME) < functions.timestamp_micros(functions.lit(micros)))
    return _tally(
        rows,
        unique=functions.count("*"),
        settled=functions.count_if(settled),
        liked=functions.count_if(settled & liked),
        unliked=functions.count_if(settled & ~liked & ~feeds_factors),
    )


def _tally(rows: DataFrame, **figures: Column) -> dict[str, Any]:
    return collect(rows.agg(*(figure.alias(name) for name, figure in figures.items()))).row(0, named=True)


class UncountedError(Exception):
    """A question about the whole log that was not counted yet, and what it comes to for the rows at hand."""

    def __init__(self, name: str, counted: pl.DataFrame) -> None:
        super().__init__(name)
        self.name, self.counted = name, counted


@dataclass(frozen=True)
class Known:
    """The figures that were counted so far, as the rules ask for them."""

    figures: Figures

    def __call__(self, name: str, rows: pl.LazyFrame, figures: Mapping[str, pl.Expr]) -> dict[str, Any]:
        """Tell figures, or break off and say what the rows at hand add to them."""
        if name not in self.figures:
            raise UncountedError(name, rows.select(**figures).collect())
        return self.figures[name]


@dataclass(frozen=True)
class Rules:
    """How rows of a log are held against the rules, wherever they are."""

    settings: EventsSettings
    as_of: datetime | None
    figures: Figures

    def accept(self, source: Source) -> pl.DataFrame:
        """Give accepted rows, then `row` and `reasons` of broken ones; `reasons` is null in the others."""
        found = accept_rows(replace(source, totals=Known(self.figures)), self.settings, self.as_of)
        rows = label_exposures(found.rows).with_columns(pl.lit(None, pl.String).alias(REASONS))
        return signed(pl.concat([rows, found.broken], how="diagonal"))

    def roles(self, source: Source) -> Roles:
        """Say what plays which role."""
        return accept_rows(replace(source, totals=Known(self.figures)), self.settings, self.as_of).roles

    def ask(self, source: Source) -> UncountedError | None:
        """Say what must be counted before rows can be accepted."""
        try:
            self.accept(source)
        except UncountedError as asked:
            return asked
        return None


@dataclass(frozen=True)
class Accept:
    """Hold batches against the rules."""

    pieces: Pieces
    rules: Rules

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Turn batches as stored into batches of `Rules.accept`."""
        for table in gathered(batches):
            yield from to_batches(self.rules.accept(self.pieces.of(table)[0]))


@dataclass(frozen=True)
class Count:
    """Count, batch by batch, what the rules ask for."""

    pieces: Pieces
    rules: Rules

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Turn batches as stored into figures."""
        for table in gathered(batches):
            asked = self.rules.ask(self.pieces.of(table)[0])
            if asked is not None:
                row = asked.counted.row(0, named=True)
                values = pl.Series([row[figure] for figure in row], dtype=pl.Float64)
                yield from to_batches(
                    pl.DataFrame({"figure": list(row), "total": values, LOW: values, HIGH: values})
                )


@dataclass(frozen=True)
class Describe:
    """Write down the rows that were refused."""

    pieces: Pieces

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Turn batches as stored, each row with its `reasons`, into texts."""
        for table in gathered(batches):
            source, others = self.pieces.of(table)
            broken = others.select(pl.col(NUMBER).alias(ROW), REASONS)
            yield from to_batches(signed(describe_refused(source, broken)))


def gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Put batches together: a few thousand rows cost hardly less than many."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(one.num_rows for one in held) >= _ROWS_AT_ONCE:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)


def count_figures(files: SparkFiles, settings: EventsSettings, as_of: datetime | None) -> Figures:
    """Count whatever the rules ask of the whole log; which questions come depends on its columns alone."""
    figures: Figures = {}
    columns = columns_read(files.head, settings)
    while asked := Rules(settings, as_of, figures).ask(files.head):
        count = Count(files.pieces(columns), Rules(settings, as_of, figures))
        counted = files.rows(columns).mapInArrow(count, _FIGURES).groupBy("figure")
        found = collect(counted.agg(*(way(name).alias(name) for name, way in _WAYS.items())))
        figures = {**figures, asked.name: _merged(asked.counted, found)}
    return figures


def _merged(nothing: pl.DataFrame, found: pl.DataFrame) -> dict[str, Any]:
    """Take from each figure what it is, a total or a bound; of no rows at all, what nothing comes to."""
    merged = nothing.row(0, named=True)
    for row in found.iter_rows(named=True):
        figure = row["figure"]
        way = figure.rsplit(":", 1)[-1]
        value = row[way if way in (LOW, HIGH) else "total"]
        merged[figure] = int(value) if nothing.schema[figure].is_integer() else value
    return merged


@dataclass(frozen=True)
class Held:
    """Rows held against the rules, in Spark.

    Attributes
    ----------
    files : SparkFiles
    settings : EventsSettings
    as_of : datetime.datetime, optional
    rows : pyspark.sql.DataFrame
        As `Rules.accept` gives them; kept.
    roles : Roles

    """

    files: SparkFiles
    settings: EventsSettings
    as_of: datetime | None
    rows: DataFrame
    roles: Roles

    @classmethod
    def of(cls, files: SparkFiles, settings: EventsSettings, as_of: datetime | None) -> Held:
        """Hold all rows against the rules."""
        rules = Rules(settings, as_of, count_figures(files, settings, as_of))
        columns = columns_read(files.head, settings)
        schema = spark_schema(rules.accept(files.head))
        accepted = files.rows(columns).mapInArrow(Accept(files.pieces(columns), rules), schema)
        return cls(files, settings, as_of, accepted.persist(), rules.roles(files.head))

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
        one = [name for name in self.files.head.types if carried_as(self.files.head.types[name]) is not None][
            :1
        ]
        sizes = pl.DataFrame(schema={FILE: pl.Int32, "count": pl.Int64})
        if len(self.files.files) > 1:
            sizes = collect(self.files.rows(one).groupBy(FILE).count()).sort(FILE)
        before = sizes.select(pl.col(FILE).cast(pl.Int64), first=pl.col("count").cum_sum() - pl.col("count"))
        file = (pl.col(ROW) // PLACES).alias(FILE)
        found = refused.with_columns(file).join(before, on=FILE, how="left")
        position = (pl.col("first").fill_null(0) + pl.col(ROW) % PLACES).cast(pl.get_index_type())
        return found.with_columns(position.alias(ROW)).select(refused.columns).sort(ROW)


def spark_schema(frame: pl.DataFrame) -> types.StructType:
    """Name the types in which Spark has a frame."""
    return from_arrow_schema(to_table(frame.clear()).schema)
