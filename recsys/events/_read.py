"""From an opened source to an EventLog: rules, as-of, duplicates, labels."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dataframely as dy
import polars as pl

from recsys.config import EventsSettings, build_settings
from recsys.errors import ConfigError, DataError, RefusedRowsError, UsageError
from recsys.events._fold import first_of_each, fold_events
from recsys.events._parse import parse_columns, parse_text_ids
from recsys.events._roles import EVENT_TYPE, LIKE, VIEW, Roles, collect, resolve_roles
from recsys.events._sources import Source, open_source
from recsys.schema import (
    FACTORS_ONLY,
    HISTORY_ONLY,
    ITEM,
    LIKED,
    REASONS,
    ROW,
    TIME,
    USER,
    candidate_schema,
)

_KEY = (USER, ITEM, TIME, EVENT_TYPE)
_WRITABLE = (datetime(1700, 1, 1), datetime(2200, 1, 1))
_NOT_TEXT = (pl.Object, pl.Binary, pl.Duration)


@dataclass(frozen=True)
class ReadCounts:
    """What became of the rows before as_of.

    Attributes
    ----------
    read : int
        Rows before as_of, and rows without a readable time.
    refused : int
        Rows that broke a rule.
    duplicates : int
        Rows with the user, item and time (and event type) of an earlier one: dropped, outside
        `max_refused`.
    unsettled : int
        Exposures too young for their like to have arrived (`settle`).
    likes_without_view : int
        Event log only: they feed factors and nothing else.
    accepted : int
        Rows of the exposure table.
    reasons : dict of str to int
        Refused rows by broken rule; a row may break several.

    """

    read: int
    refused: int
    duplicates: int
    unsettled: int
    likes_without_view: int
    accepted: int
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class EventLog:
    """Accepted exposures and refused rows, everything before `as_of`.

    Attributes
    ----------
    exposures : polars.DataFrame
        `user_id`, `item_id` as given; `timestamp` (UTC, microseconds); `liked` (boolean); signals and
        outcomes (float64, null is unknown); `history_only`, `factors_only` (boolean); and what else
        the log offers of `dwell_seconds`, `creator_id`, `category`. For an event log also ``<name>_at``:
        when a like or outcome arrived.
    refused : polars.DataFrame
        `row` (position in the input, from 0), `reasons`, and the columns of the input as text, without
        nested and binary ones. Where the input has a `row` or `reasons` of its own, it is `row_` or `reasons_`.
    as_of : datetime.datetime
        Nothing at or after it was read.
    signals, outcomes : tuple of str
    positives_only : bool
        No exposure without a like is known: no probability can be.
    counts : ReadCounts
    files : tuple of str
        What was read; empty for a frame in memory.

    """

    exposures: pl.DataFrame
    refused: pl.DataFrame
    as_of: datetime
    signals: tuple[str, ...]
    outcomes: tuple[str, ...]
    positives_only: bool
    counts: ReadCounts
    files: tuple[str, ...] = ()


def read_events(
    events: Any,
    *,
    as_of: datetime | None = None,
    like: str | None = None,
    **settings: Any,
) -> EventLog:
    """Read a log in one line.

    Parameters
    ----------
    events : path-like or polars or pandas frame
    as_of : datetime.datetime, optional
        Only rows before it are read. Default: the end of the log.
    like : str, optional
        Column or SQL expression of the like. Short for ``columns={"like": ...}``.
    **settings
        Any key of the `[events]` section.

    Returns
    -------
    EventLog

    Raises
    ------
    RecsysError
        See `read`.

    Examples
    --------
    >>> import polars as pl
    >>> log = read_events(pl.DataFrame({
    ...     "user_id": [1, 1, 2], "item_id": ["a", "b", "a"], "rating": [5, 3, None],
    ...     "timestamp": [1_700_000_000, 1_700_000_060, 1_700_000_120],
    ... }), like="rating >= 4", max_refused=0.5)
    >>> log.exposures["liked"].to_list(), log.refused["reasons"].to_list()
    ([True, False], ['liked_missing'])

    """
    if like is not None:
        settings["columns"] = {**settings.get("columns", {}), "like": like}
    return read(build_settings({"events": settings}).events, as_of, events)


def read(settings: EventsSettings, as_of: datetime | None = None, events: Any = None) -> EventLog:
    """Read the log that the settings describe.

    Parameters
    ----------
    settings : EventsSettings
    as_of : datetime.datetime, optional
        With a zone. Only rows before it are read. Default: just after the last row.
    events : path-like or polars or pandas frame, optional
        Read instead of `settings.path`.

    Returns
    -------
    EventLog

    Raises
    ------
    InputError
        The log is missing or unreadable.
    ConfigError
        A column is missing or misspelt, or a unit is in doubt.
    DataError
        The log is empty, more than `max_refused` of it was refused, or it holds no like at all.

    """
    if as_of is not None and as_of.tzinfo is None:
        raise UsageError(f"as_of needs its zone, as in {as_of.isoformat()}Z")
    source = open_source(_chosen(events, settings))
    roles = resolve_roles(source, settings, as_of)
    parsed = parse_text_ids(collect(parse_columns(roles), source), roles)
    accepted, broken = _apply_rules(parsed, roles)
    refused = _describe_refused(source, broken)
    _check_share(len(parsed), refused, settings.max_refused, f"{source.name!r}{_until(as_of)}")
    unique = first_of_each(accepted, [name for name in _KEY if name in accepted.columns])
    as_of = _end_of(unique) if as_of is None else as_of.astimezone(UTC)
    exposures = _label(unique, roles, settings)
    settled = exposures.filter(pl.col(FACTORS_ONLY) | (pl.col(TIME) < as_of - settings.settle))
    return EventLog(
        exposures=settled.drop(ROW),
        refused=refused,
        as_of=as_of,
        signals=roles.signals,
        outcomes=roles.outcomes,
        positives_only=_positives_only(settled, source.name),
        counts=ReadCounts(
            read=len(parsed),
            refused=len(refused),
            duplicates=len(accepted) - len(unique) + _views_twice(unique, exposures, settings),
            unsettled=len(exposures) - len(settled),
            likes_without_view=_likes_without_view(settled, settings),
            accepted=len(settled),
            reasons=_count_reasons(refused),
        ),
        files=tuple(str(file) for file in source.files),
    )


def _chosen(events: Any, settings: EventsSettings) -> Any:
    events = settings.path if events is None else events
    if events is None:
        raise ConfigError("events.path is not set: write it into recsys.toml or give --events PATH")
    return events


def _apply_rules(parsed: pl.DataFrame, roles: Roles) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split into accepted rows, and (row, reasons) of the others."""
    numbers = [name for name in roles.numbers if name in parsed.columns]
    schema = candidate_schema(numbers, LIKED in parsed.columns)
    if EVENT_TYPE in parsed.columns:
        present = dy.rule()(lambda _: pl.col(EVENT_TYPE).is_not_null())
        schema = type("Events", (schema,), {EVENT_TYPE: dy.Any(), "event_type_missing": present})
    _, failure = schema.filter(parsed.select(schema.column_names()))
    rules = list(failure.counts())
    if not rules:
        return parsed, pl.DataFrame(schema={ROW: parsed.schema[ROW], REASONS: pl.String})
    reasons = [pl.when(pl.col(rule) == "invalid").then(pl.lit(rule)) for rule in rules]
    broken = failure.details().select(
        ROW, pl.concat_str(reasons, separator=", ", ignore_nulls=True).alias(REASONS)
    )
    return parsed.join(broken, on=ROW, how="anti", maintain_order="left"), broken


def _count_reasons(refused: pl.DataFrame) -> dict[str, int]:
    reasons = refused[REASONS].str.split(", ").explode().drop_nulls().value_counts().sort(REASONS)
    return dict(zip(reasons[REASONS], reasons["count"], strict=True))


def _describe_refused(source: Source, broken: pl.DataFrame) -> pl.DataFrame:
    """Read the refused rows again, as they were written."""
    row, reasons = source.private(ROW), source.private(REASONS)
    wanted = broken.lazy().rename({ROW: row, REASONS: reasons})
    rows = source.rows.with_row_index(row) if len(broken) else source.rows.head(0).with_row_index(row)
    texts = [
        _as_written(name, kind).alias(_apart(name, source.types) if name in (ROW, REASONS) else name)
        for name, kind in source.types.items()
        if not kind.is_nested() and kind not in _NOT_TEXT
    ]
    again = rows.join(wanted, on=row, how="inner", maintain_order="left")
    return collect(again.select(pl.col(row).alias(ROW), pl.col(reasons).alias(REASONS), *texts), source)


def _apart(name: str, taken: Container[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _as_written(name: str, kind: pl.DataType) -> pl.Expr:
    raw = pl.col(name)
    if kind != pl.Date and kind != pl.Datetime:
        return raw.cast(pl.String)
    # Polars panics when it writes a year of more than a few digits.
    low, high = (pl.lit(bound).cast(kind) for bound in _WRITABLE)
    writable = pl.when(raw.is_between(low, high)).then(raw.clip(low, high).cast(pl.String))
    return writable.otherwise(raw.to_physical().cast(pl.String))


def _until(as_of: datetime | None) -> str:
    return "" if as_of is None else f" before as_of = {as_of.isoformat()}"


def _check_share(read: int, refused: pl.DataFrame, max_refused: float, what: str) -> None:
    if read == 0:
        raise DataError(f"there are no rows in {what}: check the log, its time column and as_of")
    if len(refused) <= max_refused * read and len(refused) < read:
        return
    reason, count = max(_count_reasons(refused).items(), key=lambda item: item[1])
    share = f"above events.max_refused = {max_refused:g}" if len(refused) < read else "nothing is left"
    raise RefusedRowsError(
        f"{len(refused):,} of {read:,} rows of {what} are refused, {share}; most often {reason} "
        f"({count:,}): see `recsys check --output DIR`",
        refused,
    )


def _end_of(rows: pl.DataFrame) -> datetime:
    last: datetime = rows.select(pl.col(TIME).max()).item()
    return last + timedelta(microseconds=1)


def _label(rows: pl.DataFrame, roles: Roles, settings: EventsSettings) -> pl.DataFrame:
    """Give every row its like and the flags that say what it may feed."""
    if settings.layout == "event_log":
        rows = fold_events(rows, settings, roles)
    has_like = LIKED in rows.columns
    if not has_like:
        rows = rows.with_columns(pl.lit(1.0).alias(LIKED), pl.lit(True).alias(FACTORS_ONLY))
    absent = [pl.lit(False).alias(name) for name in (HISTORY_ONLY, FACTORS_ONLY) if name not in rows.columns]
    return rows.with_columns(pl.col(LIKED) == 1.0, *absent)


def _views_twice(events: pl.DataFrame, exposures: pl.DataFrame, settings: EventsSettings) -> int:
    if settings.layout != "event_log":
        return 0
    views = events.filter(pl.col(EVENT_TYPE).is_in(settings.event_types[VIEW]))
    return len(views) - int(exposures[ROW].is_in(views[ROW].implode()).sum())


def _likes_without_view(exposures: pl.DataFrame, settings: EventsSettings) -> int:
    from_events = settings.layout == "event_log" and bool(settings.event_types.get(LIKE))
    return int(exposures[FACTORS_ONLY].sum()) if from_events else 0


def _positives_only(exposures: pl.DataFrame, name: str) -> bool:
    if not exposures[LIKED].any():
        raise DataError(
            f"no row of {name!r} is liked: check columns.like, or event_types.like for an event log"
        )
    return not (~exposures[LIKED] & ~exposures[FACTORS_ONLY]).any()
