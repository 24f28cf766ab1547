"""Datetimes, dates, epochs and ISO 8601 text -> instants, and what lies before as_of."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

from recsys.errors import ConfigError
from recsys.events._totals import HIGH, LOW, Totals, count_here
from recsys.schema import EARLIEST, INSTANT, LATEST

TEXT = (pl.String, pl.Categorical, pl.Enum, pl.Null)
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}
# Anything further out is refused all the same; held here, no product of it overflows.
_LOW, _HIGH = EARLIEST - timedelta(days=366), LATEST + timedelta(days=366)
_ISO = (
    r"(?i)^\s*(\d{4}-\d{2}-\d{2})(?:(?:T|\s+)(\d{2}:\d{2})(:\d{2})?([.]\d{1,9})?)?"
    r"\s*(Z|UTC|[+-]\d{2}(?::?\d{2})?)?\s*$"
)


class _Role(NamedTuple):
    """A role that is a time."""

    key: str
    way_out: str


_TIME = _Role("time", "declare events.time_unit as 's', 'ms' or 'us'")
_CREATION = _Role(
    "item_created_at", "write it as an SQL expression that gives a datetime, or an epoch in one unit"
)


def rows_before(
    rows: pl.LazyFrame, time: str, unit: str | None, as_of: datetime | None, totals: Totals = count_here
) -> pl.LazyFrame:
    """Read the times of a log, and leave out what lies at or after as_of.

    Parameters
    ----------
    rows : polars.LazyFrame
    time : str
        The column that holds them; instants replace it.
    unit : str, optional
        Of an epoch. Without it, detected.
    as_of : datetime.datetime, optional
    totals : Totals

    Returns
    -------
    polars.LazyFrame
        Rows without a readable time stay, to be refused by name.

    Raises
    ------
    ConfigError
        When the column's type cannot be a time, or the unit of an epoch is in doubt.

    """
    rows = rows.with_columns(_instants(rows, time, _TIME, unit, as_of, totals).alias(time))
    return rows if as_of is None else rows.filter((pl.col(time) < as_of) | pl.col(time).is_null())


def read_creation(
    rows: pl.LazyFrame, created: str, as_of: datetime | None, totals: Totals = count_here
) -> pl.LazyFrame:
    """Read when items were created.

    Parameters
    ----------
    rows : polars.LazyFrame
        Those before as_of.
    created : str
        The column that holds it; instants replace it.
    as_of : datetime.datetime, optional
    totals : Totals

    Returns
    -------
    polars.LazyFrame
        Null is unknown: what cannot be read, or lies outside 1990 to 2100.

    Raises
    ------
    ConfigError
        As `rows_before`. The unit of an epoch is always detected: in a wrong one, every item would be of
        unknown age and nobody would be told.

    """
    found = _instants(rows, created, _CREATION, None, as_of, totals)
    known = pl.when(found.is_between(EARLIEST, LATEST, closed="left")).then(found)
    return rows.with_columns(known.alias(created))


def _instants(
    rows: pl.LazyFrame, column: str, role: _Role, unit: str | None, as_of: datetime | None, totals: Totals
) -> pl.Expr:
    raw, kind = pl.col(column), rows.collect_schema()[column]
    if isinstance(kind, pl.Datetime):
        zoned = raw.dt.convert_time_zone("UTC") if kind.time_zone else raw.dt.replace_time_zone("UTC")
        return zoned.clip(_LOW, _HIGH).cast(INSTANT)
    if kind == pl.Date:
        return raw.clip(_LOW.date(), _HIGH.date()).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if not kind.is_numeric() and kind not in TEXT:
        raise ConfigError(
            f"columns.{role.key} must be a datetime, an epoch or ISO 8601 text, its column is {kind}"
        )
    raw = raw if kind.is_numeric() else raw.cast(pl.String)
    number = _finite(raw)
    unit = unit or detect_unit(rows.select(known=raw.is_not_null(), number=number), as_of, role, totals)
    epoch = _from_epoch(raw, number, kind.is_float() or kind.is_decimal(), unit)
    return epoch if kind.is_numeric() else pl.coalesce(epoch, _from_iso(raw))


def _finite(raw: pl.Expr) -> pl.Expr:
    number = raw.cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)


def _from_epoch(raw: pl.Expr, number: pl.Expr, has_fraction: bool, unit: str) -> pl.Expr:
    per_second = _PER_SECOND[unit]
    low, high = _LOW.timestamp() * per_second, _HIGH.timestamp() * per_second
    scale = 1_000_000 // per_second
    micros = (number.clip(low, high) * scale).round().cast(pl.Int64)
    if not has_fraction:
        exact = raw.cast(pl.Int64, strict=False) * scale
        micros = pl.when(number.is_between(low, high)).then(pl.coalesce(exact, micros)).otherwise(micros)
    return micros.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _from_iso(text: pl.Expr) -> pl.Expr:
    parts = text.str.extract_groups(_ISO).struct
    day, minute, second, fraction, zone = (parts.field(str(group)) for group in range(1, 6))
    local = pl.concat_str(
        day, pl.lit("T"), minute.fill_null("00:00"), second.fill_null(":00"), fraction.fill_null("")
    ).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us")
    sign = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
    digits = zone.str.replace_all(r"\D", "").str.pad_end(4, "0").cast(pl.Int32, strict=False)
    minutes = sign * (digits // 100 * 60 + digits % 100)
    shift = pl.duration(minutes=minutes.fill_null(0))
    return (local - shift).dt.replace_time_zone("UTC")


def unit_of(rows: pl.LazyFrame, time: str) -> str | None:
    """Detect the unit of a column of times.

    Parameters
    ----------
    rows : polars.LazyFrame
    time : str

    Returns
    -------
    str or None
        None where it holds no epochs.

    Raises
    ------
    ConfigError
        When the unit is in doubt.

    """
    kind = rows.collect_schema()[time]
    if not kind.is_numeric() and kind not in TEXT:
        return None
    raw = pl.col(time) if kind.is_numeric() else pl.col(time).cast(pl.String)
    values = rows.select(known=raw.is_not_null(), number=_finite(raw))
    return (
        detect_unit(values, None, _TIME) if values.select(pl.col("number").count()).collect().item() else None
    )


def detect_unit(
    values: pl.LazyFrame, as_of: datetime | None, role: _Role, totals: Totals = count_here
) -> str:
    """Say whether epochs count seconds, milliseconds or microseconds.

    Parameters
    ----------
    values : polars.LazyFrame
        `number`, finite or null, and `known`: whether there was anything to read.
    as_of : datetime.datetime, optional
        Rows at or after it say nothing.
    role : _Role
        Its name in the message, and the way out.
    totals : Totals

    Returns
    -------
    str
        ``s``, ``ms`` or ``us``: the only unit in which any value is a plausible time.

    Raises
    ------
    ConfigError
        When there are several such units, or none.

    """
    number = pl.col("number")
    figures = {
        "known": pl.col("known").sum(),
        "numbers": number.count(),
        LOW: number.min(),
        HIGH: number.max(),
    }
    for unit in _PER_SECOND:
        figures |= {unit: _plausible(unit, LATEST), f"{unit} before": _plausible(unit, as_of or LATEST)}
    counts = totals(f"the unit of {role.key}", values, figures)
    units = [unit for unit in _PER_SECOND if counts[f"{unit} before"]]
    units = units or [unit for unit in _PER_SECOND if counts[unit]]
    if len(units) == 1:
        return units[0]
    if not units and 2 * counts["numbers"] <= counts["known"]:
        return "s"  # a few stray numbers among texts, to be refused
    raise ConfigError(
        f"the unit of columns.{role.key} is in doubt (values from {counts['low']:.0f} to "
        f"{counts['high']:.0f}): {role.way_out}"
    )


def _plausible(unit: str, end: datetime) -> pl.Expr:
    per_second = _PER_SECOND[unit]
    low, high = EARLIEST.timestamp() * per_second, end.timestamp() * per_second
    return pl.col("number").is_between(low, high, closed="left").sum()
