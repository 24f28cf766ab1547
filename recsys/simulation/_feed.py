"""What each exposure shows, and how likely that was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.simulation._calendar import Rows
from recsys.simulation._catalogue import Published, draw_by_popularity, published_at
from recsys.simulation._fandoms import premieres_opened
from recsys.simulation._history import History
from recsys.simulation._parts import map_parts
from recsys.simulation._scene import Scene
from recsys.simulation._sessions import CREATOR

_DRAWS = 4  # of an item, until one is new to the account
_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shown:
    """What exposures show.

    Attributes
    ----------
    item : ndarray of int64, shape (n_rows,)
        Row of the item.
    is_random : ndarray of bool, shape (n_rows,)
        Drawn alike from everything published.
    propensity : ndarray of float64, shape (n_rows,)
        Probability that the feed would show this item here; NaN where somebody went to it past the feed.
    policy_score : ndarray of float64, shape (n_rows,)
        What the feed adds to the logarithm of an item's popularity; NaN as above.
    surface : ndarray of int8, shape (n_rows,)
        Index into `SURFACES`.
    """

    item: _Ints
    is_random: npt.NDArray[np.bool_]
    propensity: _Floats
    policy_score: _Floats
    surface: npt.NDArray[np.int8]


@dataclass(frozen=True)
class _Chance:
    """Uniform draws, one stream each.

    `category`, `random` and `is_random` have shape (n_rows,), `item` (_DRAWS, n_rows).
    """

    category: _Floats
    item: _Floats
    random: _Floats
    is_random: _Floats


def draw_feed(
    scene: Scene, history: History, tick: int, session: _Ints, taste: npt.NDArray[np.float32]
) -> Shown:
    """Draw from the feed, a share at random, the rest by policy.

    Parameters
    ----------
    scene : Scene
    history : History
        As of the tick.
    tick : int
    session : ndarray of int64, shape (n_rows,)
        Row of the calendar.
    taste : ndarray of float32, shape (n_users, n_dims)
        At the tick. The feed knows that of the account, not that of a guest.

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
    world, rows, published = scene.world, len(session), published_at(scene.catalogue, tick)
    chance = _Chance(
        category=world.stream("shown category", tick).random(rows),
        item=world.stream("shown item", tick).random((_DRAWS, rows)),
        random=world.stream("random item", tick).random(rows),
        is_random=world.stream("is random", tick).random(rows),
    )

    def draw(part: slice) -> Shown:
        drawn = _Chance(*(values[..., part] for values in vars(chance).values()))
        return _draw_part(scene, history, published, session[part], taste, drawn)

    parts = map_parts(rows, draw)
    return Shown(
        *(np.concatenate(columns) for columns in zip(*(vars(p).values() for p in parts), strict=True))
    )


def go_past_the_feed(scene: Scene, history: History, tick: int, rows: Rows, shown: Shown) -> Shown:
    """Replace what the feed shows where somebody goes to an item on purpose.

    Fans open the newest premiere of their creator when they come within a day of it, unless the account has
    seen it; accounts under control look up ordered items.

    Parameters
    ----------
    scene : Scene
    history : History
    tick : int
    rows : Rows
    shown : Shown

    Returns
    -------
    Shown
    """
    world, orders, count = scene.world, scene.orders, len(rows.session)
    coin, which = (world.stream(purpose, tick).random(count) for purpose in ("visit", "target"))
    wanted = (rows.position == 1) | (coin < orders.visit_share)
    ordered = orders.visiting[rows.session] & wanted
    acting = scene.circumstances.acting
    premiere = premieres_opened(scene.population, scene.premieres, acting, scene.calendar, rows)
    opened = (premiere >= 0) & ~orders.controlled[rows.session]
    account = scene.calendar.user[rows.session[opened]]
    opened[opened] = ~history.has_seen(account, premiere[opened])
    past = ordered | opened
    item = np.where(opened, premiere, shown.item)
    targets = np.flatnonzero(orders.is_target)
    item[ordered] = targets[(which[ordered] * len(targets)).astype(np.int64)]
    return Shown(
        item=item,
        is_random=shown.is_random & ~past,
        propensity=np.where(past, np.nan, shown.propensity),
        policy_score=np.where(past, np.nan, shown.policy_score),
        surface=np.where(past, CREATOR, shown.surface).astype(np.int8),
    )


def _draw_part(
    scene: Scene,
    history: History,
    published: Published,
    session: _Ints,
    taste: npt.NDArray[np.float32],
    chance: _Chance,
) -> Shown:
    account, epsilon = scene.calendar.user[session], scene.world.epsilon
    scores = _scores(scene, history, session, taste)
    odds = published.mass * np.exp(np.minimum(scores - _highest(scores, published.mass), 0.0))
    drawn = _draw_categories(odds, chance.category)
    by_policy = _draw_new(scene, history, account, published.low[drawn], published.high[drawn], chance.item)
    # The items are sorted by age: what is published is their beginning.
    anything = (chance.random * published.count).astype(np.int64)
    is_random = chance.is_random < epsilon
    item = np.where(is_random, anything, by_policy)
    category, row = scene.catalogue.category[item].astype(np.int64), np.arange(len(item))
    of_category = odds[row, category] / odds.sum(axis=1)
    policy = of_category * _share_of_category(scene, history, published, account, item)
    return Shown(
        item=item,
        is_random=is_random,
        propensity=epsilon / published.count + (1 - epsilon) * policy,
        policy_score=scores[row, category],
        surface=scene.circumstances.surface[session],
    )


def _scores(scene: Scene, history: History, session: _Ints, taste: npt.NDArray[np.float32]) -> _Floats:
    """Score every category for every row."""
    world, account = scene.world, scene.calendar.user[session]
    direction, of_account = scene.population.category_direction, taste[account].astype(np.float64)
    scores = np.zeros((len(account), len(direction)))
    for dim in range(direction.shape[1]):
        scores += of_account[:, dim, None] * direction[:, dim]
    scores *= world.policy_taste
    scores[np.arange(len(account)), scene.circumstances.mood[session]] += world.policy_private
    if history.likes_in_category is not None:
        scores += world.feedback * np.log1p(history.likes_in_category[account])
    return scores


def _highest(scores: _Floats, mass: _Floats) -> _Floats:
    """Find the top score among categories that hold something: less this, no score overflows."""
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
    scene: Scene, history: History, account: npt.NDArray[np.int32], low: _Ints, high: _Ints, points: _Floats
) -> _Ints:
    """Draw items between places, again and again while the account has seen what came."""
    item = draw_by_popularity(scene.catalogue, low, high, points[0])
    seen = np.arange(len(item))
    for point in points[1:]:
        seen = seen[history.has_seen(account[seen], item[seen])]
        item[seen] = draw_by_popularity(scene.catalogue, low[seen], high[seen], point[seen])
    return item


def _share_of_category(
    scene: Scene, history: History, published: Published, account: npt.NDArray[np.int32], item: _Ints
) -> _Floats:
    """Probability of an item within its category, by the formula of `draw_feed`."""
    category = scene.catalogue.category[item].astype(np.int64)
    mass = published.mass[category]
    seen_share = np.minimum(history.seen_popularity[account, category] / mass, 1.0)
    of_new = sum(seen_share**draw for draw in range(_DRAWS))
    draws = np.where(history.has_seen(account, item), seen_share ** (_DRAWS - 1), of_new)
    return scene.catalogue.popularity[item] / mass * draws
