"""The catalogue as the feed sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.simulation._population import CATEGORIES, Population, seconds_since_start
from recsys.simulation._world import TICK_SECONDS

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


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
    popularity : ndarray of float32, shape (n_items,)
        Of each item, in the order of the catalogue.
    premieres : ndarray of int64, shape (n_premieres,)
        Items of creators with fans, born inside the log, by creator and age.
    premiere_key : ndarray of int64, shape (n_premieres,)
        Of each, from `premiere_key`.
    """

    item: _Ints
    created: _Ints
    edge: _Ints
    cumulative: _Floats
    category: npt.NDArray[np.int8]
    popularity: npt.NDArray[np.float32]
    premieres: _Ints
    premiere_key: _Ints


@dataclass(frozen=True)
class Published:
    """What the shelves hold between two refreshes.

    Attributes
    ----------
    low, high : ndarray of int64, shape (n_categories,)
        First place of each shelf, and the first beyond what is published.
    mass : ndarray of float64, shape (n_categories,)
        Popularity of what is published.
    count : int
        Published items. The catalogue is sorted by age: they are its first ones.
    """

    low: _Ints
    high: _Ints
    mass: _Floats
    count: int


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
    names = items["category"].replace_strict(CATEGORIES, range(len(CATEGORIES)), return_dtype=pl.Int8)
    category, popularity = names.to_numpy(), items["popularity"].to_numpy()
    order = np.lexsort((created, category))
    is_premiere = items["creator_id"].is_in(fandoms.implode()).to_numpy() & (created >= 0)
    key = premiere_key(items["creator_id"].to_numpy(), created)
    premieres = np.flatnonzero(is_premiere)[np.argsort(key[is_premiere], kind="stable")]
    return Shelves(
        item=order,
        created=created[order],
        edge=np.searchsorted(category[order], np.arange(len(CATEGORIES) + 1)),
        cumulative=np.concatenate([[0.0], np.cumsum(popularity[order].astype(np.float64))]),
        category=category,
        popularity=popularity,
        premieres=premieres,
        premiere_key=key[premieres],
    )


def published_at(shelves: Shelves, tick: int) -> Published:
    """Find what was created before a tick.

    Parameters
    ----------
    shelves : Shelves
    tick : int

    Returns
    -------
    Published
    """
    out = np.concatenate([[0], np.cumsum(shelves.created < tick * TICK_SECONDS)])
    low = shelves.edge[:-1]
    high = low + out[shelves.edge[1:]] - out[low]
    return Published(low, high, shelves.cumulative[high] - shelves.cumulative[low], int(out[-1]))


def draw_places(shelves: Shelves, low: _Ints, high: _Ints, point: _Floats) -> _Ints:
    """Draw places by popularity between two edges, and take the items there.

    Parameters
    ----------
    shelves : Shelves
    low, high : ndarray of int64, shape (n_rows,)
    point : ndarray of float64, shape (n_rows,)
        Uniform in [0, 1).

    Returns
    -------
    ndarray of int64, shape (n_rows,)
        Rows of the catalogue.
    """
    start = shelves.cumulative[low]
    place = np.searchsorted(shelves.cumulative, start + point * (shelves.cumulative[high] - start), "right")
    return shelves.item[np.clip(place - 1, low, high - 1)]


def premiere_key(creator: npt.NDArray[Any], seconds: npt.NDArray[Any]) -> _Ints:
    """Number moments of creators so that those of one creator stand together, in time.

    Parameters
    ----------
    creator : ndarray of int, shape (n,)
        Creator ids.
    seconds : ndarray of int, shape (n,)
        Since the log's start; below 2³³.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    key: _Ints = (creator.astype(np.int64) << 33) + seconds
    return key
