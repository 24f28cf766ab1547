"""Who is there to be shown things, and what there is to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.simulation._world import LOG_STARTS, SECONDS_A_DAY, World

# Ids are not row numbers, so that code that takes one for the other fails on the embedded sample.
FIRST_ID = 1
SHORTEST_SECONDS, LONGEST_SECONDS = 5, 60
TIME = pl.Datetime("us", "UTC")
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
_ITEMS_A_CREATOR = 5
_CREATOR_SPREAD = 0.4
_ITEM_SPREAD = 0.3
_POPULARITY_TAIL = 0.7
_MEDIAN_SECONDS = 20.0
_MEAN_AGE_DAYS = 60.0


@dataclass(frozen=True)
class _Origins:
    creator: npt.NDArray[np.int64]
    category: npt.NDArray[np.int64]
    direction: npt.NDArray[np.float64]


def draw_users(world: World) -> pl.DataFrame:
    """Draw taste, habit and activity.

    Parameters
    ----------
    world : World

    Returns
    -------
    polars.DataFrame
        One row a user: `user_id`, `habit` (log-odds), `activity` (relative), `taste` (array). The
        float32 values are the truth, not a rounding of it.
    """
    taste = world.taste_spread * world.stream("user taste").standard_normal((world.users, world.taste_dims))
    habit = world.habit_spread * world.stream("user habit").standard_normal(world.users)
    activity = np.exp(world.activity_spread * world.stream("user activity").standard_normal(world.users))
    return pl.DataFrame(
        {
            "user_id": np.arange(world.users, dtype=np.int64) + FIRST_ID,
            "habit": habit.astype(np.float32),
            "activity": (activity / activity.mean()).astype(np.float32),
            "taste": _array_column(taste),
        }
    )


def draw_items(world: World) -> pl.DataFrame:
    """Draw the catalogue, oldest item first.

    Parameters
    ----------
    world : World

    Returns
    -------
    polars.DataFrame
        One row an item: `item_id`, `creator_id`, `category`, `item_created_at`, `duration_seconds`,
        `popularity` (relative, a power law of its rank), `quality`, `direction` (unit array).
    """
    origins = _draw_origins(world)
    rank = world.stream("item popularity").permutation(np.arange(1, world.items + 1))
    popularity = rank.astype(np.float64) ** -_POPULARITY_TAIL
    quality = world.quality_spread * world.stream("item quality").standard_normal(world.items)
    seconds = _MEDIAN_SECONDS * np.exp(0.5 * world.stream("item duration").standard_normal(world.items))
    return pl.DataFrame(
        {
            "item_id": np.arange(world.items, dtype=np.int64) + FIRST_ID,
            "creator_id": (origins.creator + FIRST_ID).astype(np.int32),
            "category": np.array(CATEGORIES)[origins.category],
            "item_created_at": instants(_draw_created(world)),
            "duration_seconds": np.clip(seconds.round(), SHORTEST_SECONDS, LONGEST_SECONDS).astype(np.int32),
            "popularity": (popularity / popularity.mean()).astype(np.float32),
            "quality": quality.astype(np.float32),
            "direction": _array_column(origins.direction),
        }
    )


def affinity(
    taste: npt.NDArray[Any], direction: npt.NDArray[Any], user: npt.NDArray[Any], item: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
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
    total = np.zeros(len(user))
    # Not a matrix product: BLAS may add in another order on another number of threads.
    for dim in range(taste.shape[1]):
        total += taste[user, dim].astype(np.float64) * direction[item, dim]
    return total


def instants(seconds: npt.NDArray[np.int64]) -> pl.Series:
    """Turn seconds since the log's start into instants.

    Parameters
    ----------
    seconds : ndarray of int64

    Returns
    -------
    polars.Series of Datetime
        Microseconds, UTC.
    """
    return pl.Series((seconds + int(LOG_STARTS.timestamp())) * 1_000_000, dtype=pl.Int64).cast(TIME)


def seconds_since_start(times: pl.Series) -> npt.NDArray[np.int64]:
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
    length = np.sqrt((direction**2).sum(axis=1, keepdims=True))
    return _Origins(creator, category[creator], direction / length)


def _draw_created(world: World) -> npt.NDArray[np.int64]:
    """Ages at the end of the log are exponential, so that some items are born inside it."""
    ages = world.stream("item age").exponential(_MEAN_AGE_DAYS * SECONDS_A_DAY, world.items)
    created = np.sort(world.seconds - np.ceil(ages).astype(np.int64))
    created[0] = min(created[0], -SECONDS_A_DAY)  # the first session needs something to show
    return created


def _array_column(values: npt.NDArray[np.float64]) -> pl.Series:
    return pl.Series(values.astype(np.float32), dtype=pl.Array(pl.Float32, values.shape[1]))
