"""All that is drawn before the first exposure."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.simulation._calendar import Calendar, draw_calendar
from recsys.simulation._catalogue import Catalogue, build_catalogue
from recsys.simulation._fandoms import Premieres, find_premieres
from recsys.simulation._orders import Orders, draw_orders
from recsys.simulation._population import Population, draw_population
from recsys.simulation._sessions import Circumstances, draw_circumstances
from recsys.simulation._world import World


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
    catalogue : Catalogue
    premieres : Premieres
    like_intercept : float
        Log-odds, from `run_pilot`; NaN before it.
    """

    world: World
    population: Population
    calendar: Calendar
    orders: Orders
    circumstances: Circumstances
    catalogue: Catalogue
    premieres: Premieres
    like_intercept: float = float("nan")


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
    return Scene(
        world,
        population,
        calendar,
        orders,
        circumstances,
        build_catalogue(population.items),
        find_premieres(population),
    )
