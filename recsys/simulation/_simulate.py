"""A simulation in memory."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from recsys.simulation._draw import draw_log
from recsys.simulation._pilot import run_pilot
from recsys.simulation._scene import set_scene
from recsys.simulation._truth import Truth, tell_truth
from recsys.simulation._world import World


@dataclass(frozen=True)
class Simulation:
    """A log and the truth behind it.

    Attributes
    ----------
    events : polars.DataFrame
        The exposure log, with the columns of `EVENTS_SCHEMA`, sorted by time.
    truth_exposures : polars.DataFrame
        The columns of `TRUTH_SCHEMA`, row by row beside `events`: `utility`; `p_like_before` and
        `p_long_view_before`, known before the exposure; `p_like_given_dwell`; who held the device.
    truth : Truth
        What the world's people and things are like. Ask it for the probabilities of any pairs.
    """

    events: pl.DataFrame
    truth_exposures: pl.DataFrame
    truth: Truth


def simulate(world: World) -> Simulation:
    """Draw a log and keep its truth, in memory.

    Parameters
    ----------
    world : World

    Returns
    -------
    Simulation
        The same for the same world, whatever the number of threads.

    Raises
    ------
    UsageError
        When somebody would have to watch for longer than the log lasts.

    Examples
    --------
    >>> made = simulate(World.preset("small", exposures=1000))
    >>> made.events.height
    1000
    >>> made.truth.probabilities(pl.DataFrame({"user_id": [1], "item_id": [5]})).columns[2:4]
    ['utility', 'p_like_before']
    """
    scene = run_pilot(set_scene(world))
    parts = list(draw_log(scene))
    return Simulation(
        events=pl.concat([part.events for part in parts]),
        truth_exposures=pl.concat([part.truth for part in parts]),
        truth=tell_truth(scene, [part.usual for part in parts], parts[-1].likes),
    )
