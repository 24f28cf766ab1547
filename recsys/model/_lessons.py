"""The exposures of a window, as the cuts before them saw them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import ModelSettings
from recsys.features import LINKS, SnapshotSource
from recsys.matrix import distinct_codes
from recsys.probability import Lessons
from recsys.schema import ITEM, LIKED, TIME, USER
from recsys.split import Window, exposures_in, roll_cuts


def collect_lessons(
    snapshots: SnapshotSource, window: Window, use: Callable[[str], bool], signals: tuple[str, ...]
) -> Lessons:
    """Describe the window's exposures as each of the cuts before them saw them.

    Parameters
    ----------
    snapshots : SnapshotSource
    window : Window
    use : callable of str to bool
    signals : tuple of str
        Of the features, at every cut.

    Returns
    -------
    Lessons
        An exposure that comes after k cuts is k rows of weight 1/k. Of more than `settings.head_rows` exposures
        a random sample, in the order of the log.

    """
    log = snapshots.log.only(USER, ITEM, *LINKS, TIME, LIKED)
    # All windows end together: what a later cut explains is the rest of what the first one does.
    rows = _sample(exposures_in(log.exposures, window, log.settle), snapshots.settings)
    windows = roll_cuts(window, snapshots.settings.cuts)
    names, features = _describe(snapshots, rows, windows, use, signals)
    rows = pl.concat(rows.select(USER, LIKED, TIME).filter(pl.col(TIME) >= one.start) for one in windows)
    seen_from = sum((rows[TIME] >= one.start).cast(pl.Int64) for one in windows)
    return Lessons(
        features,
        rows[LIKED].to_numpy(),
        distinct_codes(rows[USER]),
        names,
        1.0 / np.asarray(seen_from, dtype=np.float64),
    )


def _sample(rows: pl.DataFrame, settings: ModelSettings) -> pl.DataFrame:
    if len(rows) <= settings.head_rows:
        return rows
    chosen = np.random.default_rng(settings.seed).choice(len(rows), settings.head_rows, replace=False)
    return rows[np.sort(chosen)]


def _describe(
    snapshots: SnapshotSource,
    rows: pl.DataFrame,
    windows: tuple[Window, ...],
    use: Callable[[str], bool],
    signals: tuple[str, ...],
) -> tuple[list[str], NDArray[np.float64]]:
    """Name the features that are used, and write them for each cut's rows, one cut below the other."""
    ends = np.cumsum([int((rows[TIME] >= one.start).sum()) for one in windows])
    names: list[str] = []
    features = np.empty((int(ends[-1]), 0))
    for one, start, end in zip(windows, [0, *ends], ends, strict=False):
        before = snapshots.at(one.cut, signals)
        if not names:
            names = [name for name in before.names if use(name)]
            # Column by column, as the head's sums over all rows are taken.
            features = np.empty((int(ends[-1]), len(names)), order="F")
        pairs = before.place(rows.filter(pl.col(TIME) >= one.start))
        before.write_features(pairs, names, features[start:end], snapshots.threads)
        del before  # two would take twice the memory
    return names, features
