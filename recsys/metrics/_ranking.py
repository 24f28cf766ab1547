"""How good the first k recommendations are, per user; how much of the catalogue they show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.errors import UsageError, nearest
from recsys.metrics._checks import FloatArray, IntArray


def ndcg_at(recommendations: pl.DataFrame, relevant: pl.DataFrame, k: int) -> pl.DataFrame:
    """Credit each relevant item in the first k by how early it comes, against the best order.

    Parameters
    ----------
    recommendations : polars.DataFrame
        Columns `user_id`, `item_id` and `rank` (whole numbers from 1), one row a pair.
    relevant : polars.DataFrame
        Columns `user_id` and `item_id`; repeated pairs count once.
    k : int
        At least 1.

    Returns
    -------
    polars.DataFrame
        Columns `user_id` (ascending, every user with a relevant item) and `value`, in [0, 1]; higher is
        better. A user without recommendations scores 0.

    Raises
    ------
    UsageError
        When a column is missing, null or of another type than its namesake, a pair or a rank is
        repeated, a rank is below 1, or k is.

    Notes
    -----
    ``DCG@k = sum over hits of 1 / log2(rank + 1)``, divided by the DCG of min(k, relevant) hits in the
    first places.

    References
    ----------
    Järvelin, K., Kekäläinen, J. (2002). Cumulated gain-based evaluation of IR techniques. ACM TOIS 20(4).
    https://doi.org/10.1145/582415.582418

    Examples
    --------
    >>> shown = pl.DataFrame({"user_id": [1, 1], "item_id": [10, 11], "rank": [1, 2]})
    >>> liked = pl.DataFrame({"user_id": [1, 2], "item_id": [11, 10]})
    >>> [round(value, 4) for value in ndcg_at(shown, liked, k=2)["value"]]
    [0.6309, 0.0]
    """
    hits = _find_hits(recommendations, relevant, k)
    best = np.cumsum(1 / np.log2(np.arange(1, k + 1) + 1))
    return hits.per_user(1 / np.log2(hits.rank + 1), best[hits.possible - 1])


def recall_at(recommendations: pl.DataFrame, relevant: pl.DataFrame, k: int) -> pl.DataFrame:
    """Find what share of the relevant items that fit into the first k is there.

    Parameters
    ----------
    recommendations : polars.DataFrame
        Columns `user_id`, `item_id` and `rank` (whole numbers from 1), one row a pair.
    relevant : polars.DataFrame
        Columns `user_id` and `item_id`; repeated pairs count once.
    k : int
        At least 1.

    Returns
    -------
    polars.DataFrame
        Columns `user_id` (ascending, every user with a relevant item) and `value`, in [0, 1]; higher is
        better. A user without recommendations scores 0.

    Raises
    ------
    UsageError
        As `ndcg_at`.

    Notes
    -----
    ``hits / min(k, relevant)``, as in the implicit-feedback papers below, so that 1 can be reached when
    a user has more than k relevant items. Libraries that divide by `relevant` give lower numbers there.

    References
    ----------
    Liang, D. et al. (2018). Variational autoencoders for collaborative filtering. WWW.
    https://doi.org/10.1145/3178876.3186150
    Rendle, S. et al. (2021). iALS++. https://arxiv.org/abs/2110.14044

    Examples
    --------
    >>> shown = pl.DataFrame({"user_id": [1, 1], "item_id": [10, 11], "rank": [1, 2]})
    >>> liked = pl.DataFrame({"user_id": [1, 1, 1], "item_id": [11, 12, 13]})
    >>> recall_at(shown, liked, k=2)["value"].to_list()
    [0.5]
    """
    hits = _find_hits(recommendations, relevant, k)
    return hits.per_user(np.ones(hits.rank.size), hits.possible)


def average_precision_at(recommendations: pl.DataFrame, relevant: pl.DataFrame, k: int) -> pl.DataFrame:
    """Average the precision at each relevant item in the first k; its mean over users is MAP@k.

    Parameters
    ----------
    recommendations : polars.DataFrame
        Columns `user_id`, `item_id` and `rank` (whole numbers from 1), one row a pair.
    relevant : polars.DataFrame
        Columns `user_id` and `item_id`; repeated pairs count once.
    k : int
        At least 1.

    Returns
    -------
    polars.DataFrame
        Columns `user_id` (ascending, every user with a relevant item) and `value`, in [0, 1]; higher is
        better. A user without recommendations scores 0.

    Raises
    ------
    UsageError
        As `ndcg_at`.

    Notes
    -----
    ``sum over hits of (hits up to this rank / rank) / min(k, relevant)``.

    References
    ----------
    Manning, C. D., Raghavan, P., Schütze, H. (2008). Introduction to information retrieval, section 8.4.

    Examples
    --------
    >>> shown = pl.DataFrame({"user_id": [1, 1], "item_id": [10, 11], "rank": [1, 2]})
    >>> average_precision_at(shown, pl.DataFrame({"user_id": [1], "item_id": [11]}), k=2)["value"].to_list()
    [0.5]
    """
    hits = _find_hits(recommendations, relevant, k)
    first = np.searchsorted(hits.user, hits.user)
    return hits.per_user((np.arange(hits.user.size) - first + 1) / hits.rank, hits.possible)


def catalogue_coverage(recommendations: pl.DataFrame, catalogue_size: int, k: int) -> float:
    """Find what share of the catalogue is among somebody's first k.

    Parameters
    ----------
    recommendations : polars.DataFrame
        Columns `user_id`, `item_id` and `rank` (whole numbers from 1), one row a pair.
    catalogue_size : int
        Items that could have been recommended.
    k : int
        At least 1.

    Returns
    -------
    float
        In [0, 1]; higher shows more of the catalogue, which is not by itself better.

    Raises
    ------
    UsageError
        As `ndcg_at`, and when more items are recommended than the catalogue holds.

    Notes
    -----
    ``distinct items with rank <= k / catalogue size``.

    References
    ----------
    Ge, M., Delgado-Battenfeld, C., Jannach, D. (2010). Beyond accuracy: coverage and serendipity. RecSys.
    https://doi.org/10.1145/1864708.1864761

    Examples
    --------
    >>> shown = pl.DataFrame({"user_id": [1, 1], "item_id": [10, 11], "rank": [1, 2]})
    >>> catalogue_coverage(shown, catalogue_size=4, k=2)
    0.5
    """
    return float(np.mean(_times_shown(recommendations, catalogue_size, k) > 0))


def exposure_gini(recommendations: pl.DataFrame, catalogue_size: int, k: int) -> float:
    """Measure how unequally the first k are spread over the catalogue.

    Parameters
    ----------
    recommendations : polars.DataFrame
        Columns `user_id`, `item_id` and `rank` (whole numbers from 1), one row a pair.
    catalogue_size : int
        Items that could have been recommended; those never shown count as zeros.
    k : int
        At least 1.

    Returns
    -------
    float
        0 when every item is shown equally often, towards 1 (at most ``1 - 1 / catalogue size``) when one
        item takes all; lower is more equal. NaN without recommendations.

    Raises
    ------
    UsageError
        As `catalogue_coverage`.

    Notes
    -----
    ``G = sum_i (2 i - n - 1) x_i / (n sum_i x_i)``, x ascending, i from 1, n the catalogue size.

    References
    ----------
    Fleder, D., Hosanagar, K. (2009). Blockbuster culture's next rise or fall. Management Science 55(5).
    https://doi.org/10.1287/mnsc.1080.0974

    Examples
    --------
    >>> shown = pl.DataFrame({"user_id": [1, 2], "item_id": [10, 10], "rank": [1, 1]})
    >>> exposure_gini(shown, catalogue_size=4, k=1)
    0.75
    """
    shown = np.sort(_times_shown(recommendations, catalogue_size, k))
    if not shown.sum():
        return float("nan")
    places = 2 * np.arange(1, shown.size + 1) - shown.size - 1
    return float((places * shown).sum() / (shown.size * shown.sum()))


@dataclass(frozen=True)
class _Hits:
    """Relevant items in the first k, sorted by user and rank."""

    users: pl.Series  # ids of the users with a relevant item, ascending
    possible: IntArray  # (users,) the most hits each can have
    user: IntArray  # (hits,) index into users
    rank: IntArray  # (hits,)

    def per_user(self, gains: FloatArray, best: FloatArray | IntArray) -> pl.DataFrame:
        # bincount adds in row order: a group-by may not, and the last bit would change between runs.
        totals = np.bincount(self.user, weights=gains, minlength=len(self.users))
        return pl.DataFrame({"user_id": self.users, "value": totals / best})


def _find_hits(recommendations: pl.DataFrame, relevant: pl.DataFrame, k: int) -> _Hits:
    _require_columns("relevant", relevant, "user_id", "item_id")
    top = _first_k(recommendations, k)
    for key in ("user_id", "item_id"):
        _require_same_type(key, top, relevant)
    pairs = relevant.select("user_id", "item_id").unique()
    users = pairs.group_by("user_id").len("relevant").sort("user_id").with_row_index("user")
    hits = pairs.join(top, on=["user_id", "item_id"]).join(users, on="user_id").sort("user", "rank")
    possible = np.minimum(users["relevant"].to_numpy().astype(np.int64), k)
    user, rank = (hits[name].to_numpy().astype(np.int64) for name in ("user", "rank"))
    return _Hits(users["user_id"], possible, user, rank)


def _first_k(recommendations: pl.DataFrame, k: int) -> pl.DataFrame:
    if k < 1:
        raise UsageError(f"k must be at least 1, got {k}")
    _require_columns("recommendations", recommendations, "user_id", "item_id", "rank")
    ranks = recommendations["rank"]
    if not ranks.dtype.is_integer() or (ranks < 1).any():
        raise UsageError(f"rank must hold whole numbers from 1, got {ranks.dtype} from {ranks.min()!r}")
    top = recommendations.select("user_id", "item_id", "rank").filter(pl.col("rank") <= k)
    counts = top.group_by("user_id").agg(pl.col("item_id", "rank").n_unique(), pl.len())
    for key in ("item_id", "rank"):
        if (counts[key] < counts["len"]).any():
            raise UsageError(f"recommendations must name each {key} once a user, got repeated ones")
    return top


def _times_shown(recommendations: pl.DataFrame, catalogue_size: int, k: int) -> IntArray:
    counts = _first_k(recommendations, k).group_by("item_id").len()["len"].to_numpy().astype(np.int64)
    if not 0 < catalogue_size >= counts.size:
        raise UsageError(
            f"catalogue_size must be at least 1 and the {counts.size} items recommended, got {catalogue_size}"
        )
    return np.concatenate([np.zeros(catalogue_size - counts.size, dtype=np.int64), counts])


def _require_columns(name: str, frame: pl.DataFrame, *columns: str) -> None:
    for column in columns:
        if column not in frame.columns:
            raise UsageError(f"{name} must have a column {column!r}: {nearest(column, frame.columns)}")
        if frame[column].has_nulls():
            raise UsageError(f"{name} must not hold nulls, got some in {column!r}: leave those rows out")


def _require_same_type(key: str, left: pl.DataFrame, right: pl.DataFrame) -> None:
    if left.schema[key] != right.schema[key]:
        types = f"{left.schema[key]} and {right.schema[key]}"
        raise UsageError(f"{key} must have one type in both frames, got {types}: cast one of them")
