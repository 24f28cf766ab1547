"""One row per event -> one row per exposure."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from recsys.config import EventsSettings
from recsys.events._roles import EVENT_TYPE, LIKE, VIEW
from recsys.schema import FACTORS_ONLY, ITEM, LIKED, ROW, TIME, USER, arrived

_PAIR = [USER, ITEM]


def first_of_each(rows: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Drop the rows that repeat the key of an earlier one.

    Parameters
    ----------
    rows : polars.DataFrame
        With `row`, the position in the log.
    key : list of str

    Returns
    -------
    polars.DataFrame
        Same order.

    """
    # Duplicates are few: comparing hashes and looking closely at the equal ones takes a third of `unique`.
    hashes = rows.select(key).hash_rows()
    ordered = hashes.sort()
    equal = ordered.filter(ordered == ordered.shift()).unique()
    suspects = rows.filter(hashes.is_in(equal.implode()))
    repeated = suspects.filter(~suspects.select(pl.struct(key).is_first_distinct()).to_series())
    return rows.filter(~pl.col(ROW).is_in(repeated[ROW].implode())) if len(repeated) else rows


def fold_events(events: pl.DataFrame, settings: EventsSettings, numbers: tuple[str, ...]) -> pl.DataFrame:
    """Join every like and outcome to the user's last view of the item.

    Parameters
    ----------
    events : polars.DataFrame
        Accepted events, `row` and `event_type` among their columns; types that nothing names are passed over.
        All of the users that have any among them.
    settings : EventsSettings
        `event_types` and `like_within`.
    numbers : tuple of str
        Names of signals and outcomes: those that are event types are marked.

    Returns
    -------
    polars.DataFrame
        One row a view, in the order of the log. `liked` and each outcome are 0 or 1, with the time they
        first arrived in ``<name>_at``. Likes without a view follow, `factors_only`.

    Notes
    -----
    Views of several types at one time are one exposure. A like at t belongs to the newest view at or
    before t, at most `like_within` earlier.

    """
    types = {name: named for name, named in settings.event_types.items() if name in numbers}
    if settings.event_types.get(LIKE):
        types[LIKED] = settings.event_types[LIKE]
    views = first_of_each(_of_types(events, settings.event_types[VIEW]), [*_PAIR, TIME]).drop(EVENT_TYPE)
    exposures, alone = views.with_columns(pl.lit(False).alias(FACTORS_ONLY)), []
    for name, named in types.items():
        joined = _join_to_views(_of_types(events, named), views, settings.like_within)
        exposures = _mark(exposures, joined.drop_nulls(VIEW), name)
        if name == LIKED:
            without = joined.filter(pl.col(VIEW).is_null()).select(views.columns)
            alone.append(without.with_columns(pl.lit(1.0).alias(LIKED), pl.lit(True).alias(FACTORS_ONLY)))
    return pl.concat([exposures.sort(ROW), *alone], how="diagonal")


def _of_types(events: pl.DataFrame, types: tuple[str, ...]) -> pl.DataFrame:
    return events.filter(pl.col(EVENT_TYPE).is_in(types)).sort(TIME, ROW)


def _join_to_views(marks: pl.DataFrame, views: pl.DataFrame, within: timedelta) -> pl.DataFrame:
    last_views = views.select(*_PAIR, TIME, pl.col(ROW).alias(VIEW))
    return marks.join_asof(
        last_views, on=TIME, by=_PAIR, strategy="backward", tolerance=within, check_sortedness=False
    )


def _mark(exposures: pl.DataFrame, joined: pl.DataFrame, name: str) -> pl.DataFrame:
    first = joined.group_by(VIEW).agg(pl.col(TIME).min().alias(arrived(name)))
    return exposures.join(first, left_on=ROW, right_on=VIEW, how="left").with_columns(
        pl.col(arrived(name)).is_not_null().cast(pl.Float64).alias(name)
    )
