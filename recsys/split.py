"""Windows by time: train | gap | calibrate | gap | test.

Cuts are global and rows never cross them. What a row says at a cut is what was known by then: a like
that arrived later than the cut does not label an exposure before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import polars as pl

from recsys.config import WindowsSettings
from recsys.errors import ConfigError, DataError, UsageError
from recsys.events import EventLog
from recsys.schema import FACTORS_ONLY, HISTORY_ONLY, LIKED, TIME, arrived


@dataclass(frozen=True)
class Window:
    """Exposures from `start` to before `end`, explained by what was known before `cut`."""

    cut: datetime
    start: datetime
    end: datetime

    def as_dict(self) -> dict[str, str]:
        """Give its three instants as JSON holds them."""
        ends = {"known_before": self.cut, "from": self.start, "until": self.end}
        return {name: instant.isoformat() for name, instant in ends.items()}


@dataclass(frozen=True)
class Windows:
    """Where a head learns and where it is scored.

    Attributes
    ----------
    calibrate : Window
        Its end is the cut of the test window.
    test : Window
        Its end is as_of.

    """

    calibrate: Window
    test: Window


def split_by_time(settings: WindowsSettings, as_of: datetime) -> Windows:
    """Lay the windows back from as_of.

    Parameters
    ----------
    settings : WindowsSettings
        Lengths, or the instants `calibrate_from` and `test_from`.
    as_of : datetime.datetime
        With a zone.

    Returns
    -------
    Windows

    Raises
    ------
    ConfigError
        When the windows are empty or in the wrong order.
    UsageError
        When as_of has no zone.

    Examples
    --------
    >>> windows = split_by_time(WindowsSettings(), datetime(2024, 1, 10, tzinfo=UTC))
    >>> windows.calibrate.start.day, windows.calibrate.end.day, windows.test.start.day
    (4, 7, 7)

    """
    if as_of.tzinfo is None:
        raise UsageError(f"as_of needs its zone, as in {as_of.isoformat()}Z")
    as_of = as_of.astimezone(UTC)
    test_from = settings.test_from or as_of - settings.test
    calibrate_until = test_from - settings.gap
    calibrate_from = settings.calibrate_from or calibrate_until - settings.calibrate
    _in_order("calibrate_from", calibrate_from, "test_from less the gap", calibrate_until)
    _in_order("test_from", test_from, "as_of", as_of)
    return Windows(
        calibrate=Window(calibrate_from - settings.gap, calibrate_from, calibrate_until),
        test=Window(calibrate_until, test_from, as_of),
    )


def slide_to_end(windows: Windows, gap: timedelta) -> Window:
    """Move the calibrate window to the end of the log: what `train` fits its head on.

    Parameters
    ----------
    windows : Windows
    gap : datetime.timedelta

    Returns
    -------
    Window
        As long as `windows.calibrate`, ending at as_of.

    """
    end = windows.test.end
    start = end - (windows.calibrate.end - windows.calibrate.start)
    return Window(start - gap, start, end)


def roll_cuts(window: Window, cuts: int) -> tuple[Window, ...]:
    """Spread cuts over a window, each explaining the exposures from there to its end.

    Parameters
    ----------
    window : Window
    cuts : int
        At least 1.

    Returns
    -------
    tuple of Window
        The first is `window`. A head that learns from all of them meets features as stale as they are served,
        and less.

    Examples
    --------
    >>> start = datetime(2024, 1, 1, tzinfo=UTC)
    >>> week = Window(start, start, start + timedelta(days=6))
    >>> [one.start.day for one in roll_cuts(week, 3)]
    [1, 3, 5]

    """
    step = (window.end - window.start) / cuts
    lag = window.start - window.cut
    starts = [window.start + k * step for k in range(cuts)]
    return tuple(Window(start - lag, start, window.end) for start in starts)


def _in_order(earlier: str, at: datetime, later: str, before: datetime) -> None:
    if at >= before:
        raise ConfigError(f"{earlier} must lie before {later}, got {at.isoformat()} and {before.isoformat()}")


def known_before(exposures: pl.DataFrame, cut: datetime, settle: timedelta = timedelta(0)) -> pl.DataFrame:
    """Take what was known before a cut.

    Parameters
    ----------
    exposures : polars.DataFrame
    cut : datetime.datetime
    settle : datetime.timedelta
        Leave out exposures younger than this at the cut: their like may be on its way.

    Returns
    -------
    polars.DataFrame
        Exposures before the cut; likes and outcomes that arrived at or after it are taken back.

    """
    if not settle and exposures[TIME].flags["SORTED_ASC"]:
        # A slice of columns that are there: nothing is copied.
        return _take_back(exposures.head(int(exposures[TIME].search_sorted(cut, "left"))), cut)
    old_enough = pl.col(FACTORS_ONLY) | (pl.col(TIME) < cut - settle)
    return _take_back(exposures.filter((pl.col(TIME) < cut) & old_enough), cut)


def require_known(known: pl.DataFrame, cut: datetime) -> None:
    """Refuse a cut that nothing lies before.

    Parameters
    ----------
    known : polars.DataFrame
        From `known_before`.
    cut : datetime.datetime

    Raises
    ------
    DataError

    """
    if known.is_empty():
        raise DataError(
            f"no exposure lies before {cut.isoformat()}: shorten windows.calibrate or windows.test"
        )


def exposures_in(exposures: pl.DataFrame, window: Window, settle: timedelta = timedelta(0)) -> pl.DataFrame:
    """Take the exposures of a window, labelled as they were known at its end.

    Parameters
    ----------
    exposures : polars.DataFrame
    window : Window
    settle : datetime.timedelta
        Leave out exposures younger than this at the window's end.

    Returns
    -------
    polars.DataFrame
        Without `history_only` and `factors_only` rows.

    """
    inside = pl.col(TIME).is_between(window.start, window.end - settle, closed="left")
    shown = ~pl.col(HISTORY_ONLY) & ~pl.col(FACTORS_ONLY)
    return _take_back(exposures.filter(inside & shown), window.end)


def _take_back(rows: pl.DataFrame, cut: datetime) -> pl.DataFrame:
    late = [name for name in rows.columns if arrived(name) in rows.columns]
    return rows.with_columns(
        pl.when(pl.col(arrived(name)) >= cut)
        .then(pl.lit(0).cast(rows.schema[name]))
        .otherwise(pl.col(name))
        .alias(name)
        for name in late
    )


def require_both_labels(rows: pl.DataFrame, window: Window, name: str) -> None:
    """Refuse a window in which nothing, or everything, was liked.

    Parameters
    ----------
    rows : polars.DataFrame
        The window's exposures.
    window : Window
    name : str
        Its name in the message.

    Raises
    ------
    DataError
        Naming the window, its rows and its likes.

    """
    likes = int(rows[LIKED].sum())
    if not 0 < likes < len(rows):
        raise DataError(
            f"the {name} window [{window.start.isoformat()}, {window.end.isoformat()}) holds {likes:,} likes "
            f"in {len(rows):,} exposures, both liked and unliked ones are needed: fit windows.calibrate and "
            "windows.test to the days of the log (`recsys check` shows them)"
        )


def log_before(log: EventLog, cut: datetime) -> EventLog:
    """Take a log as it was at a cut: nothing at or after it is in the result.

    Parameters
    ----------
    log : EventLog
    cut : datetime.datetime

    Returns
    -------
    EventLog
        Likes and outcomes that arrived later are taken back, refused rows are left out.

    """
    rows = known_before(log.shown, cut)
    late = [arrived(name) for name in rows.columns if arrived(name) in rows.columns]
    rows = rows.with_columns(pl.when(pl.col(name) < cut).then(pl.col(name)).alias(name) for name in late)
    is_settled = pl.col(FACTORS_ONLY) | (pl.col(TIME) < cut - log.settle)
    settled = rows.filter(is_settled)
    return replace(
        log,
        exposures=settled,
        unsettled=rows.filter(~is_settled),
        refused=log.refused.clear(),
        as_of=cut,
        counts=replace(log.counts, read=len(rows), accepted=len(settled), refused=0, reasons={}),
    )
