"""What was shown and pressed before a refresh of the feed: all that one tick hands to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.simulation._catalogue import Catalogue
from recsys.simulation._population import CATEGORIES
from recsys.simulation._world import World

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class History:
    """What was shown and pressed.

    Attributes
    ----------
    seen : ndarray of int64, shape (n_seen,)
        Every (account, item) that was shown, once, as ``account · n_items + item``; sorted.
    seen_popularity : ndarray of float64, shape (n_users, n_categories)
        Of the items that an account was shown, each counted once.
    likes_of_item : ndarray of int64, shape (n_items,)
    likes_in_category : ndarray of int32, shape (n_users, n_categories), or None
        None where the feed does not read likes.
    """

    seen: _Ints
    seen_popularity: npt.NDArray[np.float64]
    likes_of_item: _Ints
    likes_in_category: npt.NDArray[np.int32] | None

    def has_seen(self, account: npt.NDArray[Any], item: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Look pairs up among those that were shown.

        Parameters
        ----------
        account, item : ndarray of int, shape (n_pairs,)

        Returns
        -------
        ndarray of bool, shape (n_pairs,)
        """
        return _is_in(self.seen, _key(account, item, len(self.likes_of_item)))


def empty_history(world: World) -> History:
    """Begin a log.

    Parameters
    ----------
    world : World

    Returns
    -------
    History
    """
    shape = (world.users, len(CATEGORIES))
    return History(
        seen=np.zeros(0, dtype=np.int64),
        seen_popularity=np.zeros(shape),
        likes_of_item=np.zeros(world.items, dtype=np.int64),
        likes_in_category=np.zeros(shape, dtype=np.int32) if world.feedback else None,
    )


def extend_history(
    history: History,
    catalogue: Catalogue,
    account: npt.NDArray[Any],
    item: npt.NDArray[Any],
    liked: npt.NDArray[np.bool_],
) -> History:
    """Add the exposures of a tick.

    Parameters
    ----------
    history : History
    catalogue : Catalogue
    account, item : ndarray of int, shape (n_rows,)
    liked : ndarray of bool, shape (n_rows,)

    Returns
    -------
    History
    """
    items, category = len(history.likes_of_item), catalogue.category
    shown = np.sort(_key(account, item, items))
    shown = shown[np.flatnonzero(np.diff(shown, prepend=-1))]
    new = shown[~_is_in(history.seen, shown)]
    of_account, of_item = np.divmod(new, items)
    seen_popularity = history.seen_popularity.copy()
    np.add.at(seen_popularity, (of_account, category[of_item]), catalogue.popularity[of_item])
    likes_in_category = history.likes_in_category
    if likes_in_category is not None:
        likes_in_category = likes_in_category.copy()
        np.add.at(likes_in_category, (account[liked], category[item[liked]]), 1)
    return History(
        seen=np.insert(history.seen, np.searchsorted(history.seen, new), new),
        seen_popularity=seen_popularity,
        likes_of_item=history.likes_of_item + np.bincount(item[liked], minlength=items),
        likes_in_category=likes_in_category,
    )


def _key(account: npt.NDArray[Any], item: npt.NDArray[Any], items: int) -> _Ints:
    key: _Ints = account.astype(np.int64) * items + item
    return key


def _is_in(sorted_keys: _Ints, keys: _Ints) -> npt.NDArray[np.bool_]:
    if not len(sorted_keys):
        return np.zeros(len(keys), dtype=bool)
    # In their order the look-ups are three times as fast: neighbours share the cache.
    order = np.argsort(keys)
    place = np.minimum(np.searchsorted(sorted_keys, keys[order]), len(sorted_keys) - 1)
    found = np.empty(len(keys), dtype=bool)
    found[order] = sorted_keys[place] == keys[order]
    return found
