"""Tables across the border: Spark's batches <-> Polars frames."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from recsys.schema import INSTANT


def to_frame(batch: pa.RecordBatch | pa.Table) -> pl.DataFrame:
    """Take a batch of Spark's in."""
    frame = pl.from_arrow(batch)
    assert isinstance(frame, pl.DataFrame)
    return in_utc(frame)


def in_utc(frame: pl.DataFrame) -> pl.DataFrame:
    """Take instants as UTC, whatever zone the session shows them in."""
    zoned = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    return frame.with_columns(pl.col(name).dt.convert_time_zone("UTC").cast(INSTANT) for name in zoned)


def collect(rows: DataFrame) -> pl.DataFrame:
    """Bring rows to the driver."""
    return to_frame(rows.toArrow())


def to_batches(frame: pl.DataFrame) -> Iterator[pa.RecordBatch]:
    """Hand a frame to Spark, in the plain types that it knows."""
    yield from to_table(frame).to_batches()


def to_table(frame: pl.DataFrame) -> pa.Table:
    """Hand a frame of the driver to Spark."""
    table = frame.to_arrow()
    return table.cast(pa.schema([pa.field(field.name, _plain(field.type)) for field in table.schema]))


def map_batches(
    rows: DataFrame,
    apply: Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]],
    schema: Mapping[str, str],
) -> DataFrame:
    """Apply a function to the batches of each part of a table: `schema` has the types of what it gives, by name."""
    return rows.mapInArrow(_Settled(apply), ", ".join(f"`{name}` {kind}" for name, kind in schema.items()))


@dataclass(frozen=True)
class _Settled:
    """Apply a function in a worker that has everything imported."""

    apply: Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        _freeze_imports()
        return self.apply(batches)


@cache
def _freeze_imports() -> None:
    """Spare a worker's modules the collector, which Spark's daemon lets look at all there is after each task."""
    gc.collect()
    gc.freeze()


def to_matrix(lists: pl.Series, width: int) -> NDArray[np.float32]:
    """Take a column of lists as rows, shape (n, width); null is a row of zeros."""
    rows = np.zeros((len(lists), width), np.float32)
    told = lists.is_not_null().to_numpy()
    rows[told] = lists.drop_nulls().explode().to_numpy().reshape(-1, width)
    return rows


def in_pieces(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pl.DataFrame]:
    """Cut Spark's batches so that no piece has more rows."""
    for batch in batches:
        for start in range(0, batch.num_rows, size):
            yield to_frame(batch.slice(start, size))


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind
