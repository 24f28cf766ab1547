"""One row per event -> one row per exposure."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from recsys.config import EventsSettings
from recsys.errors import ConfigError
from recsys.events._roles import EVENT_TYPE, Roles
from recsys.schema import FACTORS_ONLY, ITEM, LIKED, ROW, TIME, USER, arrived

_PAIR = [USER, ITEM]
_VIEW, _LIKE = "view", "like"


def event_names(settings: EventsSettings, roles: Roles) -> dict[str, tuple[str, ...]]:
    """Say which event types become which column: the like, and the declared signals and outcomes.

    Parameters
    ----------
    settings : EventsSettings
    roles : Roles

    Returns
    -------
    dict of str to tuple of str

    Raises
    ------
    ConfigError
        When a declared signal is neither a column nor made of events.

    """
    named = {name: types for name, types in settings.event_types.items() if name in roles.numbers}
    undeclared = set(roles.numbers) - set(named) - set(roles.looks)
    if undeclared:
        raise ConfigError(f"{min(undeclared)!r} is neither a column nor an entry of events.event_types")
    if _LIKE in settings.event_types:
        named[LIKED] = settings.event_types[_LIKE]
    return named


def fold_events(events: pl.DataFrame, settings: EventsSettings, roles: Roles) -> pl.DataFrame:
    """Join every like and outcome to the user's last view of the item.

    Parameters
    ----------
    events : polars.DataFrame
        Accepted events with an `event_type`.
    settings : EventsSettings
        `event_types` and `like_within`.
    roles : Roles

    Returns
    -------
    polars.DataFrame
        One row a view. `liked` and each outcome are 0 or 1, with the time they arrived in
        ``<name>_at``. Likes without a view follow, `factors_only`.

    Notes
    -----
    A like at t belongs to the newest view at or before t, at most `like_within` earlier.

    """
    kind = pl.col(EVENT_TYPE)
    views = events.filter(kind.is_in(settings.event_types[_VIEW])).sort(TIME, ROW)
    exposures = views.drop(EVENT_TYPE).with_columns(pl.lit(False).alias(FACTORS_ONLY))
    unseen = []
    for name, types in event_names(settings, roles).items():
        marks = events.filter(kind.is_in(types)).sort(TIME, ROW)
        joined = _join_to_views(marks, views, settings.like_within)
        exposures = _mark(exposures, joined.drop_nulls("view"), name)
        if name == LIKED:
            unseen.append(joined.filter(pl.col("view").is_null()).select(_shared_columns(views)))
    orphans = [
        rows.with_columns(pl.lit(1.0).alias(LIKED), pl.lit(True).alias(FACTORS_ONLY)) for rows in unseen
    ]
    return pl.concat([exposures, *orphans], how="diagonal").sort(ROW)


def _shared_columns(views: pl.DataFrame) -> list[str]:
    return [name for name in views.columns if name != EVENT_TYPE]


def _join_to_views(marks: pl.DataFrame, views: pl.DataFrame, within: timedelta) -> pl.DataFrame:
    last_views = views.select(*_PAIR, TIME, pl.col(ROW).alias("view"))
    return marks.join_asof(
        last_views, on=TIME, by=_PAIR, strategy="backward", tolerance=within, check_sortedness=False
    )


def _mark(exposures: pl.DataFrame, joined: pl.DataFrame, name: str) -> pl.DataFrame:
    first = joined.group_by("view").agg(pl.col(TIME).min().alias(arrived(name)))
    return exposures.join(first, left_on=ROW, right_on="view", how="left").with_columns(
        pl.col(arrived(name)).is_not_null().cast(pl.Float64).alias(name)
    )
