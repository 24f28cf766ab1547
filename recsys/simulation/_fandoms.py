"""Fans of creators, and the premieres that they open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.simulation._calendar import Calendar, Rows
from recsys.simulation._population import Population, seconds_since_start
from recsys.simulation._world import SECONDS_A_DAY

_NOBODY = -1
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Premieres:
    """Items of creators with fans, born inside the log, by creator and age.

    Attributes
    ----------
    item : ndarray of int64, shape (n_premieres,)
        Row of the item.
    key : ndarray of int64, shape (n_premieres,)
        Creator and moment of its birth in one number; rising.
    """

    item: _Ints
    key: _Ints


def is_fan(
    users: pl.DataFrame, items: pl.DataFrame, user: npt.NDArray[Any], item: npt.NDArray[Any]
) -> npt.NDArray[np.bool_]:
    """Say whether users are fans of the creators of items.

    Parameters
    ----------
    users, items : polars.DataFrame
        As drawn by `draw_population`.
    user, item : ndarray of int, shape (n_pairs,)
        Rows.

    Returns
    -------
    ndarray of bool, shape (n_pairs,)
    """
    fans: npt.NDArray[np.bool_] = _fan_of(users)[user] == items["creator_id"].to_numpy()[item]
    return fans


def find_premieres(population: Population) -> Premieres:
    """List what fans come for.

    Parameters
    ----------
    population : Population

    Returns
    -------
    Premieres
    """
    items, idols = population.items, population.users["fan_of"].drop_nulls().unique()
    created = seconds_since_start(items["item_created_at"])
    awaited = np.flatnonzero(items["creator_id"].is_in(idols.implode()).to_numpy() & (created >= 0))
    key = _key(items["creator_id"].to_numpy()[awaited], created[awaited])
    order = np.argsort(key, kind="stable")
    return Premieres(awaited[order], key[order])


def premieres_opened(
    population: Population,
    premieres: Premieres,
    acting: npt.NDArray[np.int32],
    calendar: Calendar,
    rows: Rows,
) -> _Ints:
    """Find the newest premiere of a fan's creator, where a session starts within a day of it.

    Parameters
    ----------
    population : Population
    premieres : Premieres
    acting : ndarray of int32, shape (n_sessions,)
        Row of who holds the device.
    calendar : Calendar
    rows : Rows

    Returns
    -------
    ndarray of int64, shape (n_rows,)
        Row of the item that the first exposure of the session opens; -1 where there is none.
    """
    found = np.full(len(rows.session), -1, dtype=np.int64)
    if not len(premieres.item):
        return found
    first = np.flatnonzero(rows.position == 1)
    session = rows.session[first]
    now = _key(_fan_of(population.users)[acting[session]], calendar.start[session])
    newest = np.searchsorted(premieres.key, now) - 1
    fresh = (newest >= 0) & (now - premieres.key[newest] < SECONDS_A_DAY)
    found[first[fresh]] = premieres.item[newest[fresh]]
    return found


def _fan_of(users: pl.DataFrame) -> npt.NDArray[np.int32]:
    return users["fan_of"].fill_null(_NOBODY).to_numpy()


def _key(creator: npt.NDArray[Any], seconds: npt.NDArray[Any]) -> _Ints:
    # No log lasts for 2**33 seconds: moments of one creator stand together, in time.
    key: _Ints = (creator.astype(np.int64) << 33) + seconds
    return key
