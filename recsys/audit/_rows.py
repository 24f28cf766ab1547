"""The rows of an audit: what was known, what heads learn from, what is scored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.events import EventLog
from recsys.features import as_numbers
from recsys.matrix import IdIndex, median_positive
from recsys.schema import FACTORS_ONLY, ITEM, LIKED, TIME, USER
from recsys.split import Windows, exposures_in, known_before

_PLACE = "_place"


@dataclass(frozen=True)
class AuditRows:
    """The rows of an audit.

    Attributes
    ----------
    log : EventLog
        Without likes that have no view: no placebo could stand for them.
    windows : Windows
    known : polars.DataFrame of n rows
        What was known before the test window, by time, user and item.
    early : ndarray of int64
        The rows of `known` that were known before the calibrate window.
    late : ndarray of bool, shape (n,)
        Rows that were not, or whose like was not: placebos do not move likes across that cut.
    learn, score : polars.DataFrame
        The exposures of the calibrate and of the test window.
    likes_left_out : int
        Likes without a view.

    """

    log: EventLog
    windows: Windows
    known: pl.DataFrame
    early: NDArray[np.int64]
    late: NDArray[np.bool_]
    learn: pl.DataFrame
    score: pl.DataFrame
    likes_left_out: int

    @cached_property
    def liked(self) -> NDArray[np.bool_]:
        """The likes of the log, shape (n,)."""
        return self.known[LIKED].to_numpy()

    @cached_property
    def users(self) -> NDArray[np.int32]:
        """Codes of the users of the known rows, shape (n,)."""
        return IdIndex.of(self.known[USER]).codes(self.known[USER])

    @cached_property
    def items(self) -> NDArray[np.int32]:
        """Codes of the items of the known rows, shape (n,)."""
        return IdIndex.of(self.known[ITEM]).codes(self.known[ITEM])

    @cached_property
    def sides(self) -> NDArray[np.int64]:
        """Say where placebos may move likes, shape (n,): among rows of the same number.

        0 before the calibrate cut, 1 after it. A row from before whose like came after is alone: it stands among
        the late ones because it was liked, and no unliked row could be in its place.
        """
        sides = self.late.astype(np.int64)
        alone = self.early[self.late[self.early]]
        sides[alone] = 2 + np.arange(len(alone))
        return sides

    def liked_early(self, liked: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Take what was known of likes before the calibrate window, a row of `early` each."""
        return (liked & ~self.late)[self.early]

    def labels(self, rows: pl.DataFrame, outcome: str) -> NDArray[np.float64]:
        """Say where an outcome came about, shape (len(rows),): 1 or 0, NaN where it is unknown.

        A number counts from the median of its positive values before the test window on; for a flag that is 1.
        """
        if outcome == LIKED:
            return rows[LIKED].to_numpy().astype(np.float64)
        values, before = (as_numbers(table, outcome) for table in (rows, self.known))
        return np.where(np.isnan(values), np.nan, values >= median_positive(before))


def gather_rows(log: EventLog, windows: Windows, score: pl.DataFrame | None = None) -> AuditRows:
    """Cut a log into the rows of an audit.

    Parameters
    ----------
    log : EventLog
    windows : Windows
    score : polars.DataFrame, optional
        What is scored, where the log does not hold it.

    Returns
    -------
    AuditRows

    Raises
    ------
    DataError
        When a window is empty, no like lies before the calibrate window, or no unliked exposure is known.

    """
    if log.positives_only:
        raise DataError(
            "the log holds positives only: an audit needs the exposures that got no like; `recsys train` still ranks"
        )
    viewed = log.exposures.filter(~pl.col(FACTORS_ONLY))
    left_out = len(log.exposures) - len(viewed)
    ordered = viewed.sort(TIME, USER, ITEM, maintain_order=True).with_row_index(_PLACE)
    cuts = (windows.calibrate.cut, windows.test.cut)
    early, known = (known_before(ordered, cut, log.settle) for cut in cuts)
    places = np.searchsorted(known[_PLACE].to_numpy(), early[_PLACE].to_numpy())
    late = np.ones(len(known), dtype=np.bool_)
    late[places] = early[LIKED].to_numpy() != known[LIKED].to_numpy()[places]
    log = replace(log, exposures=ordered.drop(_PLACE))
    learn = exposures_in(log.exposures, windows.calibrate, log.settle)
    score = exposures_in(log.exposures, windows.test, log.settle) if score is None else score
    _require(early, learn, score, windows)
    return AuditRows(log, windows, known.drop(_PLACE), places, late, learn, score, left_out)


def _require(early: pl.DataFrame, learn: pl.DataFrame, score: pl.DataFrame, windows: Windows) -> None:
    for name, rows, window in (("calibrate", learn, windows.calibrate), ("test", score, windows.test)):
        if rows.is_empty():
            raise DataError(
                f"the {name} window [{window.start.isoformat()}, {window.end.isoformat()}) holds no exposure: fit "
                "windows.calibrate and windows.test to the days of the log (`recsys check` shows them)"
            )
    if not early[LIKED].any():
        raise DataError(
            f"no like is known before {windows.calibrate.cut.isoformat()}: there is nothing to audit; shorten "
            "windows.calibrate or windows.test"
        )
