"""A planted positive on the user's own log: likes that know the future."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.audit._arms import Arm
from recsys.audit._dwell import Given
from recsys.audit._lift import Scored
from recsys.audit._looks import Look, Material
from recsys.audit._placebo import draw_placebos
from recsys.audit._result import PRIMARY_PLACEBO, Control
from recsys.audit._rows import AuditRows
from recsys.audit._trial import Answers, Bench, run_arms
from recsys.inference import SeededDifference, seeded_difference
from recsys.metrics import log_losses
from recsys.schema import EXPOSED, ITEM, USER

PLANTED = "planted"
#: Log-odds of a planted like per standard deviation of what is known of the future.
STRENGTH = 2.0
_ARMS = 2


def plant(bench: Bench) -> dict[str, NDArray[np.float64]]:
    """Forecast the primary outcome from likes that lean to what users go for after the calibrate cut.

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
    """Add to the log-odds of dwell how close the item is to those for which its user goes later.

    Parameters
    ----------
    bench : Bench

    Returns
    -------
    Given

    Notes
    -----
    What is added for item j is twice ``sum_i (z_i - mean z of u) cos(item i, item j)`` over the user's exposures i of
    the calibrate and the test window, between items in the space of the factorisation of exposures; over its standard
    deviation.

    """
    rows, primary = bench.rows, bench.plan.primary
    late = pl.concat([rows.learn, rows.score], how="diagonal_relaxed")
    came = np.concatenate([rows.labels(one, primary) for one in (rows.learn, rows.score)])
    history = bench.material.late.history
    users, items = (history.indices[name].codes(late[name]) for name in (USER, ITEM))
    met = (users >= 0) & (items >= 0) & ~np.isnan(came)
    users, items, came = users[met], items[met], came[met]
    size = len(history.indices[USER])
    means = np.bincount(users, came, minlength=size) / np.maximum(np.bincount(users, minlength=size), 1)
    factors = bench.material.late.factors[EXPOSED].item_factors.astype(np.float64)
    directions = factors / np.maximum(np.linalg.norm(factors, axis=1, keepdims=True), 1e-12)
    wanted = np.zeros((size, directions.shape[1]))
    np.add.at(wanted, users, (came - means[users])[:, None] * directions[items])
    lean = np.einsum("nf,nf->n", wanted[rows.users], directions[rows.items])
    return Given(bench.given.name, bench.given.log_odds + STRENGTH * lean / (lean.std() or 1.0))


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
    """Measure the lift of planted likes over the habit placebo, in shares of entropy."""
    own = forecasts[:, : len(scored.known)][:, scored.known]
    losses = np.stack([log_losses(scored.labels, one) for one in own])
    return seeded_difference(
        scored.losses[PRIMARY_PLACEBO], losses, scored.users, scored.items, scale=scored.entropy
    )
