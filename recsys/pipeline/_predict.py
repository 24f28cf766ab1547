"""A published model -> a day of predictions, ranked for users or of given pairs."""

from __future__ import annotations

import polars as pl

from recsys.errors import DataError, UsageError
from recsys.pipeline._days import check_day, present
from recsys.pipeline._job import Job
from recsys.pipeline._load import load_named, name_version, require_after
from recsys.pipeline._outbox import fill, opened
from recsys.pipeline._result import Result
from recsys.pipeline._where import Asked, placed
from recsys.schema import ITEM, USER, require_columns


def predict(
    job: Job,
    version: str = "current",
    users: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
    pairs: pl.DataFrame | None = None,
) -> Result:
    """Publish a day of predictions from a published version.

    Parameters
    ----------
    job : Job
    version : str
    users : polars.DataFrame, optional
        Whom to predict for: `user_id`. Default: everyone seen before the version's as_of.
    items : polars.DataFrame, optional
        The eligible catalogue: `item_id`, optionally `creator_id`, `category`.
    pairs : polars.DataFrame, optional
        Score these pairs instead of ranking: `user_id`, `item_id`.

    Returns
    -------
    Result

    Raises
    ------
    UsageError
        When as_of lies before what the version has seen, or pairs come with users or items.
    InputError
        When there is no such version, or a table lacks a column.
    DataError
        When a table has a row without an id.

    """
    if pairs is not None and (users is not None or items is not None):
        raise UsageError("give either pairs, or users and items to rank")
    for name, table in {"users": users, "items": items, "pairs": pairs}.items():
        if table is not None:
            _require_ids(table, name)
    with opened(job) as run, placed(job) as place:
        if there := present(job, job.as_of):
            return there
        version = name_version(job, version)
        # The log first: little of what it takes to read it stays beside the model.
        log = place.read_shown()
        model = load_named(job, version)
        out = fill(job, run, require_after(log, model))
        if there := check_day(job, out.log):
            return there
        with job.stage("predict"):
            if pairs is not None:
                out.write_predictions(iter([rank_pairs(model.predict_proba(pairs))]), version)
            else:
                place.write_asked(out, model, version, Asked(users, items))
        return out.publish()


def rank_pairs(scored: pl.DataFrame) -> pl.DataFrame:
    """Rank each user's asked pairs by will_like, or by score where that is null.

    Parameters
    ----------
    scored : polars.DataFrame
        As `WillLikeModel.predict_proba` gives it.

    Returns
    -------
    polars.DataFrame
        Sorted by user and rank; a pair asked twice comes once.

    """
    once = scored.unique([USER, ITEM], keep="first", maintain_order=True)
    best_first = once.sort(
        [USER, "will_like", "score", ITEM], descending=[False, True, True, False], nulls_last=True
    )
    return best_first.with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over(USER).alias("rank"))


def _require_ids(table: pl.DataFrame, name: str) -> None:
    needed = {"users": (USER,), "items": (ITEM,), "pairs": (USER, ITEM)}[name]
    require_columns(table, needed, f"the table of {name}")
    for column in needed:
        if missing := table[column].null_count():
            raise DataError(f"{missing:,} of {len(table):,} rows of the table of {name} have no {column}")
