"""The intercept at which people press at the world's like rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit

from recsys.simulation import _outcomes as outcomes
from recsys.simulation._calendar import Rows
from recsys.simulation._exposures import encounter
from recsys.simulation._feed import draw_feed
from recsys.simulation._history import empty_history
from recsys.simulation._population import taste_at
from recsys.simulation._scene import Scene
from recsys.simulation._world import World

_PILOT_ROWS = 1 << 16
_SURELY = 50.0  # log-odds


def run_pilot(scene: Scene) -> Scene:
    """Find the intercept that brings the mean probability of a person's press to `like_rate`.

    It is the mean over 65,536 exposures, spread evenly over those of people, at the end of the log. Nobody
    has seen or pressed anything yet: in the log, herding and feedback may raise the rate.

    Parameters
    ----------
    scene : Scene

    Returns
    -------
    Scene
        With its `like_intercept`.
    """
    world, after = scene.world, scene.world.ticks  # a tick that the log never reaches: streams of its own
    rows, taste = _spread_evenly(scene), taste_at(scene.world, scene.population.users, after)
    history = empty_history(world)
    shown = draw_feed(scene, history, after, rows.session, taste)
    met = encounter(scene, after, rows, shown.item, history.likes_of_item[shown.item], usual=0.0)
    exposed = outcomes.gather(world, scene.population.users, scene.population.items, taste, met)
    noise = world.stream("dwell", after).standard_normal(len(rows.session))
    log_odds = outcomes.press_log_odds(world, exposed, outcomes.dwell_seconds(exposed, noise))
    return replace(scene, like_intercept=find_like_intercept(world, log_odds))


def find_like_intercept(world: World, log_odds: npt.NDArray[np.float64]) -> float:
    """Solve ``mean P(press) = like_rate`` for the intercept.

    Parameters
    ----------
    world : World
    log_odds : ndarray of float64, shape (n_rows,)
        Of intended presses, from `press_log_odds`.

    Returns
    -------
    float
        Log-odds.
    """
    intended = (world.like_rate - world.accident_rate) / (1.0 - world.accident_rate)
    low, high = -log_odds.max() - _SURELY, -log_odds.min() + _SURELY
    return float(brentq(lambda a: float(expit(a + log_odds).mean()) - intended, low, high, xtol=1e-12))


def _spread_evenly(scene: Scene) -> Rows:
    """Take every so many exposures of people, users in turn."""
    sessions = np.flatnonzero(~scene.orders.controlled)
    if not len(sessions):
        sessions = np.arange(len(scene.calendar.user))
    sessions = sessions[np.argsort(scene.calendar.user[sessions], kind="stable")]
    ends = np.cumsum(scene.calendar.length[sessions].astype(np.int64))
    row = ((np.arange(_PILOT_ROWS) + 0.5) * ends[-1] // _PILOT_ROWS).astype(np.int64)
    which = np.searchsorted(ends, row, side="right")
    session = sessions[which]
    position = row - (ends[which] - scene.calendar.length[session]) + 1
    return Rows(session, position, scene.calendar.start[session].astype(np.int64))
