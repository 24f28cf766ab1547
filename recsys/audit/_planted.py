"""A planted positive on the user's own log: likes that know the future."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.audit._dwell import Given
from recsys.audit._lift import Scored
from recsys.audit._looks import Look, Material
from recsys.audit._placebo import draw_placebos
from recsys.audit._result import PRIMARY_PLACEBO, Control
from recsys.audit._rows import AuditRows
from recsys.audit._trial import Answers, Arm, Bench, run_arms
from recsys.inference import SeededDifference, seeded_difference
from recsys.matrix import IdIndex, interactions
from recsys.metrics import log_losses
from recsys.schema import ITEM, USER

PLANTED = "planted"
#: Log-odds of a planted like per standard deviation of what is known of the future.
STRENGTH = 2.0
_ARMS = 2


def plant(bench: Bench) -> dict[str, NDArray[np.float64]]:
    """Forecast the primary outcome from likes that lean to what users will go for in the test window.

    Parameters
    ----------
    bench : Bench

    Returns
    -------
    dict of str to ndarray of float64, shape (k, n_score)
        By the question's name.

    """
    rows, plan = bench.rows, bench.plan
    name = f"{plan.primary}/{plan.outcomes[plan.primary][0]}"
    knowing = know_the_future(bench)
    draws = draw_placebos(rows, knowing, PRIMARY_PLACEBO, _ARMS, plan.model.seed + 1).liked
    arms = [Arm(PLANTED, draw, draw) for draw in range(_ARMS)]

    def see(arm: Arm, material: Material) -> Look:
        return material.look(draws[arm.draw], bench.engine)

    def examine(kind: str, look: Look) -> Answers:
        return {name: bench.questions[name].answer(look).forecast}

    answers = run_arms(bench, arms, see, examine)
    return {name: np.stack([answers[arm.name][name] for arm in arms])}


def know_the_future(bench: Bench) -> Given:
    """Give presses the log-odds of dwell, and beside them a factorisation that has seen the test window."""
    rows, primary = bench.rows, bench.plan.primary
    tables = [(rows.known, rows.labels(rows.known, primary)), (rows.score, rows.labels(rows.score, primary))]
    ids = {name: IdIndex.of(tables[0][0][name].append(rows.score[name])) for name in (USER, ITEM)}
    codes = {name: [ids[name].codes(table[name]) for table, _ in tables] for name in ids}
    came = np.concatenate([labels for _, labels in tables]).astype(np.float32)
    shape = (len(ids[USER]), len(ids[ITEM]))
    matrix = interactions(*(np.concatenate(codes[name]) for name in (USER, ITEM)), came, shape)
    factors = bench.engine.fit(matrix, bench.plan.model, seed=bench.plan.model.seed)
    scores = factors.scores(codes[USER][0], codes[ITEM][0]).astype(np.float64)
    spread = _within_user(scores, rows)
    return Given(bench.given.name, bench.given.log_odds + STRENGTH * spread)


def _within_user(scores: NDArray[np.float64], rows: AuditRows) -> NDArray[np.float64]:
    """Standardise scores within user."""
    counts = np.maximum(np.bincount(rows.users), 1)
    centred = scores - (np.bincount(rows.users, scores) / counts)[rows.users]
    return np.asarray(centred / (centred.std() or 1.0))


def check_planted(scored: Scored, rows: AuditRows, forecasts: NDArray[np.float64]) -> Control:
    """Say whether the planted likes were told from placebos.

    Parameters
    ----------
    scored : Scored
        Of the primary outcome, first head.
    rows : AuditRows
    forecasts : ndarray of float64, shape (k, at least n_score)

    Returns
    -------
    Control

    """
    found = planted_lift(scored, forecasts)
    lower = found.bound(0.05)
    said = (
        f"likes that know the future have a lift of {100 * found.value:.2f} NE points, at least {100 * lower:.2f} with "
        "95 % confidence"
    )
    return Control("planted_positive", lower > 0, False, said)


def planted_lift(scored: Scored, forecasts: NDArray[np.float64]) -> SeededDifference:
    """Measure the lift of planted likes over the habit placebo."""
    own = forecasts[:, : len(scored.known)][:, scored.known]
    losses = np.stack([log_losses(scored.labels, one) for one in own])
    return seeded_difference(
        scored.losses[PRIMARY_PLACEBO], losses, scored.users, scored.items, scale=scored.entropy
    )
