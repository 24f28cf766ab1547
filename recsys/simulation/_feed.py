"""What each exposure shows, and how likely that was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.simulation._calendar import Calendar, Rows
from recsys.simulation._memory import Memory
from recsys.simulation._orders import VISIT_SHARE, Orders
from recsys.simulation._parts import for_each_part
from recsys.simulation._population import CATEGORIES, Population, seconds_since_start
from recsys.simulation._world import SECONDS_A_DAY, TICK_SECONDS, World

SURFACES = ("home", "explore", "creator")
HOME, EXPLORE, CREATOR = range(3)
EXPLORE_SHARE = 0.2
_DRAWS = 4  # of an item, until one is new to the account
_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Circumstances:
    """What is drawn once a session, beside its time.

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


@dataclass(frozen=True)
class Shown:
    """What the exposures of a tick show.

    Attributes
    ----------
    item : ndarray of int64, shape (n_rows,)
        Row of the item.
    surface : ndarray of int8, shape (n_rows,)
        Index into `SURFACES`.
    is_random : ndarray of bool, shape (n_rows,)
        Drawn alike from everything published.
    propensity : ndarray of float64, shape (n_rows,)
        Probability that the feed would show this item here; NaN where somebody went to it past the feed.
    policy_score : ndarray of float64, shape (n_rows,)
        Log-odds that the feed gives the item over its popularity; NaN as above.
    """

    item: _Ints
    surface: npt.NDArray[np.int8]
    is_random: _Bools
    propensity: _Floats
    policy_score: _Floats


@dataclass(frozen=True)
class Shelves:
    """The catalogue by category, and within it by age, so that what is published is a prefix.

    Attributes
    ----------
    item : ndarray of int64, shape (n_items,)
        Row of the item in each place.
    created : ndarray of int64, shape (n_items,)
        Seconds since the log's start, in the order of the places.
    edge : ndarray of int64, shape (n_categories + 1,)
        Where each shelf begins, and the last one ends.
    cumulative : ndarray of float64, shape (n_items + 1,)
        Popularity of all places before.
    category : ndarray of int8, shape (n_items,)
        Of each item, in the order of the catalogue.
    premieres : ndarray of int64, shape (n_premieres,)
        Items of creators with fans, born inside the log, by creator and age.
    premiere_key : ndarray of int64, shape (n_premieres,)
        ``creator_id · 2³³ + seconds since the log's start``.
    """

    item: _Ints
    created: _Ints
    edge: _Ints
    cumulative: _Floats
    category: npt.NDArray[np.int8]
    premieres: _Ints
    premiere_key: _Ints


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
    explore = world.stream("surface").random(count) < EXPLORE_SHARE
    return Circumstances(
        np.where(spliced & ~orders.controlled, guest, calendar.user),
        world.stream("mood").integers(len(CATEGORIES), size=count, dtype=np.int8),
        np.where(explore, EXPLORE, HOME).astype(np.int8),
    )


def stack_shelves(population: Population) -> Shelves:
    """Sort the catalogue for the feed.

    Parameters
    ----------
    population : Population

    Returns
    -------
    Shelves
    """
    items, fandoms = population.items, population.users["fan_of"].drop_nulls().unique()
    created = seconds_since_start(items["item_created_at"])
    category = items["category"].replace_strict(CATEGORIES, range(len(CATEGORIES)), return_dtype=pl.Int8)
    order = np.lexsort((created, category.to_numpy()))
    popularity = items["popularity"].to_numpy().astype(np.float64)[order]
    is_premiere = items["creator_id"].is_in(fandoms.implode()).to_numpy() & (created >= 0)
    key = _premiere_key(items["creator_id"].to_numpy(), created)
    premieres = np.flatnonzero(is_premiere)[np.argsort(key[is_premiere], kind="stable")]
    return Shelves(
        item=order,
        created=created[order],
        edge=np.searchsorted(category.to_numpy()[order], np.arange(len(CATEGORIES) + 1)),
        cumulative=np.concatenate([[0.0], np.cumsum(popularity)]),
        category=category.to_numpy(),
        premieres=premieres,
        premiere_key=key[premieres],
    )


@dataclass(frozen=True)
class Audience:
    """Whom the feed draws for.

    Attributes
    ----------
    account : ndarray of int32, shape (n_rows,)
        Rows of the users whose accounts they are.
    mood : ndarray of int8, shape (n_rows,)
        Category.
    surface : ndarray of int8, shape (n_rows,)
        Index into `SURFACES`.
    taste : ndarray of float32, shape (n_users, n_dims)
        Where taste is at this tick.
    """

    account: npt.NDArray[np.int32]
    mood: npt.NDArray[np.int8]
    surface: npt.NDArray[np.int8]
    taste: npt.NDArray[np.float32]


def draw_feed(
    world: World, population: Population, shelves: Shelves, memory: Memory, tick: int, audience: Audience
) -> Shown:
    """Draw from the feed, a share at random, the rest by policy.

    Parameters
    ----------
    world : World
    population : Population
    shelves : Shelves
    memory : Memory
        As of the tick.
    tick : int
    audience : Audience

    Returns
    -------
    Shown
        On the surfaces of the audience.

    Notes
    -----
    The policy draws a category c with odds ``popularity of what it has published · exp(score)``,

        score = policy_taste · taste · direction of c + policy_private · in the mood for c
                + feedback · ln(1 + likes in c),

    then an item of it by popularity, and again, R = 4 draws at most, while the account has seen the item
    before the tick. With q the item's share of the popularity of c, and s the share that the account has
    seen, ``P(item | c) = q (1 + s + ... + s^(R-1))`` for an item not seen, and ``q s^(R-1)`` for the others.
    A random exposure is drawn alike from everything published. The propensity mixes the two, by `epsilon`.
    """
    rows = len(audience.account)
    counts = _published(shelves, tick)
    low, high = shelves.edge[:-1], shelves.edge[:-1] + counts
    mass = shelves.cumulative[high] - shelves.cumulative[low]
    last = np.flatnonzero(mass)[-1]
    where = world.stream("shown category", tick).random(rows)
    within = world.stream("shown item", tick).random((_DRAWS, rows))
    # The catalogue is sorted by age: what is published is its beginning.
    anything = (world.stream("random item", tick).random(rows) * counts.sum()).astype(np.int64)
    popularity = population.items["popularity"].to_numpy()
    shown = Shown(
        item=np.empty(rows, dtype=np.int64),
        surface=audience.surface,
        is_random=world.stream("is random", tick).random(rows) < world.epsilon,
        propensity=np.empty(rows),
        policy_score=np.empty(rows),
    )

    def draw(part: slice) -> None:
        account = audience.account[part]
        scores = _scores(world, population.category_direction, memory, audience, part)
        # Of odds only ratios matter, and these do not overflow.
        top = np.where(mass > 0, scores, -np.inf).max(axis=1, keepdims=True)
        ceiling = np.cumsum(mass * np.exp(np.minimum(scores - top, 0.0)), axis=1)
        drawn = (ceiling <= (where[part] * ceiling[:, -1])[:, None]).sum(axis=1)
        category = np.minimum(drawn, last)
        item = _draw_items(shelves, low[category], high[category], within[0, part])
        item = np.where(shown.is_random[part], anything[part], item)
        seen = memory.has_seen(account, item)
        for once_more in within[1:, part]:
            again = np.flatnonzero(seen & ~shown.is_random[part])
            item[again] = _draw_items(shelves, low[category[again]], high[category[again]], once_more[again])
            seen[again] = memory.has_seen(account[again], item[again])
        category = shelves.category[item].astype(np.int64)
        score = scores[np.arange(len(item)), category]
        of_category = mass[category] * np.exp(score - top[:, 0]) / ceiling[:, -1]
        seen_share = np.minimum(memory.seen_popularity[account, category] / mass[category], 1.0)
        tries = np.where(seen, 0.0, 1.0 + seen_share + seen_share**2) + seen_share**3
        policy = of_category * popularity[item] / mass[category] * tries
        shown.item[part], shown.policy_score[part] = item, score
        shown.propensity[part] = world.epsilon / counts.sum() + (1 - world.epsilon) * policy

    for_each_part(rows, draw)
    return shown


def go_past_the_feed(
    world: World,
    population: Population,
    shelves: Shelves,
    orders: Orders,
    calendar: Calendar,
    tick: int,
    rows: Rows,
    shown: Shown,
) -> Shown:
    """Replace what the feed shows where somebody goes to an item on purpose.

    Fans open the newest premiere of their creator when they come within a day of it; accounts under
    control look up ordered items.

    Parameters
    ----------
    world : World
    population : Population
    shelves : Shelves
    orders : Orders
    calendar : Calendar
    tick : int
    rows : Rows
    shown : Shown

    Returns
    -------
    Shown
    """
    coin, which = (world.stream(name, tick).random(len(rows.session)) for name in ("visit", "target"))
    wanted = rows.position == 1 if orders.first_only else coin < VISIT_SHARE
    ordered = orders.visiting[rows.session] & wanted
    premiere = _premieres(population, shelves, calendar, rows)
    past = ordered | (premiere >= 0)
    item = np.where(premiere >= 0, premiere, shown.item)
    if orders.is_target.any():
        targets = np.flatnonzero(orders.is_target)
        item = np.where(ordered, targets[(which * len(targets)).astype(np.int64)], item)
    return Shown(
        item=item,
        surface=np.where(past, CREATOR, shown.surface).astype(np.int8),
        is_random=shown.is_random & ~past,
        propensity=np.where(past, np.nan, shown.propensity),
        policy_score=np.where(past, np.nan, shown.policy_score),
    )


def _published(shelves: Shelves, tick: int) -> _Ints:
    """Count what each shelf holds at the start of a tick."""
    out = shelves.created < tick * TICK_SECONDS
    before = np.concatenate([[0], np.cumsum(out)])
    counts: _Ints = before[shelves.edge[1:]] - before[shelves.edge[:-1]]
    return counts


def _draw_items(shelves: Shelves, low: _Ints, high: _Ints, point: _Floats) -> _Ints:
    """Draw places by popularity between two edges, and take the items there."""
    start = shelves.cumulative[low]
    place = np.searchsorted(shelves.cumulative, start + point * (shelves.cumulative[high] - start), "right")
    return shelves.item[np.clip(place - 1, low, high - 1)]


def _scores(world: World, direction: _Floats, memory: Memory, audience: Audience, part: slice) -> _Floats:
    account = audience.account[part]
    taste = audience.taste[account].astype(np.float64)
    scores = np.zeros((len(account), len(direction)))
    for dim in range(direction.shape[1]):
        scores += taste[:, dim, None] * direction[:, dim]
    scores *= world.policy_taste
    if world.policy_private:
        scores[np.arange(len(account)), audience.mood[part]] += world.policy_private
    if memory.likes_in_category is not None:
        scores += world.feedback * np.log1p(memory.likes_in_category[account])
    return scores


def _premieres(population: Population, shelves: Shelves, calendar: Calendar, rows: Rows) -> _Ints:
    """Find the premiere that the first exposure of a fan's session opens, -1 where there is none."""
    found = np.full(len(rows.session), -1, dtype=np.int64)
    if not len(shelves.premieres):
        return found
    first = np.flatnonzero(rows.position == 1)
    session = rows.session[first]
    creator = population.users["fan_of"].fill_null(0).to_numpy()[calendar.user[session]]
    key = _premiere_key(creator, calendar.start[session])
    newest = np.searchsorted(shelves.premiere_key, key) - 1
    age = key - shelves.premiere_key[newest]
    fresh = (newest >= 0) & (age < SECONDS_A_DAY)
    found[first[fresh]] = shelves.premieres[newest[fresh]]
    return found


def _premiere_key(creator: npt.NDArray[Any], seconds: npt.NDArray[Any]) -> _Ints:
    key: _Ints = (creator.astype(np.int64) << 33) + seconds
    return key
