"""Batches of a log's rows -> rows held against the rules of the local reader, by the local reader.

Executors have some rows at a time, and a rule may ask something of all of them: then it breaks off, the answer is
counted over the whole log, and the rows are held against the rules again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa
from pyspark.sql import Column, functions, types
from pyspark.sql.pandas.types import from_arrow_schema

from recsys.config import EventsSettings
from recsys.engines._spark._arrow import collect, to_batches, to_table
from recsys.engines._spark._files import NUMBER, Pieces, SparkFiles
from recsys.engines._spark._stored import signed
from recsys.events import (
    HIGH,
    LOW,
    Accepted,
    Roles,
    Source,
    accept_rows,
    columns_read,
    describe_refused,
    label_exposures,
)
from recsys.schema import REASONS, ROW

ROWS_AT_ONCE = 200_000
_WAYS: dict[str, Callable[[str], Column]] = {"total": functions.sum, LOW: functions.min, HIGH: functions.max}
_FIGURES = "figure string, total double, low double, high double"
Figures = dict[str, dict[str, Any]]


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
        """Give accepted rows, then `row` and `reasons` of broken ones; `reasons` is null in the others.

        Exposures are labelled; events are not, before they were folded.
        """
        found = self._hold(source)
        rows = found.rows if self.settings.folds else label_exposures(found.rows)
        rows = rows.with_columns(pl.lit(None, pl.String).alias(REASONS))
        return signed(pl.concat([rows, found.broken], how="diagonal"))

    def roles(self, source: Source) -> Roles:
        """Say what plays which role."""
        return self._hold(source).roles

    def ask(self, source: Source) -> UncountedError | None:
        """Say what must be counted before rows can be accepted."""
        try:
            self.accept(source)
        except UncountedError as asked:
            return asked
        return None

    def _hold(self, source: Source) -> Accepted:
        return accept_rows(replace(source, totals=Known(self.figures)), self.settings, self.as_of)


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


def gathered(batches: Iterable[pa.RecordBatch], rows_at_once: int = ROWS_AT_ONCE) -> Iterator[pa.Table]:
    """Put batches together: a few thousand rows cost hardly less than many."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(one.num_rows for one in held) >= rows_at_once:
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


def spark_schema(frame: pl.DataFrame) -> types.StructType:
    """Name the types in which Spark has a frame."""
    return from_arrow_schema(to_table(frame.clear()).schema)
