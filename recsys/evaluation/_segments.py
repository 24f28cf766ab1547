"""For whom, on what and when a forecast is right: the test window cut in several ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.evaluation._cuts import Cut, cut_rows, cut_tenths
from recsys.inference import segment_biases
from recsys.matrix import distinct_codes
from recsys.metrics import binary_entropy
from recsys.schema import LIKED, TIME, USER

BINS_A_DECADE = 10


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
    forecast = cut_tenths(scored.will_like, lambda end: f"{100 * end:.2g} %")
    cuts = {"forecast": forecast, **cut_rows(scored.rows, shown, scored.cold)}
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


def _score_cut(kind: str, cut: Cut, scored: Scored) -> pl.DataFrame:
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
