"""All that is drawn before the first exposure."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.simulation._calendar import Calendar, draw_calendar
from recsys.simulation._orders import Orders, draw_orders
from recsys.simulation._population import Population, draw_population
from recsys.simulation._sessions import Circumstances, draw_circumstances
from recsys.simulation._shelves import Shelves, stack_shelves
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
    shelves : Shelves
    """

    world: World
    population: Population
    calendar: Calendar
    orders: Orders
    circumstances: Circumstances
    shelves: Shelves


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
    return Scene(world, population, calendar, orders, circumstances, stack_shelves(population))
