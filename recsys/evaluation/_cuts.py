"""Rows cut into segments by what was known of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.schema import CREATOR, GROUP, ITEM, USER

TENTHS = 10
MOST_NAMED = 20
OTHERS, UNKNOWN = "others", "unknown"
_WARMTH = ("warm", "cold user", "cold item", "cold user and item")


@dataclass(frozen=True)
class Cut:
    """Codes of segments, one a row, and what each code is called."""

    codes: NDArray[np.int64]
    names: list[str]


def cut_rows(
    rows: pl.DataFrame, shown: pl.DataFrame, cold: Mapping[str, NDArray[np.bool_]]
) -> dict[str, Cut]:
    """Cut rows by what was known of them before a cut in time.

    Parameters
    ----------
    rows : polars.DataFrame of n rows
    shown : polars.DataFrame
        Exposures before the cut.
    cold : mapping of str to ndarray of bool, shape (n,)
        By `user_id`, `item_id`: never seen before the cut.

    Returns
    -------
    dict of str to Cut
        `activity`, `popularity`, `warmth`, `creator`, and each ``group_<name>``, as `score_segments` describes them.

    """
    cuts = {
        "activity": cut_tenths(_times_shown(rows, shown, USER), "{:,}".format),
        "popularity": cut_tenths(_times_shown(rows, shown, ITEM), "{:,}".format),
        "warmth": Cut(cold[USER] + 2 * cold[ITEM].astype(np.int64), list(_WARMTH)),
    }
    cuts |= {"creator": _most_shown(rows[CREATOR])} if CREATOR in rows.columns else {}
    return cuts | {name: _most_shown(rows[name]) for name in rows.columns if name.startswith(GROUP)}


def _times_shown(rows: pl.DataFrame, shown: pl.DataFrame, entity: str) -> NDArray[np.int64]:
    times = shown.group_by(entity).len("times")
    counted = rows.select(entity).join(times, on=entity, how="left", maintain_order="left")
    return counted["times"].fill_null(0).to_numpy().astype(np.int64)


def cut_tenths(values: NDArray[np.int64] | NDArray[np.float64], write: Callable[[float], str]) -> Cut:
    """Cut rows into tenths by a value; equal values go where the middle one of them lies."""
    _, place, ties = np.unique(values, return_inverse=True, return_counts=True)
    middles = np.cumsum(ties) - ties / 2
    codes = np.floor(middles * TENTHS / values.size).astype(np.int64)[place]
    names = [""] * TENTHS
    for code in np.unique(codes):
        inside = values[codes == code]
        ends = [write(end) for end in (inside.min(), inside.max())]
        names[code] = ends[0] if ends[0] == ends[1] else " to ".join(ends)
    return Cut(codes, names)


def _most_shown(values: pl.Series) -> Cut:
    """Name the values with the most rows; the rest are one segment, the unknown another."""
    name = values.name
    counts = values.drop_nulls().value_counts().sort(["count", name], descending=[True, False])
    named = counts.head(MOST_NAMED)[name]
    places = pl.DataFrame({name: named, "place": pl.int_range(len(named), eager=True)})
    placed = values.to_frame().join(places, on=name, how="left", maintain_order="left")
    rest = pl.when(pl.col(name).is_null()).then(len(named) + 1).otherwise(len(named))
    codes = placed.select(pl.col("place").fill_null(rest))["place"].to_numpy().astype(np.int64)
    return Cut(codes, [*named.cast(pl.String), OTHERS, UNKNOWN])
