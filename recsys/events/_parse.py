"""Values as stored -> canonical types. What cannot be read becomes null; an unreadable number, NaN."""

from __future__ import annotations

import polars as pl

from recsys.config import EventsSettings
from recsys.errors import ConfigError
from recsys.events._roles import EVENT_TYPE, Roles
from recsys.schema import (
    CATEGORY,
    CREATOR,
    EARLIEST,
    HISTORY_ONLY,
    INSTANT,
    ITEM,
    LATEST,
    TIME,
    USER,
)

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}
_TEXT = (pl.String, pl.Categorical, pl.Enum, pl.Null)


def parse_columns(roles: Roles, settings: EventsSettings) -> pl.LazyFrame:
    """Read every role into its canonical type.

    Parameters
    ----------
    roles : Roles
    settings : EventsSettings

    Returns
    -------
    polars.LazyFrame
        Same rows and columns.

    Raises
    ------
    ConfigError
        When a column's type cannot play its role, or the unit of an epoch is in doubt.

    """
    stored = roles.rows.collect_schema()
    parsed = []
    for role, kind in stored.items():
        raw, looks = pl.col(role), roles.looks[role]
        if role in (USER, ITEM):
            parsed.append(_ids(raw, kind, looks, role))
        elif role == TIME:
            parsed.append(_instants(raw, kind, looks, role, roles.rows, settings))
        elif role in (CREATOR, CATEGORY, EVENT_TYPE):
            parsed.append(raw if kind.is_integer() else raw.cast(pl.String))
        elif role == HISTORY_ONLY:
            parsed.append((_numbers(raw, kind, role).fill_null(0.0).fill_nan(0.0) > 0).alias(role))
        else:
            parsed.append(_numbers(raw, kind, role))
    return roles.rows.with_columns(parsed)


def _ids(raw: pl.Expr, kind: pl.DataType, looks: pl.DataType, role: str) -> pl.Expr:
    if kind.is_integer():
        return raw
    if kind.is_float():
        whole = raw.is_finite() & (raw == raw.floor()) & (raw.abs() < 2.0**53)
        return pl.when(whole).then(raw).cast(pl.Int64)
    if kind not in _TEXT:
        raise ConfigError(f"ids are integers or strings, the column for {role!r} is {kind}")
    return raw.cast(pl.Int64, strict=False) if looks.is_integer() else raw.cast(pl.String)


def _numbers(raw: pl.Expr, kind: pl.DataType, role: str) -> pl.Expr:
    if kind == pl.Boolean or kind.is_numeric() or kind == pl.Null:
        return raw.cast(pl.Float64)
    if kind not in _TEXT:
        raise ConfigError(f"{role!r} must be a boolean or a number, its column is {kind}")
    text = raw.cast(pl.String).str.strip_chars().str.to_lowercase()
    words = pl.when(text == "true").then(1.0).when(text == "false").then(0.0)
    number = words.otherwise(text.cast(pl.Float64, strict=False))
    return pl.when(raw.is_not_null()).then(number.fill_null(float("nan"))).alias(role)


def _instants(
    raw: pl.Expr,
    kind: pl.DataType,
    looks: pl.DataType,
    role: str,
    rows: pl.LazyFrame,
    settings: EventsSettings,
) -> pl.Expr:
    if isinstance(kind, pl.Datetime):
        zoned = raw if kind.time_zone else raw.dt.replace_time_zone("UTC")
        return zoned.dt.convert_time_zone("UTC").cast(INSTANT)
    if kind == pl.Date:
        return raw.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if kind.is_numeric() or looks.is_numeric() or (kind == pl.String and settings.time_unit):
        number = raw.cast(pl.Float64, strict=False).fill_nan(None)
        unit = settings.time_unit or _detect_unit(rows.select(number), role)
        return _from_epoch(raw, kind, number, _PER_SECOND[unit])
    if kind not in _TEXT:
        raise ConfigError(f"{role!r} must be a datetime, an epoch or ISO 8601 text, its column is {kind}")
    text = raw.cast(pl.String).str.replace(r"(Z|[+-]00:?00)$", "")
    return text.str.to_datetime(strict=False, time_unit="us", time_zone="UTC", ambiguous="null")


def _from_epoch(raw: pl.Expr, kind: pl.DataType, number: pl.Expr, per_second: int) -> pl.Expr:
    # Clipped one year outside the plausible range, so that no product overflows and all stay refused.
    margin = 366 * 86_400
    low, high = (EARLIEST.timestamp() - margin) * per_second, (LATEST.timestamp() + margin) * per_second
    clipped = number.clip(low, high)
    whole = raw.cast(pl.Int64, strict=False) if not kind.is_float() else number
    exact = pl.when(number.is_between(low, high)).then(
        whole.cast(pl.Float64 if kind.is_float() else pl.Int64)
    )
    scale = 1_000_000 // per_second
    micros = (exact * scale).cast(pl.Int64).fill_null((clipped * scale).cast(pl.Int64))
    return micros.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _detect_unit(numbers: pl.LazyFrame, role: str) -> str:
    column = pl.all().drop_nulls()
    low, high = numbers.select(column.min().alias("low"), column.max().alias("high")).collect().row(0)
    if low is None:
        return "s"
    for unit, per_second in _PER_SECOND.items():
        if EARLIEST.timestamp() * per_second <= low and high <= LATEST.timestamp() * per_second:
            return unit
    raise ConfigError(
        f"the unit of {role!r} is in doubt (values from {low:.0f} to {high:.0f}): "
        "declare events.time_unit as 's', 'ms' or 'us'"
    )
