"""The exposures of a window, as the cuts before them saw them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from recsys.features import Snapshots
from recsys.matrix import distinct_codes
from recsys.probability import Lessons
from recsys.schema import LIKED, TIME, USER
from recsys.split import Window, exposures_in, roll_cuts


def collect_lessons(
    snapshots: Snapshots, window: Window, use: Callable[[str], bool], signals: tuple[str, ...]
) -> Lessons:
    """Describe the window's exposures as each of the cuts before them saw them.

    Parameters
    ----------
    snapshots : Snapshots
    window : Window
    use : callable of str to bool
    signals : tuple of str
        Of the features, at every cut.

    Returns
    -------
    Lessons
        An exposure that comes after k cuts is k rows of weight 1/k.

    """
    log = snapshots.log
    windows = roll_cuts(window, snapshots.settings.cuts)
    parts = [exposures_in(log.exposures, one, log.settle) for one in windows]
    sizes = [len(rows) for rows in parts]
    names: list[str] = []
    features = np.empty((sum(sizes), 0))
    for one, rows, end in zip(windows, parts, np.cumsum(sizes), strict=True):
        before = snapshots.at(one.cut, signals)
        if not names:
            names = [name for name in before.names if use(name)]
            # Column by column, as the head's sums over all rows are taken.
            features = np.empty((sum(sizes), len(names)), order="F")
        before.write_features(before.place(rows), names, features[end - len(rows) : end], snapshots.threads)
    rows = pl.concat(part.select(USER, LIKED, TIME) for part in parts)
    seen_from = sum((rows[TIME] >= one.start).cast(pl.Int64) for one in windows)
    return Lessons(
        features,
        rows[LIKED].to_numpy(),
        distinct_codes(rows[USER]),
        names,
        1.0 / np.asarray(seen_from, dtype=np.float64),
    )
