"""From what is shown to whom it meets, and how it is displayed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recsys.simulation._calendar import Rows
from recsys.simulation._orders import p_ordered
from recsys.simulation._outcomes import Encounter
from recsys.simulation._scene import Scene
from recsys.simulation._world import World

_NUDGED = 0.5
_Ints = npt.NDArray[np.int64]


def encounter(
    scene: Scene, tick: int, rows: Rows, item: _Ints, likes_shown: _Ints, usual: float
) -> Encounter:
    """Say who meets what is shown, in which mood, and what stands beside it.

    Parameters
    ----------
    scene : Scene
    tick : int
    rows : Rows
    item : ndarray of int64, shape (n_rows,)
        Rows of the items.
    likes_shown : ndarray of int64, shape (n_rows,)
    usual : float
        Of ``ln(1 + likes_shown)``, at the tick.

    Returns
    -------
    Encounter
    """
    orders, session = scene.orders, rows.session
    in_mood = scene.catalogue.category[item] == scene.circumstances.mood[session]
    camouflage = orders.camouflage[scene.calendar.user[session]]
    return Encounter(
        user=scene.circumstances.acting[session],
        item=item,
        position=rows.position,
        likes_shown=likes_shown,
        usual=np.full(len(item), usual),
        is_nudged=_draw_nudges(scene.world, tick, len(session)),
        mood=scene.world.policy_private * in_mood,
        ordered=p_ordered(orders.controlled[session], orders.is_target[item], camouflage),
    )


def _draw_nudges(world: World, tick: int, rows: int) -> npt.NDArray[np.bool_]:
    """Toss a fair coin for every exposure, unless prompts move nothing."""
    coin: npt.NDArray[np.bool_] = world.stream("nudge", tick).random(rows) < _NUDGED
    return coin & (world.nudge != 0)
