"""What is drawn once a session, beside its time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.simulation._calendar import Calendar
from recsys.simulation._orders import Orders
from recsys.simulation._population import CATEGORIES
from recsys.simulation._world import World

SURFACES = ("home", "explore", "creator")
HOME, EXPLORE, CREATOR = range(3)
EXPLORE_SHARE = 0.2


@dataclass(frozen=True)
class Circumstances:
    """Who looks at the feed in each session, where, and in what mood.

    Attributes
    ----------
    acting : ndarray of int32, shape (n_sessions,)
        Row of the user who holds the device: the account's, unless the session was spliced.
    mood : ndarray of int8, shape (n_sessions,)
        The category that the session is in the mood for.
    surface : ndarray of int8, shape (n_sessions,)
        Index into `SURFACES`; it moves nothing.
    """

    acting: npt.NDArray[np.int32]
    mood: npt.NDArray[np.int8]
    surface: npt.NDArray[np.int8]


def draw_circumstances(world: World, calendar: Calendar, orders: Orders) -> Circumstances:
    """Draw who holds the device, the mood, and the surface of every session.

    Parameters
    ----------
    world : World
    calendar : Calendar
    orders : Orders
        Sessions under control are never spliced.

    Returns
    -------
    Circumstances
    """
    count = len(calendar.user)
    guest = world.stream("guest").integers(world.users, size=count, dtype=np.int32)
    spliced = world.stream("spliced").random(count) < world.spliced_sessions
    explores = world.stream("surface").random(count) < EXPLORE_SHARE
    return Circumstances(
        np.where(spliced & ~orders.controlled, guest, calendar.user),
        world.stream("mood").integers(len(CATEGORIES), size=count, dtype=np.int8),
        np.where(explores, EXPLORE, HOME).astype(np.int8),
    )
