"""What each exposure shows, and how likely that was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.simulation._calendar import Rows
from recsys.simulation._memory import Memory
from recsys.simulation._orders import VISIT_SHARE
from recsys.simulation._parts import for_each_part
from recsys.simulation._scene import Scene
from recsys.simulation._sessions import CREATOR
from recsys.simulation._shelves import Published, draw_places, premiere_key, published_at
from recsys.simulation._world import SECONDS_A_DAY

_DRAWS = 4  # of an item, until one is new to the account
_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


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
    is_random: npt.NDArray[np.bool_]
    propensity: _Floats
    policy_score: _Floats


def draw_feed(
    scene: Scene, memory: Memory, tick: int, session: _Ints, taste: npt.NDArray[np.float32]
) -> Shown:
    """Draw from the feed, a share at random, the rest by policy.

    Parameters
    ----------
    scene : Scene
    memory : Memory
        As of the tick.
    tick : int
    session : ndarray of int64, shape (n_rows,)
        Row of the calendar.
    taste : ndarray of float32, shape (n_users, n_dims)
        At the tick.

    Returns
    -------
    Shown

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
    world, rows, shelf = scene.world, len(session), published_at(scene.shelves, tick)
    where = world.stream("shown category", tick).random(rows)
    within = world.stream("shown item", tick).random((_DRAWS, rows))
    anything = (world.stream("random item", tick).random(rows) * shelf.count).astype(np.int64)
    shown = Shown(
        item=np.empty(rows, dtype=np.int64),
        surface=scene.circumstances.surface[session],
        is_random=world.stream("is random", tick).random(rows) < world.epsilon,
        propensity=np.empty(rows),
        policy_score=np.empty(rows),
    )

    def draw(part: slice) -> None:
        account = scene.calendar.user[session[part]]
        scores = _scores(scene, memory, session[part], taste)
        odds = shelf.mass * np.exp(np.minimum(scores - _highest(scores, shelf.mass), 0.0))
        drawn = _draw_categories(odds, where[part])
        policy = _draw_new(scene, memory, account, shelf.low[drawn], shelf.high[drawn], within[:, part])
        item = np.where(shown.is_random[part], anything[part], policy)
        category, row = scene.shelves.category[item].astype(np.int64), np.arange(len(item))
        share = _share_of_category(scene, memory, shelf, account, item)
        share *= odds[row, category] / odds.sum(axis=1)
        shown.item[part], shown.policy_score[part] = item, scores[row, category]
        shown.propensity[part] = world.epsilon / shelf.count + (1 - world.epsilon) * share

    for_each_part(rows, draw)
    return shown


def go_past_the_feed(scene: Scene, tick: int, rows: Rows, shown: Shown) -> Shown:
    """Replace what the feed shows where somebody goes to an item on purpose.

    Fans open the newest premiere of their creator when they come within a day of it; accounts under
    control look up ordered items.

    Parameters
    ----------
    scene : Scene
    tick : int
    rows : Rows
    shown : Shown

    Returns
    -------
    Shown
    """
    world, orders, count = scene.world, scene.orders, len(rows.session)
    coin, which = (world.stream(purpose, tick).random(count) for purpose in ("visit", "target"))
    wanted = rows.position == 1 if orders.first_only else coin < VISIT_SHARE
    ordered = orders.visiting[rows.session] & wanted
    premiere = _premieres(scene, rows)
    past = ordered | (premiere >= 0)
    item = np.where(premiere >= 0, premiere, shown.item)
    targets = np.flatnonzero(orders.is_target)
    item[ordered] = targets[(which[ordered] * len(targets)).astype(np.int64)]
    return Shown(
        item=item,
        surface=np.where(past, CREATOR, shown.surface).astype(np.int8),
        is_random=shown.is_random & ~past,
        propensity=np.where(past, np.nan, shown.propensity),
        policy_score=np.where(past, np.nan, shown.policy_score),
    )


def _scores(scene: Scene, memory: Memory, session: _Ints, taste: npt.NDArray[np.float32]) -> _Floats:
    world, account = scene.world, scene.calendar.user[session]
    direction, of_account = scene.population.category_direction, taste[account].astype(np.float64)
    scores = np.zeros((len(account), len(direction)))
    for dim in range(direction.shape[1]):
        scores += of_account[:, dim, None] * direction[:, dim]
    scores *= world.policy_taste
    scores[np.arange(len(account)), scene.circumstances.mood[session]] += world.policy_private
    if memory.likes_in_category is not None:
        scores += world.feedback * np.log1p(memory.likes_in_category[account])
    return scores


def _highest(scores: _Floats, mass: _Floats) -> _Floats:
    """Find the top score among shelves that hold something: less this, no score overflows."""
    highest: _Floats = scores[:, mass > 0].max(axis=1, keepdims=True)
    return highest


def _draw_categories(odds: _Floats, point: _Floats) -> _Ints:
    ceiling = np.cumsum(odds, axis=1)
    drawn = (ceiling <= (point * ceiling[:, -1])[:, None]).sum(axis=1)
    # Rounding may lift the point to the last ceiling: the last category with odds stands there.
    last = odds.shape[1] - 1 - np.argmax(odds[:, ::-1] > 0, axis=1)
    category: _Ints = np.minimum(drawn, last)
    return category


def _draw_new(
    scene: Scene, memory: Memory, account: npt.NDArray[np.int32], low: _Ints, high: _Ints, points: _Floats
) -> _Ints:
    """Draw items between places, again and again while the account has seen what came."""
    item = draw_places(scene.shelves, low, high, points[0])
    seen = np.arange(len(item))
    for point in points[1:]:
        seen = seen[memory.has_seen(account[seen], item[seen])]
        item[seen] = draw_places(scene.shelves, low[seen], high[seen], point[seen])
    return item


def _share_of_category(
    scene: Scene, memory: Memory, shelf: Published, account: npt.NDArray[np.int32], item: _Ints
) -> _Floats:
    """Probability of an item within its category, by the formula of `draw_feed`."""
    category = scene.shelves.category[item].astype(np.int64)
    seen_share = np.minimum(memory.seen_popularity[account, category] / shelf.mass[category], 1.0)
    of_new = sum(seen_share**draw for draw in range(_DRAWS))
    draws = np.where(memory.has_seen(account, item), seen_share ** (_DRAWS - 1), of_new)
    return scene.shelves.popularity[item] / shelf.mass[category] * draws


def _premieres(scene: Scene, rows: Rows) -> _Ints:
    """Find the premiere that the first exposure of a fan's session opens, -1 where there is none."""
    shelves, calendar = scene.shelves, scene.calendar
    found = np.full(len(rows.session), -1, dtype=np.int64)
    if not len(shelves.premieres):
        return found
    first = np.flatnonzero(rows.position == 1)
    session = rows.session[first]
    creator = scene.population.users["fan_of"].fill_null(0).to_numpy()[calendar.user[session]]
    key = premiere_key(creator, calendar.start[session])
    newest = np.searchsorted(shelves.premiere_key, key) - 1
    fresh = (newest >= 0) & (key - shelves.premiere_key[newest] < SECONDS_A_DAY)
    found[first[fresh]] = shelves.premieres[newest[fresh]]
    return found
