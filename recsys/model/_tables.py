"""Ids and pairs as they are given -> as the log has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from recsys.matrix import UNSEEN, IdIndex, UserItems, interactions
from recsys.schema import ITEM, LIKED, USER, Frame, require_columns, same_id_kind, to_polars


def as_logged(ids: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Give ids the log's type where it can hold them."""
    same_id_kind(ids.dtype, dtype, ids.name)
    logged = ids.cast(dtype, strict=False)
    return logged if logged.null_count() == ids.null_count() else ids


def index_users(user_ids: Any, known: IdIndex) -> IdIndex:
    """Number the users that are asked for: ids, one id, or None for all that are known."""
    if user_ids is None:
        return known
    if isinstance(user_ids, int | str):
        user_ids = [user_ids]
    return IdIndex.of(as_logged(pl.Series(USER, user_ids), known.ids.dtype))


def list_items(items: Frame | None, known: IdIndex) -> pl.DataFrame:
    """List the items that are eligible, each once, ascending; None for all that are known."""
    if items is None:
        return pl.DataFrame({ITEM: known.ids})
    catalogue = to_polars(items)
    require_columns(catalogue, (ITEM,), "the table of items")
    ids = as_logged(catalogue[ITEM], known.ids.dtype)
    return catalogue.with_columns(ids).drop_nulls(ITEM).unique(ITEM, keep="first").sort(ITEM)


def exclusion_matrix(users: IdIndex, items: pl.Series, pairs: pl.DataFrame) -> UserItems:
    """Mark pairs among the users and items that are asked for, shape (n_users, n_items)."""
    rows, columns = users.codes(pairs[USER]), IdIndex(items).codes(pairs[ITEM])
    both = (rows != UNSEEN) & (columns != UNSEEN)
    shape = (len(users), len(items))
    return interactions(rows[both], columns[both], np.ones(int(both.sum()), np.float32), shape)


def pairs_of(exposures: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Name the pairs not to recommend again.

    Parameters
    ----------
    exposures : polars.DataFrame
    kind : {"seen", "liked", "none"}

    Returns
    -------
    polars.DataFrame
        `user_id`, `item_id`.

    """
    kept = {"seen": pl.lit(True), "liked": pl.col(LIKED), "none": pl.lit(False)}[kind]
    return exposures.filter(kept).select(USER, ITEM)
