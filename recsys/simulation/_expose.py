"""From what is shown to what may follow, and to the intercept that keeps the like rate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recsys.simulation import _press as press
from recsys.simulation._feed import draw_feed
from recsys.simulation._memory import nothing_happened
from recsys.simulation._orders import ORDERED_PRESS
from recsys.simulation._population import taste_at
from recsys.simulation._scene import Scene
from recsys.simulation._world import World

_PILOT_ROWS = 1 << 16
_NUDGED = 0.5
_Ints = npt.NDArray[np.int64]


def expose(
    scene: Scene, session: _Ints, item: _Ints, taste: npt.NDArray[np.float32], display: press.Display
) -> press.Exposed:
    """Gather what decides the outcomes of exposures.

    Parameters
    ----------
    scene : Scene
    session, item : ndarray of int64, shape (n_rows,)
        Rows of the calendar and of the catalogue.
    taste : ndarray of float32, shape (n_users, n_dims)
    display : Display

    Returns
    -------
    Exposed
    """
    orders, circumstances = scene.orders, scene.circumstances
    camouflage = orders.press_by_order[scene.calendar.user[session]]
    ordered = np.where(orders.is_target[item], ORDERED_PRESS, camouflage)
    in_mood = scene.shelves.category[item] == circumstances.mood[session]
    return press.look_up(
        scene.world,
        scene.population.users,
        scene.population.items,
        taste,
        circumstances.acting[session],
        item,
        display,
        by_order=np.where(orders.controlled[session], ordered, np.nan),
        mood=scene.world.policy_private * in_mood,
    )


def draw_nudges(world: World, tick: int, rows: int) -> npt.NDArray[np.bool_]:
    """Toss a fair coin for every exposure, unless prompts move nothing.

    Parameters
    ----------
    world : World
    tick : int
    rows : int

    Returns
    -------
    ndarray of bool, shape (rows,)
    """
    coin: npt.NDArray[np.bool_] = world.stream("nudge", tick).random(rows) < _NUDGED
    return coin & (world.nudge != 0)


def run_pilot(scene: Scene) -> float:
    """Find the intercept that brings the mean probability of a person's press to `like_rate`.

    It is the mean over 65,536 exposures, spread evenly over those of people, at the end of the log. Nobody
    has seen or pressed anything yet, and every item shows the likes that herding takes for usual.

    Parameters
    ----------
    scene : Scene

    Returns
    -------
    float
        Log-odds.
    """
    world, after = scene.world, scene.world.ticks  # a tick that the log never reaches: streams of its own
    session, position = _spread_evenly(scene)
    taste = taste_at(world, scene.population.users, after)
    shown = draw_feed(scene, nothing_happened(world), after, session, taste)
    usual = np.full(len(session), world.likes_an_item)
    display = press.Display(position, usual, draw_nudges(world, after, len(session)))
    exposed = expose(scene, session, shown.item, taste, display)
    dwell = press.dwell_seconds(exposed, world.stream("dwell", after).standard_normal(len(session)))
    return press.find_like_intercept(world, press.press_log_odds(world, exposed, dwell))


def _spread_evenly(scene: Scene) -> tuple[_Ints, _Ints]:
    """Take every so many exposures of people, users in turn: sessions and positions."""
    sessions = np.flatnonzero(~scene.orders.controlled)
    if not len(sessions):
        sessions = np.arange(len(scene.calendar.user))
    sessions = sessions[np.argsort(scene.calendar.user[sessions], kind="stable")]
    ends = np.cumsum(scene.calendar.length[sessions].astype(np.int64))
    row = (np.arange(_PILOT_ROWS) + 0.5) * ends[-1] // _PILOT_ROWS
    which = np.searchsorted(ends, row, side="right")
    before = ends[which] - scene.calendar.length[sessions[which]]
    return sessions[which], (row - before).astype(np.int64) + 1
