"""For whom, on what and when a forecast is right: the test window cut in several ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.inference import segment_biases
from recsys.matrix import distinct_codes
from recsys.metrics import binary_entropy
from recsys.schema import CREATOR, GROUP, ITEM, LIKED, TIME, USER

TENTHS = 10
MOST_NAMED = 20
BINS_A_DECADE = 10
OTHERS, UNKNOWN = "others", "unknown"
_WARMTH = ("warm", "cold user", "cold item", "cold user and item")


@dataclass(frozen=True)
class Scored:
    """The rows of a window with one model's forecast.

    Attributes
    ----------
    rows : polars.DataFrame of n rows
        `user_id`, `item_id`, `timestamp`, `liked`, and `creator_id`, ``group_<name>`` where there are any.
    will_like, log_loss : ndarray of float64, shape (n,)
    cold : dict of str to ndarray of bool, shape (n,)
        By `user_id`, `item_id`: never seen before the cut.

    """

    rows: pl.DataFrame
    will_like: NDArray[np.float64]
    log_loss: NDArray[np.float64]
    cold: Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class _Cut:
    """Codes of segments, one a row, and what each code is called."""

    codes: NDArray[np.int64]
    names: list[str]


def score_segments(scored: Scored, shown: pl.DataFrame) -> pl.DataFrame:
    """Cut the window by what was known of its rows, and score every part.

    Parameters
    ----------
    scored : Scored
    shown : polars.DataFrame
        Exposures before the cut.

    Returns
    -------
    polars.DataFrame
        One row a `kind` and `segment`: tenths of the exposures by `forecast`, by the user's and the item's
        number of exposures before the cut (`activity`, `popularity`; ties stay together, so that there
        may be fewer than ten), by `warmth`, by `creator` (the 20 with the most exposures here, and
        `others`), and by each ``group_<name>``. Then the columns of
        `recsys.inference.segment_biases`, marks within a kind, and `normalized_entropy` (lower is better; 1
        knows the segment's own rate; null where all rows have one label).

    """
    rows = scored.rows
    cuts = {
        "forecast": _tenths(scored.will_like, lambda end: f"{100 * end:.2g} %"),
        "activity": _tenths(_times_shown(rows, shown, USER), "{:,}".format),
        "popularity": _tenths(_times_shown(rows, shown, ITEM), "{:,}".format),
        "warmth": _Cut(scored.cold[USER] + 2 * scored.cold[ITEM].astype(np.int64), list(_WARMTH)),
    }
    cuts |= {"creator": _most_shown(rows[CREATOR])} if CREATOR in rows.columns else {}
    cuts |= {name: _most_shown(rows[name]) for name in rows.columns if name.startswith(GROUP)}
    return pl.concat([_score_cut(kind, cut, scored) for kind, cut in cuts.items()])


def score_days(scored: Scored) -> pl.DataFrame:
    """Follow calibration over the days of the window.

    Parameters
    ----------
    scored : Scored

    Returns
    -------
    polars.DataFrame
        One row a `day` (UTC): `exposures`, `likes`, `users`, `like_rate`, `will_like`, `bias`, `bias_low`,
        `bias_high`, as in `recsys.inference.segment_biases`.

    """
    days = scored.rows[TIME].dt.date()
    found = _biases(days.rank("dense").to_numpy().astype(np.int64), scored)
    kept = found.drop("bias_shrunk", "p_value", "marked")
    return kept.insert_column(0, days.unique().sort().alias("day"))


def count_forecasts(scored: Scored) -> pl.DataFrame:
    """Count liked and unliked rows by forecast, in tenths of a decade.

    Parameters
    ----------
    scored : Scored

    Returns
    -------
    polars.DataFrame
        One row a bin from the lowest forecast to the highest, empty ones too: `low` (inclusive), `high`,
        `liked`, `unliked`.

    """
    bins = np.floor(np.log10(scored.will_like) * BINS_A_DECADE).astype(np.int64)
    first = int(bins.min())
    size = int(bins.max()) - first + 1
    liked = np.bincount(bins[scored.rows[LIKED].to_numpy()] - first, minlength=size)
    edges = 10.0 ** (np.arange(first, first + size + 1) / BINS_A_DECADE)
    return pl.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "liked": liked,
            "unliked": np.bincount(bins - first, minlength=size) - liked,
        }
    )


def _score_cut(kind: str, cut: _Cut, scored: Scored) -> pl.DataFrame:
    present, codes = np.unique(cut.codes, return_inverse=True)
    found = _biases(codes, scored)
    log_loss = np.bincount(codes, weights=scored.log_loss) / np.bincount(codes)
    entropy = binary_entropy(found["like_rate"].to_numpy())
    ratio = np.divide(log_loss, entropy, out=np.full(log_loss.size, np.nan), where=entropy > 0)
    return found.select(
        pl.lit(kind).alias("kind"),
        pl.Series("segment", [cut.names[code] for code in present]),
        pl.col("exposures", "likes", "users", "like_rate", "will_like"),
        pl.Series("normalized_entropy", ratio).fill_nan(None),
        pl.col("bias", "bias_low", "bias_high", "bias_shrunk", "p_value", "marked"),
    )


def _biases(codes: NDArray[np.int64], scored: Scored) -> pl.DataFrame:
    users, liked = distinct_codes(scored.rows[USER]), scored.rows[LIKED].to_numpy()
    return segment_biases(codes, users, liked, scored.will_like)


def _times_shown(rows: pl.DataFrame, shown: pl.DataFrame, entity: str) -> NDArray[np.int64]:
    times = shown.group_by(entity).len("times")
    counted = rows.select(entity).join(times, on=entity, how="left", maintain_order="left")
    return counted["times"].fill_null(0).to_numpy().astype(np.int64)


def _tenths(values: NDArray[np.int64] | NDArray[np.float64], write: Callable[[float], str]) -> _Cut:
    """Cut rows into tenths by a value; equal values go where the middle one of them lies."""
    _, place, ties = np.unique(values, return_inverse=True, return_counts=True)
    middles = np.cumsum(ties) - ties / 2
    codes = np.floor(middles * TENTHS / values.size).astype(np.int64)[place]
    names = [""] * TENTHS
    for code in np.unique(codes):
        inside = values[codes == code]
        ends = [write(end) for end in (inside.min(), inside.max())]
        names[code] = ends[0] if ends[0] == ends[1] else " to ".join(ends)
    return _Cut(codes, names)


def _most_shown(values: pl.Series) -> _Cut:
    """Name the values with the most rows; the rest are one segment, the unknown another."""
    name = values.name
    counts = values.drop_nulls().value_counts().sort(["count", name], descending=[True, False])
    named = counts.head(MOST_NAMED)[name]
    places = pl.DataFrame({name: named, "place": pl.int_range(len(named), eager=True)})
    placed = values.to_frame().join(places, on=name, how="left", maintain_order="left")
    rest = pl.when(pl.col(name).is_null()).then(len(named) + 1).otherwise(len(named))
    codes = placed.select(pl.col("place").fill_null(rest))["place"].to_numpy().astype(np.int64)
    return _Cut(codes, [*named.cast(pl.String), OTHERS, UNKNOWN])
