"""All that is drawn before the first exposure."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recsys.simulation import _press as press
from recsys.simulation._calendar import Calendar, draw_calendar
from recsys.simulation._feed import (
    Audience,
    Circumstances,
    Shelves,
    draw_circumstances,
    draw_feed,
    stack_shelves,
)
from recsys.simulation._memory import nothing_happened
from recsys.simulation._orders import ORDERED_PRESS, Orders, draw_orders
from recsys.simulation._population import Population, draw_population
from recsys.simulation._world import World

_PILOT_ROWS = 1 << 16
_NUDGED = 0.5


@dataclass(frozen=True)
class Scene:
    """A world before its first exposure.

    Attributes
    ----------
    world : World
    population : Population
    calendar : Calendar
    orders : Orders
    circumstances : Circumstances
    shelves : Shelves
    like_intercept : float
        Log-odds that bring the mean probability of a person's press to `like_rate`, on a pilot of 65,536
        exposures.
    """

    world: World
    population: Population
    calendar: Calendar
    orders: Orders
    circumstances: Circumstances
    shelves: Shelves
    like_intercept: float = 0.0


def set_scene(world: World) -> Scene:
    """Draw everything that does not depend on what is pressed.

    Parameters
    ----------
    world : World

    Returns
    -------
    Scene

    Raises
    ------
    UsageError
        When somebody would have to watch for longer than the log lasts.
    """
    population = draw_population(world)
    calendar = draw_calendar(world, population.users)
    orders = draw_orders(world, population.items, calendar)
    circumstances = draw_circumstances(world, calendar, orders)
    scene = Scene(world, population, calendar, orders, circumstances, stack_shelves(population))
    return replace(scene, like_intercept=_run_pilot(scene))


def audience_of(scene: Scene, session: npt.NDArray[np.int64], taste: npt.NDArray[np.float32]) -> Audience:
    """Say whom the feed draws for.

    Parameters
    ----------
    scene : Scene
    session : ndarray of int64, shape (n_rows,)
    taste : ndarray of float32, shape (n_users, n_dims)

    Returns
    -------
    Audience
    """
    drawn = scene.circumstances
    return Audience(scene.calendar.user[session], drawn.mood[session], drawn.surface[session], taste)


def expose(
    scene: Scene,
    session: npt.NDArray[np.int64],
    item: npt.NDArray[np.int64],
    taste: npt.NDArray[np.float32],
    display: press.Display,
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
    orders, population, mood = scene.orders, scene.population, scene.circumstances.mood[session]
    camouflage = orders.press_by_order[scene.calendar.user[session]]
    ordered = np.where(orders.is_target[item], ORDERED_PRESS, camouflage)
    return press.look_up(
        scene.world,
        population.users,
        population.items,
        taste,
        scene.circumstances.acting[session],
        item,
        display,
        by_order=np.where(orders.controlled[session], ordered, np.nan),
        mood=scene.world.policy_private * (scene.shelves.category[item] == mood),
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


def _run_pilot(scene: Scene) -> float:
    """Find the intercept on people's exposures, spread evenly over them, at the end of the log.

    Nobody has seen or pressed anything yet, and every item shows the likes that herding takes for usual.
    """
    world, after = scene.world, scene.world.ticks  # a tick that the log never reaches: streams of its own
    session, position = _spread_evenly(scene)
    taste = press.taste_at(world, scene.population.users, after)
    audience = audience_of(scene, session, taste)
    shown = draw_feed(world, scene.population, scene.shelves, nothing_happened(world), after, audience)
    usual = np.full(len(session), world.likes_an_item)
    display = press.Display(position, usual, draw_nudges(world, after, len(session)))
    exposed = expose(scene, session, shown.item, taste, display)
    dwell = press.dwell_seconds(exposed, world.stream("dwell", after).standard_normal(len(session)))
    return press.find_like_intercept(world, press.press_log_odds(world, exposed, dwell))


def _spread_evenly(scene: Scene) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
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
