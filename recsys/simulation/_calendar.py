"""When each user looks at the feed: sessions, and the exposures in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.errors import UsageError
from recsys.simulation._population import LONGEST_SECONDS
from recsys.simulation._world import SECONDS_A_DAY, TICK_SECONDS, World

_SESSION_LENGTH = 8
_PAUSE_SECONDS = 15
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Calendar:
    """The sessions, in the order in which they start; `session_id` is the row plus one.

    Attributes
    ----------
    user : ndarray of int32, shape (n_sessions,)
        Row of the user whose account it is.
    start : ndarray of int32, shape (n_sessions,)
        Seconds since the log's start.
    length : ndarray of int16, shape (n_sessions,)
        Exposures.
    pace : ndarray of int16, shape (n_sessions,)
        Seconds from one exposure to the next, give or take a pause; longer than the longest item.
    """

    user: npt.NDArray[np.int32]
    start: npt.NDArray[np.int32]
    length: npt.NDArray[np.int16]
    pace: npt.NDArray[np.int16]


@dataclass(frozen=True)
class Rows:
    """When exposures happen; those of a tick stand by time and then by session.

    Attributes
    ----------
    session : ndarray of int64, shape (n_rows,)
        Row of the calendar.
    position : ndarray of int64, shape (n_rows,)
        Within the session, from 1.
    seconds : ndarray of int64, shape (n_rows,)
        Since the log's start; strictly rising within a user.
    """

    session: _Ints
    position: _Ints
    seconds: _Ints

    def take(self, which: npt.NDArray[Any]) -> Rows:
        """Pick rows by number or by mask.

        Parameters
        ----------
        which : ndarray of int or bool

        Returns
        -------
        Rows
        """
        return Rows(self.session[which], self.position[which], self.seconds[which])


def draw_calendar(world: World, users: pl.DataFrame) -> Calendar:
    """Draw sessions that lie inside the days and never overlap within a user.

    Parameters
    ----------
    world : World
    users : polars.DataFrame
        As drawn by `draw_population`.

    Returns
    -------
    Calendar

    Raises
    ------
    UsageError
        When somebody would have to watch for longer than the log lasts.
    """
    length = _draw_lengths(world)
    user = _draw_owners(world, users["activity"].to_numpy(), len(length))
    # A slot is longer than any item, so that times do not depend on what is shown.
    pause = world.stream("pause").exponential(_PAUSE_SECONDS, len(length))
    pace = LONGEST_SECONDS + 1 + pause.astype(np.int64)
    start = _draw_starts(world, user, length * pace)
    order = np.lexsort((user, start))
    return Calendar(
        user[order].astype(np.int32),
        start[order].astype(np.int32),
        length[order].astype(np.int16),
        pace[order].astype(np.int16),
    )


def rows_by_tick(world: World, calendar: Calendar) -> Iterator[Rows]:
    """Lay out the exposures of every session, one tick after another.

    Parameters
    ----------
    world : World
    calendar : Calendar

    Yields
    ------
    Rows
        Those in ``[tick, tick + 1) · TICK_SECONDS``, whatever tick their session started in.
    """
    waiting = Rows(*(np.zeros(0, dtype=np.int64) for _ in range(3)))
    edges = np.searchsorted(calendar.start, np.arange(world.ticks + 1) * TICK_SECONDS)
    for tick in range(world.ticks):
        new = _lay_out(world, calendar, tick, np.arange(edges[tick], edges[tick + 1]))
        rows = Rows(
            np.concatenate([waiting.session, new.session]),
            np.concatenate([waiting.position, new.position]),
            np.concatenate([waiting.seconds, new.seconds]),
        )
        now = rows.seconds < (tick + 1) * TICK_SECONDS
        waiting, rows = rows.take(~now), rows.take(now)
        yield rows.take(np.lexsort((rows.session, rows.seconds)))


def _lay_out(world: World, calendar: Calendar, tick: int, sessions: _Ints) -> Rows:
    length = calendar.length[sessions].astype(np.int64)
    session = np.repeat(sessions, length)
    position = np.arange(len(session)) - np.repeat(np.cumsum(length) - length, length)
    pace = calendar.pace[session].astype(np.int64)
    pause = world.stream("pause", tick).random(len(session)) * (pace - LONGEST_SECONDS)
    seconds = calendar.start[session] + position * pace + pause.astype(np.int64)
    return Rows(session, position + 1, seconds)


def _draw_lengths(world: World) -> _Ints:
    # Eighteen standard deviations more sessions than are expected to do.
    enough = world.exposures // _SESSION_LENGTH + int(6 * world.exposures**0.5) + 16
    lengths = world.stream("session length").geometric(1 / _SESSION_LENGTH, enough)
    ends = np.cumsum(lengths)
    count = int(np.searchsorted(ends, world.exposures)) + 1
    lengths[count - 1] -= ends[count - 1] - world.exposures
    return lengths[:count]


def _draw_owners(world: World, activity: npt.NDArray[Any], count: int) -> _Ints:
    """Everybody comes once, if there are sessions enough, and otherwise according to activity."""
    share = activity.astype(np.float64)
    by_activity = world.stream("session owner").choice(world.users, size=count, p=share / share.sum())
    if count < world.users:
        return by_activity
    return np.concatenate([np.arange(world.users), by_activity[world.users :]])


def _draw_starts(world: World, owner: _Ints, lasting: _Ints) -> _Ints:
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
    elapsed = np.cumsum(lasting) - lasting
    of_others = elapsed[np.searchsorted(owner, owner)]
    free = world.seconds - 1 - busy[owner]
    start = np.empty_like(lasting)
    start[order] = 1 + np.floor(free * moment[order]).astype(np.int64) + elapsed - of_others
    return start
