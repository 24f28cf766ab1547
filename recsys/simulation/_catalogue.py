"""The items as the feed sees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.simulation._population import CATEGORIES, seconds_since_start
from recsys.simulation._world import TICK_SECONDS

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Catalogue:
    """The items by category, and within it by age, so that what is published is a prefix.

    Attributes
    ----------
    item : ndarray of int64, shape (n_items,)
        Row of the item in each place.
    created : ndarray of int64, shape (n_items,)
        Seconds since the log's start, in the order of the places.
    edge : ndarray of int64, shape (n_categories + 1,)
        Where each category begins, and the last one ends.
    cumulative : ndarray of float64, shape (n_items + 1,)
        Popularity of all places before.
    category : ndarray of int8, shape (n_items,)
        Of each item, in the order of the catalogue.
    popularity : ndarray of float32, shape (n_items,)
        Of each item, in the order of the catalogue.
    """

    item: _Ints
    created: _Ints
    edge: _Ints
    cumulative: _Floats
    category: npt.NDArray[np.int8]
    popularity: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Published:
    """What can be shown between two refreshes.

    Attributes
    ----------
    low, high : ndarray of int64, shape (n_categories,)
        First place of each category, and the first beyond what is published.
    mass : ndarray of float64, shape (n_categories,)
        Popularity of what is published.
    count : int
        Published items. The catalogue is sorted by age: they are its first ones.
    """

    low: _Ints
    high: _Ints
    mass: _Floats
    count: int


def build_catalogue(items: pl.DataFrame) -> Catalogue:
    """Sort the items for the feed.

    Parameters
    ----------
    items : polars.DataFrame
        As drawn by `draw_population`.

    Returns
    -------
    Catalogue
    """
    created = seconds_since_start(items["item_created_at"])
    names = items["category"].replace_strict(CATEGORIES, range(len(CATEGORIES)), return_dtype=pl.Int8)
    category, popularity = names.to_numpy(), items["popularity"].to_numpy()
    order = np.lexsort((created, category))
    return Catalogue(
        item=order,
        created=created[order],
        edge=np.searchsorted(category[order], np.arange(len(CATEGORIES) + 1)),
        cumulative=np.concatenate([[0.0], np.cumsum(popularity[order].astype(np.float64))]),
        category=category,
        popularity=popularity,
    )


def published_at(catalogue: Catalogue, tick: int) -> Published:
    """Find what was created before a tick.

    Parameters
    ----------
    catalogue : Catalogue
    tick : int

    Returns
    -------
    Published
    """
    before = np.concatenate([[0], np.cumsum(catalogue.created < tick * TICK_SECONDS)])
    low = catalogue.edge[:-1]
    high = low + before[catalogue.edge[1:]] - before[low]
    return Published(low, high, catalogue.cumulative[high] - catalogue.cumulative[low], int(before[-1]))


def draw_by_popularity(catalogue: Catalogue, low: _Ints, high: _Ints, point: _Floats) -> _Ints:
    """Draw places between two edges by popularity, and take the items there.

    Parameters
    ----------
    catalogue : Catalogue
    low, high : ndarray of int64, shape (n_rows,)
    point : ndarray of float64, shape (n_rows,)
        Uniform in [0, 1).

    Returns
    -------
    ndarray of int64, shape (n_rows,)
        Rows of the catalogue.
    """
    start = catalogue.cumulative[low]
    place = np.searchsorted(
        catalogue.cumulative, start + point * (catalogue.cumulative[high] - start), "right"
    )
    return catalogue.item[np.clip(place - 1, low, high - 1)]


def usual_likes(catalogue: Catalogue, likes: npt.NDArray[np.int64], tick: int) -> float:
    """Average ``ln(1 + likes)`` over what is published, by popularity.

    Parameters
    ----------
    catalogue : Catalogue
    likes : ndarray of int64, shape (n_items,)
        Of each item, in the order of the log's items.
    tick : int

    Returns
    -------
    float
    """
    published = catalogue.item[catalogue.created < tick * TICK_SECONDS]
    weight = catalogue.popularity[published].astype(np.float64)
    return float((weight * np.log1p(likes[published])).sum() / weight.sum())
