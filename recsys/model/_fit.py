"""The procedure: a head from a window, then a refresh of what it reads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np
import polars as pl

from recsys.features import RATE, Snapshots
from recsys.matrix import distinct_codes
from recsys.model._model import WillLikeModel
from recsys.probability import Lessons, fit_probability_head
from recsys.schema import ITEM, LIKED, TIME, USER
from recsys.split import Window, exposures_in, known_before, require_both_labels, roll_cuts


def reads(name: str) -> bool:
    """Say whether a head reads a feature: not the plain rates, which effects and habits say better."""
    return f":{RATE}" not in name


def fit_model(
    snapshots: Snapshots,
    window: Window,
    refresh_to: datetime,
    use: Callable[[str], bool] = reads,
) -> WillLikeModel:
    """Fit a head on a window, then refresh what it reads: ``fit(c, e)``.

    Parameters
    ----------
    snapshots : Snapshots
    window : Window
        The head learns from its exposures, with features from before `window.cut`.
    refresh_to : datetime.datetime
        Cut of the factors and rates that serve.
    use : callable of str to bool, optional
        Which features the head may read; a baseline is the same procedure with fewer.

    Returns
    -------
    WillLikeModel

    Raises
    ------
    DataError
        When the window lacks likes or unliked exposures.

    """
    log, settings = snapshots.log, snapshots.settings
    shown = known_before(log.shown, refresh_to).select(USER, ITEM, LIKED)
    if log.positives_only:
        return WillLikeModel(snapshots.at(refresh_to), None, shown, snapshots.threads)
    require_both_labels(exposures_in(log.exposures, window, log.settle), window, "calibrate")
    signals = snapshots.at(window.cut).outcomes[1:]
    head = fit_probability_head(
        collect_lessons(snapshots, window, use, signals),
        settings,
        negatives_kept=log.negatives_kept,
        threads=snapshots.threads,
    )
    return WillLikeModel(snapshots.at(refresh_to, signals), head, shown, snapshots.threads)


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
    befores = [snapshots.at(one.cut, signals) for one in windows]
    names = [name for name in befores[0].names if use(name)]
    columns = [befores[0].names.index(name) for name in names]
    features = [
        before.pair_features(before.place(rows))[:, columns]
        for before, rows in zip(befores, parts, strict=True)
    ]
    rows = pl.concat(parts)
    seen_from = sum((rows[TIME] >= one.start).cast(pl.Int64) for one in windows)
    return Lessons(
        np.vstack(features),
        rows[LIKED].to_numpy(),
        distinct_codes(rows[USER]),
        names,
        1.0 / np.asarray(seen_from, dtype=np.float64),
    )
