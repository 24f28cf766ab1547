"""What users do with what chance shows them in later sessions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import polars as pl

from recsys.schema import HISTORY_ONLY, IS_RANDOM, SESSION, TIME, USER

#: Where the log does not tell sessions, a pause as long as this ends one.
PAUSE = timedelta(minutes=30)
CAME_ABOUT, RATE = "came_about", "later_rate"
_SESSION, _STARTS, _ENDS, _KNOWN = "visit", "starts", "ends", "later_known"


def mark_sessions(rows: pl.DataFrame) -> pl.DataFrame:
    """Say when the session of every exposure starts and ends.

    Parameters
    ----------
    rows : polars.DataFrame
        Sorted by user and time.

    Returns
    -------
    polars.DataFrame
        The rows whose time and session are known, with `starts` and `ends`.

    Notes
    -----
    A session is a user's exposures of one `session_id`; without that column, those with pauses below 30 minutes.
    Users who share an id, as where sessions count from 1 for each, share no session; a user who uses one twice has a
    long session, in which nothing is later than anything.

    """
    timed = rows.filter(~pl.col(HISTORY_ONLY))
    if SESSION in rows.columns:
        known = timed.drop_nulls(SESSION).with_columns(pl.col(SESSION).alias(_SESSION))
    else:
        paused = (pl.col(TIME) - pl.col(TIME).shift(1).over(USER)) >= PAUSE
        known = timed.with_columns(paused.fill_null(False).cum_sum().over(USER).alias(_SESSION))
    session = [USER, _SESSION]
    return known.with_columns(
        pl.col(TIME).min().over(session).alias(_STARTS), pl.col(TIME).max().over(session).alias(_ENDS)
    ).drop(_SESSION)


def rates_after(rows: pl.DataFrame, link: Sequence[str]) -> pl.DataFrame:
    """Compute how often the outcome came about in later sessions, on the same link.

    Parameters
    ----------
    rows : polars.DataFrame
        As `mark_sessions` gives them, with `came_about` (1 or 0; null is unknown).
    link : sequence of str
        Columns that the later exposure shares with this one, beside the user.

    Returns
    -------
    polars.DataFrame
        The random rows that a later session follows with a random exposure on the same link whose outcome is
        known; with `later_rate`, the mean of `came_about` over these.

    Notes
    -----
    A session is later where it starts after the end of this one: what happens on another device meanwhile is not.

    """
    by = [USER, *link]
    drawn = rows.filter(IS_RANDOM).drop_nulls(by)
    totals = (
        drawn.drop_nulls(CAME_ABOUT)
        .group_by(*by, _STARTS)
        .agg(pl.col(CAME_ABOUT).sum().alias(RATE), pl.len().alias(_KNOWN))
        .sort(_STARTS)
        .with_columns(pl.col(RATE, _KNOWN).cum_sum(reverse=True).over(by))
        .rename({_STARTS: "from"})
    )
    later = drawn.sort(_ENDS).join_asof(
        totals,
        left_on=_ENDS,
        right_on="from",
        by=by,
        strategy="forward",
        allow_exact_matches=False,
        check_sortedness=False,
    )
    return later.filter(pl.col(_KNOWN) > 0).with_columns(pl.col(RATE) / pl.col(_KNOWN))
