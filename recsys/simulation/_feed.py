"""Who is shown what, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.errors import UsageError
from recsys.simulation._population import LONGEST_SECONDS, affinity, seconds_since_start
from recsys.simulation._world import SECONDS_A_DAY, World

_SESSION_LENGTH = 8
_PAUSE_SECONDS = 15
CANDIDATES = 4
_REDRAWS = 4


@dataclass(frozen=True)
class Schedule:
    """When each user looks at the feed, in the log's order.

    Attributes
    ----------
    user : ndarray of int64, shape (n_exposures,)
        Row of the user.
    seconds : ndarray of int64, shape (n_exposures,)
        Since the log's start; rising, and strictly so within a user.
    session : ndarray of int64, shape (n_exposures,)
        From 1, in the order in which sessions start.
    position : ndarray of int64, shape (n_exposures,)
        Within the session, from 1.
    session_start : ndarray of int64, shape (n_exposures,)
        Seconds since the log's start.
    """

    user: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.int64]
    session: npt.NDArray[np.int64]
    position: npt.NDArray[np.int64]
    session_start: npt.NDArray[np.int64]


def draw_schedule(world: World, users: pl.DataFrame) -> Schedule:
    """Draw sessions that lie inside the days and never overlap within a user.

    Parameters
    ----------
    world : World
    users : polars.DataFrame
        As drawn by `draw_users`.

    Returns
    -------
    Schedule

    Raises
    ------
    UsageError
        When somebody would have to watch for longer than the log lasts.
    """
    lengths = _draw_session_lengths(world)
    owner = _draw_session_owners(world, users["activity"].to_numpy(), len(lengths))
    session = np.repeat(np.arange(len(lengths)), lengths)
    # A slot is as long as the longest item, so that times do not depend on what was shown.
    pause = world.stream("pause").exponential(_PAUSE_SECONDS, world.exposures)
    slots = LONGEST_SECONDS + pause.astype(np.int64)
    elapsed = _sum_before(slots)
    first = _sum_before(lengths)
    start = _draw_session_starts(world, owner, np.add.reduceat(slots, first))
    seconds = start[session] + elapsed - elapsed[first][session]
    number = np.empty_like(start)
    number[np.lexsort((owner, start))] = np.arange(len(start)) + 1
    order = np.lexsort((owner[session], seconds))
    session = session[order]
    position = order - first[session] + 1
    return Schedule(owner[session], seconds[order], number[session], position, start[session])


def draw_shown_items(
    world: World, users: pl.DataFrame, items: pl.DataFrame, schedule: Schedule
) -> npt.NDArray[np.int64]:
    """Draw what the feed shows: popular, already published, leaning to the user's taste.

    Parameters
    ----------
    world : World
    users, items : polars.DataFrame
        As drawn by `draw_users` and `draw_items`.
    schedule : Schedule

    Returns
    -------
    ndarray of int64, shape (n_exposures,)
        Row of the item. A pair comes back only if it came back in every one of a few draws.
    """
    stream = world.stream("shown item")
    taste, direction = users["taste"].to_numpy(), items["direction"].to_numpy()
    popularity = items["popularity"].to_numpy().astype(np.float64)
    created = seconds_since_start(items["item_created_at"])
    published = np.searchsorted(created, schedule.session_start, side="left").astype(np.int64)
    shown = np.zeros(world.exposures, dtype=np.int64)
    pending = np.arange(world.exposures)
    for _ in range(_REDRAWS):
        best = np.full(len(pending), -np.inf)
        for _ in range(CANDIDATES):
            item = _draw_popular(stream, popularity, published[pending])
            fit = affinity(taste, direction, schedule.user[pending], item)
            value = world.policy_taste * fit + stream.gumbel(size=len(pending))
            shown[pending] = np.where(value > best, item, shown[pending])
            best = np.maximum(best, value)
        pending = _repeated(schedule.user * world.items + shown)
    return shown


def _draw_session_lengths(world: World) -> npt.NDArray[np.int64]:
    lengths = world.stream("session length").geometric(1 / _SESSION_LENGTH, world.exposures)
    ends = np.cumsum(lengths)
    count = int(np.searchsorted(ends, world.exposures)) + 1
    lengths[count - 1] -= ends[count - 1] - world.exposures
    return lengths[:count]


def _draw_session_owners(world: World, activity: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
    """Everybody comes once, if there are sessions enough, and otherwise according to activity."""
    share = activity.astype(np.float64)
    by_activity = world.stream("session owner").choice(world.users, size=count, p=share / share.sum())
    if count < world.users:
        return by_activity
    return np.concatenate([np.arange(world.users), by_activity[world.users :]])


def _draw_session_starts(
    world: World, owner: npt.NDArray[np.int64], lasting: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Throw a user's sessions into the time left over by them, then put their lengths back."""
    busy = np.zeros(world.users, dtype=np.int64)
    np.add.at(busy, owner, lasting)
    if busy.max() >= world.seconds:
        raise UsageError(
            f"the busiest user would watch {busy.max() / SECONDS_A_DAY:.1f} of {world.days} days: "
            f"ask for more users or days, or fewer exposures"
        )
    moment = world.stream("session start").random(len(owner))
    order = np.lexsort((moment, owner))
    owner, lasting = owner[order], lasting[order]
    elapsed = _sum_before(lasting)
    of_others = elapsed[np.searchsorted(owner, owner)]
    free = world.seconds - 1 - busy[owner]
    start = np.empty_like(lasting)
    start[order] = 1 + np.floor(free * moment[order]).astype(np.int64) + elapsed - of_others
    return start


def _draw_popular(
    stream: np.random.Generator, popularity: npt.NDArray[np.float64], published: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Draw by popularity among the first `published` items, which are the oldest."""
    edges = np.concatenate([[0.0], np.cumsum(popularity)])
    point = stream.random(len(published)) * edges[published]
    item = np.searchsorted(edges, point, side="right").astype(np.int64) - 1
    within: npt.NDArray[np.int64] = np.minimum(item, published - 1)
    return within


def _repeated(pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    first = np.zeros(len(pairs), dtype=bool)
    first[np.unique(pairs, return_index=True)[1]] = True
    return np.flatnonzero(~first)


def _sum_before(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    before: npt.NDArray[np.int64] = np.cumsum(values) - values
    return before
