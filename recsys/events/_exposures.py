"""Unique rows -> labelled exposures, and the figures of a log that every engine counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from recsys.config import EventsSettings
from recsys.errors import ConfigError, DataError, nearest
from recsys.events._accept import label_exposures
from recsys.events._fold import fold_events
from recsys.events._refuse import count_reasons
from recsys.events._roles import LIKE, VIEW

#: So many event types are looked at for the one that was meant.
MOST_TYPES = 20


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
    folded : int
        Event log only: events that became a mark on a view, or nothing (types that no role asks for).
    likes_without_view : int
        Event log only: accepted, they feed factors and nothing else.
    accepted : int
        Rows of the exposure table.
    reasons : dict of str to int
        Refused rows by broken rule; a row may break several.

    """

    read: int
    refused: int
    duplicates: int
    unsettled: int
    folded: int
    likes_without_view: int
    accepted: int
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Tally:
    """Sums over the rows of a log, counted wherever these lie.

    Attributes
    ----------
    unique : int
        Accepted rows, of those that repeat a key the first.
    views : int
        Those of them that are exposures: all, but in an event log.
    exposures : int
        What they came to.
    settled : int
        Exposures old enough for their like to have arrived; the rest counts these only.
    liked : int
    unliked : int
        Known not to be liked.
    factors_only : int

    """

    unique: int
    views: int
    exposures: int
    settled: int
    liked: int
    unliked: int
    factors_only: int


def expose(rows: pl.DataFrame, settings: EventsSettings, numbers: tuple[str, ...]) -> pl.DataFrame:
    """Make labelled exposures of all rows of some users.

    Parameters
    ----------
    rows : polars.DataFrame
        Accepted, no key twice.
    settings : EventsSettings
    numbers : tuple of str
        As `fold_events` takes them.

    Returns
    -------
    polars.DataFrame
        With `row`, where each lies in the log.

    """
    return label_exposures(fold_events(rows, settings, numbers) if settings.folds else rows)


def require_views(views: int, name_types: Callable[[], list[str]], settings: EventsSettings) -> None:
    """Refuse an event log without a view.

    Parameters
    ----------
    views : int
        In the whole log.
    name_types : callable
        Gives the first `MOST_TYPES` types that are there, sorted.
    settings : EventsSettings

    Raises
    ------
    ConfigError
        The nearest event type is named.

    """
    types = settings.event_types[VIEW] if settings.folds else ()
    if types and not views:
        raise ConfigError(
            f"no event has the type {types[0]!r} of event_types.view: {nearest(types[0], name_types())}"
        )


def count_rows(read: int, refused: pl.DataFrame, tally: Tally, settings: EventsSettings) -> ReadCounts:
    """Say what became of the rows of a log.

    Parameters
    ----------
    read : int
    refused : polars.DataFrame
    tally : Tally
    settings : EventsSettings

    Returns
    -------
    ReadCounts

    """
    alone = tally.factors_only if settings.folds and settings.event_types.get(LIKE) else 0
    twice = tally.views - (tally.exposures - alone)
    return ReadCounts(
        read=read,
        refused=len(refused),
        duplicates=read - len(refused) - tally.unique + twice,
        unsettled=tally.exposures - tally.settled,
        folded=tally.unique - twice - tally.exposures,
        likes_without_view=alone,
        accepted=tally.settled,
        reasons=count_reasons(refused),
    )


def tell_positives(tally: Tally, name: str) -> bool:
    """Say whether a log holds likes only, and refuse one that holds none.

    Parameters
    ----------
    tally : Tally
    name : str
        The log's name in messages.

    Returns
    -------
    bool

    Raises
    ------
    DataError

    """
    if not tally.liked:
        raise DataError(
            f"no row of {name!r} is liked: check columns.like, or event_types.like for an event log"
        )
    return not tally.unliked
