"""From a world to its log and its truth, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import expit

from recsys.errors import UsageError
from recsys.simulation import _truth as truth
from recsys.simulation._feed import Schedule, draw_schedule, draw_shown_items
from recsys.simulation._population import FIRST_ID, TIME, draw_items, draw_users, instants
from recsys.simulation._world import World

EVENTS_SCHEMA: Mapping[str, pl.DataType] = MappingProxyType(
    {
        "user_id": pl.Int64(),
        "item_id": pl.Int64(),
        "timestamp": TIME,
        "liked": pl.Boolean(),
        "long_view": pl.Boolean(),
        "follow": pl.Boolean(),
        "share": pl.Boolean(),
        "dwell_seconds": pl.Float64(),
        "creator_id": pl.Int32(),
        "category": pl.String(),
        "session_id": pl.Int32(),
        "position": pl.Int16(),
        "item_created_at": TIME,
    }
)


@dataclass(frozen=True)
class Simulation:
    """A log and the truth behind it.

    Attributes
    ----------
    events : polars.DataFrame
        The exposure log, with the columns of `EVENTS_SCHEMA`, sorted by time.
    truth_users, truth_items : polars.DataFrame
        What the world's people and things are like.
    truth_exposures : polars.DataFrame
        `utility`, `p_like_before`, `p_like_given_dwell` and `p_long_view_before` (float32), row by row
        beside `events`.
    world : World
    like_intercept : float
        Log-odds that bring the mean like probability to `like_rate`.
    """

    events: pl.DataFrame
    truth_users: pl.DataFrame
    truth_items: pl.DataFrame
    truth_exposures: pl.DataFrame
    world: World
    like_intercept: float


@dataclass(frozen=True)
class _Outcomes:
    dwell: npt.NDArray[np.float64]
    like_intercept: float
    p_like: npt.NDArray[np.float64]
    flags: Mapping[str, npt.NDArray[np.bool_]]


def simulate(world: World) -> Simulation:
    """Draw a log and keep its truth.

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
    >>> simulate(World.preset("small", exposures=1000)).events.height
    1000
    """
    users, items = draw_users(world), draw_items(world)
    schedule = draw_schedule(world, users)
    item = draw_shown_items(world, users, items, schedule)
    pairs = truth.look_up(users, items, schedule.user, item)
    outcomes = _draw_outcomes(world, pairs)
    return Simulation(
        events=_as_events(items, schedule, item, outcomes),
        truth_users=users,
        truth_items=items,
        truth_exposures=_as_truth(world, pairs, outcomes),
        world=world,
        like_intercept=outcomes.like_intercept,
    )


def true_probabilities(
    simulation: Simulation, user_ids: npt.ArrayLike | pl.Series, item_ids: npt.ArrayLike | pl.Series
) -> pl.DataFrame:
    """Ask a world for the probabilities of any pairs, shown or not.

    Parameters
    ----------
    simulation : Simulation
    user_ids, item_ids : array-like of int, shape (n_pairs,)

    Returns
    -------
    polars.DataFrame
        `user_id`, `item_id`, `utility`, `p_like_before`, `p_long_view_before` (float64), in the order
        given.

    Raises
    ------
    UsageError
        When the two differ in length, or an id is not of this world.
    """
    user = _rows(user_ids, simulation.truth_users.height, "user")
    item = _rows(item_ids, simulation.truth_items.height, "item")
    if user.shape != item.shape:
        raise UsageError(f"there must be as many user_ids as item_ids, got {len(user)} and {len(item)}")
    world = simulation.world
    pairs = truth.look_up(simulation.truth_users, simulation.truth_items, user, item)
    return pl.DataFrame(
        {
            "user_id": user + FIRST_ID,
            "item_id": item + FIRST_ID,
            "utility": pairs.utility,
            "p_like_before": truth.p_like_before(world, simulation.like_intercept, pairs),
            "p_long_view_before": truth.p_long_view_before(world, pairs),
        }
    )


def _draw_outcomes(world: World, pairs: truth.Pairs) -> _Outcomes:
    """Draw what follows each exposure; follow and share read utility, never the press."""
    noise = world.stream("dwell").standard_normal(world.exposures)
    dwell = truth.dwell_seconds(world, pairs, noise).round(1)
    log_odds = truth.press_log_odds(world, pairs, dwell)
    intercept = truth.find_like_intercept(world, log_odds)
    p_like = expit(intercept + log_odds)
    p_follow = expit(truth.FOLLOW_LOGIT + truth.FOLLOW_SLOPE * pairs.utility)
    p_share = expit(truth.SHARE_LOGIT + truth.SHARE_SLOPE * pairs.utility)
    flags = {
        "liked": world.stream("like").random(world.exposures) < p_like,
        "long_view": truth.reading(world, pairs, noise) >= 0,
        "follow": world.stream("follow").random(world.exposures) < p_follow,
        "share": world.stream("share").random(world.exposures) < p_share,
    }
    return _Outcomes(dwell, intercept, p_like, flags)


def _as_events(
    items: pl.DataFrame, schedule: Schedule, item: npt.NDArray[np.int64], outcomes: _Outcomes
) -> pl.DataFrame:
    shown = items.select("item_id", "creator_id", "category", "item_created_at")[item]
    columns: dict[str, Any] = {
        "user_id": schedule.user + FIRST_ID,
        "timestamp": instants(schedule.seconds),
        "dwell_seconds": outcomes.dwell,
        "session_id": schedule.session,
        "position": schedule.position,
        **outcomes.flags,
        **shown.to_dict(),
    }
    return pl.DataFrame(columns).select(pl.col(name).cast(dtype) for name, dtype in EVENTS_SCHEMA.items())


def _as_truth(world: World, pairs: truth.Pairs, outcomes: _Outcomes) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "utility": pairs.utility,
            "p_like_before": truth.p_like_before(world, outcomes.like_intercept, pairs),
            "p_like_given_dwell": outcomes.p_like,
            "p_long_view_before": truth.p_long_view_before(world, pairs),
        }
    ).cast(pl.Float32)


def _rows(ids: npt.ArrayLike | pl.Series, count: int, what: str) -> npt.NDArray[np.int64]:
    given = np.atleast_1d(np.asarray(ids))
    if given.dtype.kind not in "iu":
        raise UsageError(f"{what} ids are whole numbers in a simulated world, got {given.dtype}")
    rows = given.astype(np.int64) - FIRST_ID
    strange = given[(rows < 0) | (rows >= count)]
    if len(strange):
        raise UsageError(f"this world's {what} ids run from {FIRST_ID} to {count}, got {strange[0]}")
    return rows
