"""Whether a press still informs what follows once the exposure has been watched."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from recsys.audit._residual_after import CAME_ABOUT, RATE, mark_sessions, rates_after
from recsys.audit._residual_means import predict_held_out
from recsys.audit._residual_past import describe_past
from recsys.audit._result import Missing, ResidualPress
from recsys.config import ModelSettings
from recsys.errors import UsageError, nearest
from recsys.events import EventLog
from recsys.features import as_numbers
from recsys.inference import generalised_covariance
from recsys.matrix import distinct_codes, median_positive, one_blas_thread
from recsys.schema import (
    CATEGORY,
    CREATOR,
    FACTORS_ONLY,
    HISTORY_ONLY,
    IS_RANDOM,
    ITEM,
    LIKED,
    ROW,
    SESSION,
    TIME,
    USER,
)

LEAST_ROWS = 500
#: Users who pressed, and users who did not; with fewer the clustered variance is too small.
LEAST_USERS = 40
#: What follows is then counted on every item.
ANY = "any"
QUESTION = "Does a press inform what follows, once it is known how long the item was watched?"


def residual_press(
    log: EventLog, outcome: str, settings: ModelSettings, *, threads: int = 0
) -> ResidualPress | Missing:
    """Measure what a press says about later sessions beyond all behaviour up to and including its exposure.

    Parameters
    ----------
    log : EventLog
    outcome : str
        One of the log's signals or outcomes. It comes about from its median positive value on; for a flag that is 1.
    settings : ModelSettings
        `folds` of users and `seed`.
    threads : int, optional
        0 means one a core. The result does not depend on it.

    Returns
    -------
    ResidualPress or Missing
        Missing where no exposure is marked as random, or fewer than 500 of them are followed by a later session,
        or fewer than 40 users have a press, or a non-press, among these.

    Raises
    ------
    UsageError
        When the log has no such outcome.

    Notes
    -----
    One row is one random exposure, y its like, z the rate at which the outcome came about on the *random* exposures
    that later sessions show the same user on the same link: of the same creator; where that leaves too few rows, of
    the same category; else any. A taste that the press revealed would show there, and a feed that answers to presses
    has no part in what is shown. x is `describe_past`: continuous dwell and the other signals of this exposure, the
    outcome on it, and everything before, with the user's habit of pressing and the crowd's. Both means are
    cross-fitted by user.

    It is the value of one press on its own: earlier presses are held fixed as habit, later ones are part of what
    follows. The whole log is used: nothing is forecast, and no window is looked into.

    References
    ----------
    Shah, R. D., Peters, J. (2020). The hardness of conditional independence testing and the generalised
    covariance measure. Annals of Statistics 48(3). https://doi.org/10.1214/19-AOS1857

    """
    if outcome not in (*log.signals, *log.outcomes):
        raise UsageError(
            f"the log has no outcome {outcome!r}: {nearest(outcome, log.signals + log.outcomes)}"
        )
    rows = _exposures(log, outcome)
    if IS_RANDOM not in rows.columns or not rows[IS_RANDOM].any():
        return _missing(
            "no exposure is marked as drawn at random, and what a feed shows next may answer to the press",
            "is_random: the column events.columns.is_random, true where chance chose the item",
        )
    linked = dict(_by_link(rows))
    link = next((link for link, one in linked.items() if _why_not(one) is None), ANY)
    lacking = _why_not(linked[link])
    if lacking:
        return lacking
    return _measure(rows, linked[link], link, (*log.signals, outcome), settings, threads)


def _exposures(log: EventLog, outcome: str) -> pl.DataFrame:
    """Take the exposures in an order that follows from their content, not from the file."""
    rows = log.exposures.filter(~pl.col(FACTORS_ONLY)).sort(USER, TIME, ITEM)
    usual = median_positive(as_numbers(rows, outcome))
    came_about = (pl.col(outcome) >= usual).cast(pl.Float64).alias(CAME_ABOUT)
    return rows.with_columns(came_about).with_row_index(ROW)


def _by_link(rows: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """Follow the exposures up, from the most specific link to none."""
    present = [name for name in (USER, TIME, CREATOR, CATEGORY, SESSION) if name in rows.columns]
    flags = (ROW, LIKED, IS_RANDOM, HISTORY_ONLY, CAME_ABOUT)
    timed = mark_sessions(rows.select(*present, *flags))
    for link in (CREATOR, CATEGORY, ANY):
        if link == ANY or link in timed.columns:
            yield link, rates_after(timed, [] if link == ANY else [link]).sort(ROW)


def _why_not(followed: pl.DataFrame) -> Missing | None:
    if len(followed) < LEAST_ROWS:
        return _missing(
            f"{len(followed):,} random exposures are followed by a random one in a later session",
            f"at least {LEAST_ROWS - len(followed):,} more",
        )
    pressed, others = (followed.filter(rows)[USER].n_unique() for rows in (pl.col(LIKED), ~pl.col(LIKED)))
    if min(pressed, others) < LEAST_USERS:
        return _missing(
            f"of the users with random exposures that a later session follows, {pressed:,} pressed and "
            f"{others:,} did not",
            f"at least {LEAST_USERS} of each",
        )
    if followed[RATE].n_unique() < 2:
        return _missing("the outcome is the same in all later sessions", "an outcome that varies")
    return None


def _missing(why: str, needs: str) -> Missing:
    return Missing(QUESTION, why, needs)


def _measure(
    rows: pl.DataFrame,
    followed: pl.DataFrame,
    link: str,
    behaviour: tuple[str, ...],
    settings: ModelSettings,
    threads: int,
) -> ResidualPress:
    features = describe_past(rows, list(dict.fromkeys(behaviour)))[followed[ROW].to_numpy()]
    users = distinct_codes(followed[USER])
    drawn = np.random.default_rng(settings.seed).permutation(users.max() + 1)
    folds = drawn[users] % settings.folds
    y, z = followed[LIKED].cast(pl.Float64).to_numpy(), followed[RATE].to_numpy()
    fixed = {"seed": settings.seed, "threads": threads}
    with one_blas_thread():
        y_hat = predict_held_out(features, y, folds, labels=True, **fixed)
        z_hat = predict_held_out(features, z, folds, labels=False, **fixed)
    found = generalised_covariance(y, y_hat, z, z_hat, users)
    return ResidualPress(
        effect=found.effect,
        link=link,
        statistic=found.statistic,
        p_value=found.p_value,
        exposures=len(followed),
        presses=int(y.sum()),
        users=int(users.max()) + 1,
    )
