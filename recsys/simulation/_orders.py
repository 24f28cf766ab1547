"""Accounts that press by order: whose they are, when, and on what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.simulation._calendar import Calendar
from recsys.simulation._population import seconds_since_start
from recsys.simulation._world import World

ORDERED_PRESS = 0.95
VISIT_SHARE = 0.1
HIJACKED_SESSIONS = 0.2
TARGET_ITEMS = 0.01
PERSON, BOT, HIJACKED = "person", "synthetic", "hijacked"
_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Orders:
    """Who presses by order, and when.

    Attributes
    ----------
    account : polars.Series of String, shape (n_users,)
        `person`, `synthetic`, or `hijacked`: a person's account that others use at times.
    camouflage : ndarray of float64, shape (n_users,)
        Probability with which the account, under control, presses on what nobody ordered.
    controlled : ndarray of bool, shape (n_sessions,)
        Whether the account presses by order in this session, and not for itself.
    visiting : ndarray of bool, shape (n_sessions,)
        Whether it also looks up ordered items: in the first exposure, and in a share of the others.
    visit_share : float
        That share.
    is_target : ndarray of bool, shape (n_items,)
        Which items are ordered; each was published before the log.
    """

    account: pl.Series
    camouflage: npt.NDArray[np.float64]
    controlled: _Bools
    visiting: _Bools
    visit_share: float
    is_target: _Bools


def p_ordered(
    controlled: _Bools, is_target: _Bools, camouflage: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Probability of a press by order.

    Parameters
    ----------
    controlled : ndarray of bool, shape (n_rows,)
        Whether the account is under control.
    is_target : ndarray of bool, shape (n_rows,)
        Whether the item is ordered.
    camouflage : ndarray of float64, shape (n_rows,)
        Of the account.

    Returns
    -------
    ndarray of float64, shape (n_rows,)
        NaN where a person presses.
    """
    return np.where(controlled, np.where(is_target, ORDERED_PRESS, camouflage), np.nan)


def draw_orders(world: World, items: pl.DataFrame, calendar: Calendar) -> Orders:
    """Draw the accounts, their sessions and the items they were paid for.

    Parameters
    ----------
    world : World
    items : polars.DataFrame
        As drawn by `draw_population`.
    calendar : Calendar

    Returns
    -------
    Orders
    """
    taken = world.stream("synthetic liker").random(world.users) < world.synthetic_likers
    visiting = taken[calendar.user] & _campaign(world, calendar)
    hijacked = world.synthetic_pattern == "hijacked"
    controlled = visiting if hijacked else taken[calendar.user]
    visit_share = 0.0 if world.synthetic_pattern == "sparse" else VISIT_SHARE
    visits = np.where(visiting, 1.0 + visit_share * (calendar.length - 1), 0.0)
    return Orders(
        account=pl.Series(np.where(taken, HIJACKED if hijacked else BOT, PERSON)),
        camouflage=_camouflage(world, calendar, visits, controlled),
        controlled=controlled,
        visiting=visiting,
        visit_share=visit_share,
        is_target=_draw_targets(world, items),
    )


def _campaign(world: World, calendar: Calendar) -> _Bools:
    """Find the sessions in which a taken account would look up ordered items."""
    if world.synthetic_pattern == "burst":
        moment = world.seconds * (0.25 + 0.5 * world.stream("campaign").random())
        return _nearest(calendar, np.abs(calendar.start - moment))
    if world.synthetic_pattern == "sparse":
        return _nearest(calendar, calendar.start)
    if world.synthetic_pattern == "hijacked":
        return world.stream("hijacked session").random(len(calendar.user)) < HIJACKED_SESSIONS
    return np.ones(len(calendar.user), dtype=bool)


def _nearest(calendar: Calendar, distance: npt.NDArray[Any]) -> _Bools:
    """Find each account's session at the smallest distance."""
    order = np.lexsort((distance, calendar.user))
    nearest = np.zeros(len(calendar.user), dtype=bool)
    nearest[order[np.unique(calendar.user[order], return_index=True)[1]]] = True
    return nearest


def _camouflage(
    world: World, calendar: Calendar, visits: npt.NDArray[np.float64], controlled: _Bools
) -> npt.NDArray[np.float64]:
    """Spread `camouflage` presses a visit over what else the account is shown."""
    visited = np.bincount(calendar.user, visits, world.users)
    shown = np.bincount(calendar.user, controlled * calendar.length, world.users)
    others = np.maximum(shown - visited, 1.0)
    rate: npt.NDArray[np.float64] = ORDERED_PRESS * np.minimum(1.0, world.camouflage * visited / others)
    return rate


def _draw_targets(world: World, items: pl.DataFrame) -> _Bools:
    is_target = np.zeros(world.items, dtype=bool)
    if world.synthetic_likers:
        published = np.flatnonzero(seconds_since_start(items["item_created_at"]) < 0)
        count = max(1, round(TARGET_ITEMS * world.items))
        is_target[world.stream("target item").permutation(published)[:count]] = True
    return is_target
