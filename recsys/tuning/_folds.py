"""Folds inside the calibrate window, from a log that holds nothing later."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import polars as pl

from recsys.errors import DataError
from recsys.events import EventLog
from recsys.schema import LIKED, TIME, USER
from recsys.split import Window, Windows, exposures_in, known_before, require_both_labels

PIECES = 3
#: A head learns from what lies before the calibrate window only if so many likes do.
_ENOUGH_LIKES = 50


@dataclass(frozen=True)
class Fold:
    """One piece of the calibrate window, forecast from before it.

    Attributes
    ----------
    head : Window
        What head and calibrator learn from; it ends at `cut`.
    cut : datetime.datetime
        What factors and rates are refreshed to.
    rows : polars.DataFrame
        The piece's exposures, labelled as they were known at the end of the calibrate window.

    """

    head: Window
    cut: datetime
    rows: pl.DataFrame


def rolling_folds(log: EventLog, windows: Windows, folds: int) -> tuple[Fold, ...]:
    """Cut the calibrate window by time; each piece is forecast from what lies before it.

    Parameters
    ----------
    log : EventLog
        Nothing in it may be as late as `windows.calibrate.end`.
    windows : Windows
    folds : int
        Of users, that the calibrator needs: each must leave likes to the others.

    Returns
    -------
    tuple of Fold
        One a piece. The first is only there where enough likes lie in as long a window before.

    Raises
    ------
    DataError
        When the window lacks likes, or no piece of it can be forecast.

    Notes
    -----
    A fold is the procedure of the evaluation, moved back: its head learns from the window before the piece
    it is scored on, factors and rates are refreshed to the piece's start less the gap.

    """
    calibrate = windows.calibrate
    if log.positives_only:
        raise DataError(
            "the log holds positives only: without exposures that got no like nothing can be tuned"
        )
    known = exposures_in(log.exposures, calibrate, log.settle)
    require_both_labels(known, calibrate, "calibrate")
    begins = _head_begins(log, calibrate)
    gap = calibrate.start - calibrate.cut
    length = (calibrate.end - log.settle - calibrate.start) / PIECES
    edges = [*(calibrate.start + piece * length for piece in range(PIECES)), calibrate.end]
    found = []
    for start, end in pairwise(edges):
        head = Window(begins - gap, begins, start - gap)
        rows = known.filter(pl.col(TIME).is_between(start, end, closed="left"))
        if _can_learn(log, head, folds) and rows[LIKED].any() and not rows[LIKED].all():
            found.append(Fold(head, head.end, rows))
    if not found:
        raise DataError(_too_short(calibrate, known))
    return tuple(found)


def _head_begins(log: EventLog, calibrate: Window) -> datetime:
    """Say where heads begin: as long before the calibrate window as it lasts, if likes lie there."""
    gap, length = calibrate.start - calibrate.cut, calibrate.end - calibrate.start
    before = Window(calibrate.cut - length - gap, calibrate.cut - length, calibrate.cut)
    likes = int(exposures_in(log.exposures, before, log.settle)[LIKED].sum())
    history = known_before(log.exposures, before.cut, log.settle)
    reaches = likes >= _ENOUGH_LIKES and bool(history[LIKED].any())
    return before.start if reaches else calibrate.start


def _can_learn(log: EventLog, head: Window, folds: int) -> bool:
    if head.start >= head.end or known_before(log.exposures, head.cut, log.settle).is_empty():
        return False
    rows = exposures_in(log.exposures, head, log.settle)
    likers, others = (rows.filter(pl.col(LIKED) == liked)[USER].n_unique() for liked in (True, False))
    return min(likers, others) >= folds


def _too_short(calibrate: Window, known: pl.DataFrame) -> str:
    return (
        f"no third of the calibrate window [{calibrate.start.isoformat()}, {calibrate.end.isoformat()}) can be "
        f"forecast from what lies before it, with {int(known[LIKED].sum()):,} likes in {len(known):,} exposures: "
        "lengthen windows.calibrate (`recsys check` shows the days of the log)"
    )
