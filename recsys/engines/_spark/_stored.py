"""Columns as a file stores them <-> as Spark carries them, without loss.

Times are carried as the integers that are stored, so that neither a session's time zone nor Spark's calendar nor its
precision touches them; the reader's own types are put back where the rows are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from pyspark.sql import types

from recsys.errors import DataError

#: UInt64 has no integer in Spark that holds it.
_LARGEST_DIGITS = 20
_LARGEST = 2**63 - 1
_PLAIN: dict[type[pl.DataType], types.DataType] = {
    pl.Boolean: types.BooleanType(),
    pl.Int8: types.ByteType(),
    pl.Int16: types.ShortType(),
    pl.Int32: types.IntegerType(),
    pl.Int64: types.LongType(),
    pl.UInt8: types.ShortType(),
    pl.UInt16: types.IntegerType(),
    pl.UInt32: types.LongType(),
    pl.UInt64: types.DecimalType(_LARGEST_DIGITS, 0),
    pl.Float32: types.FloatType(),
    pl.Float64: types.DoubleType(),
    pl.String: types.StringType(),
    pl.Categorical: types.StringType(),
    pl.Enum: types.StringType(),
    pl.Date: types.IntegerType(),
    pl.Datetime: types.LongType(),
    pl.Time: types.LongType(),
}
_UNSIGNED: dict[type[pl.DataType], type[pl.DataType]] = {
    pl.UInt8: pl.Int16,
    pl.UInt16: pl.Int32,
    pl.UInt32: pl.Int64,
    pl.UInt64: pl.Int64,
}


def carried_as(kind: pl.DataType) -> types.DataType | None:
    """Name the type in which Spark carries a stored one; None where it is not carried: nested, binary, all null."""
    if isinstance(kind, pl.Decimal):
        return types.DecimalType(kind.precision or 38, kind.scale)
    return _PLAIN.get(type(kind))


def carried(stored: pl.DataFrame) -> pl.DataFrame:
    """Turn columns as stored into what Spark carries."""
    temporal = [name for name, kind in stored.schema.items() if kind.is_temporal()]
    texts = [name for name, kind in stored.schema.items() if kind in (pl.Categorical, pl.Enum)]
    return stored.with_columns(pl.col(temporal).to_physical(), pl.col(texts).cast(pl.String))


def restored(carried: pl.DataFrame, stored: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Turn what Spark carries into columns as stored; those that are not carried are null."""
    columns = [
        pl.col(name).cast(kind) if name in carried.columns else pl.lit(None, kind).alias(name)
        for name, kind in stored.items()
    ]
    return carried.with_columns(columns)


def signed(frame: pl.DataFrame) -> pl.DataFrame:
    """Turn unsigned integers into signed ones that hold them, as Spark knows no others.

    Raises
    ------
    DataError
        Where an integer is 2^63 or more.

    """
    kinds = {name: _UNSIGNED.get(type(kind)) for name, kind in frame.schema.items()}
    for name, kind in frame.schema.items():
        if kind == pl.UInt64 and (frame[name] > _LARGEST).any():
            raise DataError(
                f"{name!r} holds integers of 2^63 and more, which Spark does not know: write strings"
            )
    return frame.with_columns(pl.col(name).cast(kind) for name, kind in kinds.items() if kind is not None)
