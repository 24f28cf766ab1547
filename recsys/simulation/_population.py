"""Who is there to be shown things, and what there is to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.simulation._world import LOG_STARTS, SECONDS_A_DAY, TICK_SECONDS, World

# Ids are not row numbers, so that code that takes one for the other fails on the embedded sample.
FIRST_ID = 1
SHORTEST_SECONDS, LONGEST_SECONDS = 5, 60
TIME_TYPE = pl.Datetime("us", "UTC")
CATEGORIES = (
    "animals",
    "art",
    "comedy",
    "cooking",
    "dance",
    "fashion",
    "games",
    "music",
    "news",
    "science",
    "sports",
    "travel",
)
GROUPS = ("a", "b")
HUMAN, SYNTHETIC = "human", "synthetic"
SYNTHETIC_QUALITY = -0.5
_ITEMS_A_CREATOR = 5
_FANDOMS_A_CREATOR = 0.05
_CREATOR_SPREAD = 0.4
_ITEM_SPREAD = 0.3
_POPULARITY_TAIL = 0.7
_MEDIAN_SECONDS = 20.0
_MEAN_AGE_DAYS = 60.0
_MOST_ACTIVE = 4.0  # standard deviations: nobody has to watch for longer than the log lasts
_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """Everybody and everything, drawn before the first exposure.

    Attributes
    ----------
    users : polars.DataFrame
        One row a user: `user_id`, `habit` (log-odds), `activity` (relative), `group_cohort`, `fan_of` (a
        creator, or null), `taste` and `taste_later` (arrays: where it is, and where a quarter turn of drift takes it).
    items : polars.DataFrame
        One row an item, oldest first: `item_id`, `creator_id`, `category`, `item_created_at`,
        `duration_seconds`, `provenance`, `popularity` (relative, a power law of its rank), `quality`,
        `direction` (unit array).
    category_direction : ndarray of float64, shape (n_categories, n_dims)
        Unit vectors.

    Notes
    -----
    The float32 values of the tables are the truth, not a rounding of it.
    """

    users: pl.DataFrame
    items: pl.DataFrame
    category_direction: _Floats


@dataclass(frozen=True)
class _Origins:
    creator: _Ints
    category: _Ints
    direction: _Floats
    category_direction: _Floats
    synthetic: npt.NDArray[np.bool_]


def draw_population(world: World) -> Population:
    """Draw users and the catalogue.

    Parameters
    ----------
    world : World

    Returns
    -------
    Population
    """
    origins = _draw_origins(world)
    items = _draw_items(world, origins)
    return Population(_draw_users(world, items), items, origins.category_direction)


def _draw_users(world: World, items: pl.DataFrame) -> pl.DataFrame:
    shape = (world.users, world.taste_dims)
    taste = world.taste_spread * world.stream("user taste").standard_normal(shape)
    later = _across(taste, world.stream("user taste later").standard_normal(shape))
    habit = world.habit_spread * world.stream("user habit").standard_normal(world.users)
    spread = np.clip(world.stream("user activity").standard_normal(world.users), -_MOST_ACTIVE, _MOST_ACTIVE)
    activity = np.exp(world.activity_spread * spread)
    in_b = world.stream("user group").random(world.users) < world.group_share
    return pl.DataFrame(
        {
            "user_id": np.arange(world.users, dtype=np.int64) + FIRST_ID,
            "habit": habit.astype(np.float32),
            "activity": (activity / activity.mean()).astype(np.float32),
            "group_cohort": np.array(GROUPS)[in_b.astype(np.int64)],
            "fan_of": _draw_fans(world, items),
            "taste": _array_column(taste),
            "taste_later": _array_column(later),
        }
    )


def _across(taste: _Floats, drawn: _Floats) -> _Floats:
    """Turn draws at a right angle to taste, and give them its length."""
    length = (taste**2).sum(axis=1, keepdims=True)
    across = drawn - taste * (taste * drawn).sum(axis=1, keepdims=True) / np.where(length, length, 1.0)
    found: _Floats = _unit(across) * np.sqrt(length)
    return found


def _draw_fans(world: World, items: pl.DataFrame) -> pl.Series:
    """Draw fans of creators that publish inside the log; where nobody does, there are none."""
    publishing = items.filter(pl.col("item_created_at") >= LOG_STARTS)["creator_id"].unique().sort()
    creators = world.stream("fandom").permutation(publishing.to_numpy())
    creators = creators[: max(1, round(_FANDOMS_A_CREATOR * items["creator_id"].n_unique()))]
    is_fan = world.stream("fan").random(world.users) < world.fandoms
    chosen = world.stream("fan of").integers(max(1, len(creators)), size=world.users)
    if not len(creators):
        return pl.Series([None] * world.users, dtype=pl.Int32)
    return pl.select(pl.when(pl.Series(is_fan)).then(pl.Series(creators[chosen]))).to_series().cast(pl.Int32)


def _draw_items(world: World, origins: _Origins) -> pl.DataFrame:
    rank = world.stream("item popularity").permutation(np.arange(1, world.items + 1))
    popularity = rank.astype(np.float64) ** -_POPULARITY_TAIL
    quality = world.quality_spread * world.stream("item quality").standard_normal(world.items)
    synthetic = origins.synthetic[origins.creator]
    seconds = _MEDIAN_SECONDS * np.exp(0.5 * world.stream("item duration").standard_normal(world.items))
    return pl.DataFrame(
        {
            "item_id": np.arange(world.items, dtype=np.int64) + FIRST_ID,
            "creator_id": (origins.creator + FIRST_ID).astype(np.int32),
            "category": np.array(CATEGORIES)[origins.category],
            "item_created_at": instants(_draw_created(world)),
            "duration_seconds": np.clip(seconds.round(), SHORTEST_SECONDS, LONGEST_SECONDS).astype(np.int32),
            "provenance": np.array((HUMAN, SYNTHETIC))[synthetic.astype(np.int64)],
            "popularity": (popularity / popularity.mean()).astype(np.float32),
            "quality": (quality + SYNTHETIC_QUALITY * synthetic).astype(np.float32),
            "direction": _array_column(origins.direction),
        }
    )


def affinity(
    taste: npt.NDArray[Any], direction: npt.NDArray[Any], user: npt.NDArray[Any], item: npt.NDArray[Any]
) -> _Floats:
    """Dot products of pairs.

    Parameters
    ----------
    taste : ndarray, shape (n_users, n_dims)
    direction : ndarray, shape (n_items, n_dims)
    user, item : ndarray of int, shape (n_pairs,)
        Rows.

    Returns
    -------
    ndarray of float64, shape (n_pairs,)
    """
    left, right = taste[user], direction[item]
    total = np.zeros(len(user))
    # Not a matrix product: BLAS may add in another order on another number of threads.
    for dim in range(taste.shape[1]):
        total += left[:, dim].astype(np.float64) * right[:, dim]
    return total


def taste_at(world: World, users: pl.DataFrame, tick: int) -> npt.NDArray[np.float32]:
    """Turn every taste by what it has drifted since the log's start.

    Parameters
    ----------
    world : World
    users : polars.DataFrame
        With `taste` and `taste_later`.
    tick : int

    Returns
    -------
    ndarray of float32, shape (n_users, n_dims)
        ``cos(φ) · taste + sin(φ) · taste_later``, φ = drift · days.
    """
    taste: npt.NDArray[np.float32] = users["taste"].to_numpy()
    angle = world.drift * tick * TICK_SECONDS / SECONDS_A_DAY
    if not angle:
        return taste
    turned = np.cos(angle) * taste + np.sin(angle) * users["taste_later"].to_numpy()
    later: npt.NDArray[np.float32] = turned.astype(np.float32)
    return later


def instants(seconds: npt.NDArray[Any]) -> pl.Series:
    """Turn seconds since the log's start into instants.

    Parameters
    ----------
    seconds : ndarray of int

    Returns
    -------
    polars.Series of Datetime
        Microseconds, UTC.
    """
    micros = (seconds.astype(np.int64) + int(LOG_STARTS.timestamp())) * 1_000_000
    return pl.Series(micros, dtype=pl.Int64).cast(TIME_TYPE)


def seconds_since_start(times: pl.Series) -> _Ints:
    """Undo `instants`.

    Parameters
    ----------
    times : polars.Series of Datetime

    Returns
    -------
    ndarray of int64
    """
    return times.dt.epoch("s").to_numpy() - int(LOG_STARTS.timestamp())


def _draw_origins(world: World) -> _Origins:
    """Creators keep to a category, items to their creator."""
    creators = max(1, world.items // _ITEMS_A_CREATOR)
    category = world.stream("creator category").integers(len(CATEGORIES), size=creators)
    creator = world.stream("item creator").integers(creators, size=world.items)
    of_category = world.stream("category direction").standard_normal((len(CATEGORIES), world.taste_dims))
    of_creator = world.stream("creator direction").standard_normal((creators, world.taste_dims))
    of_item = world.stream("item direction").standard_normal((world.items, world.taste_dims))
    direction = of_category[category] + _CREATOR_SPREAD * of_creator
    direction = direction[creator] + _ITEM_SPREAD * of_item
    synthetic = world.stream("synthetic creator").random(creators) < world.synthetic_creators
    return _Origins(creator, category[creator], _unit(direction), _unit(of_category), synthetic)


def _unit(vectors: _Floats) -> _Floats:
    length: _Floats = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    return vectors / np.where(length, length, 1.0)


def _draw_created(world: World) -> _Ints:
    """Ages at the end of the log are exponential, so that some items are born inside it."""
    ages = world.stream("item age").exponential(_MEAN_AGE_DAYS * SECONDS_A_DAY, world.items)
    created = np.sort(world.seconds - np.ceil(ages).astype(np.int64))
    created[0] = min(created[0], -SECONDS_A_DAY)  # the first session needs something to show
    return created


def _array_column(values: _Floats) -> pl.Series:
    return pl.Series(values.astype(np.float32), dtype=pl.Array(pl.Float32, values.shape[1]))
