"""From an opened source to an EventLog: rules, as-of, duplicates, labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from recsys.config import EventsSettings, build_settings
from recsys.errors import ConfigError, UsageError
from recsys.events._accept import accept_rows
from recsys.events._exposures import (
    MOST_TYPES,
    ReadCounts,
    Tally,
    count_rows,
    expose,
    require_views,
    tell_positives,
)
from recsys.events._fold import first_of_each
from recsys.events._refuse import check_share, describe_refused
from recsys.events._roles import EVENT_TYPE, VIEW
from recsys.events._sources import open_source, reading, undisturbed
from recsys.schema import (
    FACTORS_ONLY,
    HISTORY_ONLY,
    ITEM,
    LIKED,
    ROW,
    TIME,
    USER,
    arrived,
)

#: Rows with all of these equal are one.
KEY = (USER, ITEM, TIME, EVENT_TYPE)


@dataclass(frozen=True)
class EventLog:
    """Accepted exposures and refused rows, everything before `as_of`.

    Attributes
    ----------
    exposures : polars.DataFrame
        `user_id`, `item_id` as given; `timestamp` (UTC, microseconds); `liked` (boolean); signals and
        outcomes (float64, null is unknown); `history_only`, `factors_only` (boolean); and what else
        the log offers of `dwell_seconds`, `creator_id`, `category`, `item_created_at` (UTC, microseconds, as
        told, even if later than the exposure; null is unknown), `is_random` (boolean; false where unknown),
        `session_id` (as given; null is unknown) and groups, ``group_<name>`` (strings,
        null is unknown). For an event log also ``<name>_at``:
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
    settle : datetime.timedelta
        How long a like may take: at any cut, younger exposures say nothing yet.
    unsettled : polars.DataFrame or None
        Exposures too young at as_of; columns of `exposures`.
    negatives_kept : float
        Share of the unliked exposures that the log kept.

    """

    exposures: pl.DataFrame
    refused: pl.DataFrame
    as_of: datetime
    signals: tuple[str, ...]
    outcomes: tuple[str, ...]
    positives_only: bool
    counts: ReadCounts
    files: tuple[str, ...] = ()
    settle: timedelta = timedelta(0)
    unsettled: pl.DataFrame | None = None
    negatives_kept: float = 1.0

    @property
    def shown(self) -> pl.DataFrame:
        """Every exposure before as_of, settled or not: what a user has seen."""
        return self.exposures if self.unsettled is None else pl.concat([self.exposures, self.unsettled])

    def only(self, *names: str) -> EventLog:
        """Keep some columns, when what they say arrived, and what says which rows feed what.

        Parameters
        ----------
        *names : str
            Those that the log has not are passed over.

        Returns
        -------
        EventLog

        """
        wanted = {*names, *(arrived(name) for name in names), HISTORY_ONLY, FACTORS_ONLY}
        kept = [name for name in self.exposures.columns if name in wanted]
        unsettled = None if self.unsettled is None else self.unsettled.select(kept)
        return replace(self, exposures=self.exposures.select(kept), unsettled=unsettled)


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
    source = open_source(chosen(settings, as_of, events))
    with undisturbed(source.files):
        accepted = accept_rows(source, settings, as_of)
        with reading(source.name):
            refused = describe_refused(source, accepted.broken)
    check_share(accepted.read, refused, settings.max_refused, source.name, as_of)
    unique = first_of_each(accepted.rows, [name for name in KEY if name in accepted.rows.columns])
    as_of = end_of(unique[TIME].max()) if as_of is None else as_of.astimezone(UTC)
    roles = accepted.roles
    views = _count_views(unique, settings)
    require_views(views, lambda: unique[EVENT_TYPE].unique().sort().head(MOST_TYPES).to_list(), settings)
    exposures = expose(unique, settings, roles.numbers)
    is_settled = pl.col(FACTORS_ONLY) | (pl.col(TIME) < as_of - settings.settle)
    settled = exposures.filter(is_settled)
    tally = _tally(len(unique), views, len(exposures), settled)
    return EventLog(
        exposures=settled.drop(ROW),
        refused=refused,
        as_of=as_of,
        signals=roles.signals,
        outcomes=roles.outcomes,
        positives_only=tell_positives(tally, source.name),
        counts=count_rows(accepted.read, refused, tally, settings),
        files=tuple(str(file) for file in source.files),
        settle=settings.settle,
        unsettled=exposures.filter(~is_settled).drop(ROW),
        negatives_kept=settings.negatives_kept,
    )


def _count_views(unique: pl.DataFrame, settings: EventsSettings) -> int:
    if not settings.folds:
        return len(unique)
    return int(unique[EVENT_TYPE].is_in(settings.event_types[VIEW]).sum())


def _tally(unique: int, views: int, exposures: int, settled: pl.DataFrame) -> Tally:
    liked, factors_only = settled[LIKED], settled[FACTORS_ONLY]
    return Tally(
        unique=unique,
        views=views,
        exposures=exposures,
        settled=len(settled),
        liked=int(liked.sum()),
        unliked=int((~liked & ~factors_only).sum()),
        factors_only=int(factors_only.sum()),
    )


def chosen(settings: EventsSettings, as_of: datetime | None = None, events: Any = None) -> Any:
    """Choose the log to read, and hold as_of to having a zone."""
    if as_of is not None and as_of.tzinfo is None:
        raise UsageError(f"as_of needs its zone, as in {as_of.isoformat()}Z")
    events = settings.path if events is None else events
    if events is None:
        raise ConfigError("events.path is not set: write it into recsys.toml or give --events PATH")
    return events


def end_of(last: Any) -> datetime:
    """Say when a log ends whose last row is at an instant: just after it."""
    end: datetime = last + timedelta(microseconds=1)
    return end
