"""A published model, a user and an item -> why its probability is what it is."""

from __future__ import annotations

import polars as pl

from recsys.errors import UsageError
from recsys.model import Explanation, WillLikeModel
from recsys.pipeline._job import Job
from recsys.pipeline._load import load_named, name_version, require_after
from recsys.pipeline._where import rank
from recsys.schema import ITEM, USER


def explain(job: Job, user: str, item: str | None = None, version: str = "current") -> Explanation:
    """Say why a published version gives a pair its probability.

    Parameters
    ----------
    job : Job
    user : str
        An id as text.
    item : str, optional
        Default: the one that `predict` would put first.
    version : str

    Returns
    -------
    Explanation

    Raises
    ------
    UsageError
        When an id is not of the log's type, nothing is left to recommend, or as_of lies before what the
        version has seen.
    InputError
        When there is no such version.
    DataError
        When the version has no probabilities.

    """
    model = load_named(job, name_version(job, version))
    user_id, item_id = _parse_id(model, USER, user), None if item is None else _parse_id(model, ITEM, item)
    log = require_after(job.read(), model)
    with job.stage("explain"):
        if item_id is None:
            first = pl.concat(rank(job, model, log, pl.Series(USER, [user_id])))
            if first.is_empty():
                raise UsageError(f"nothing is left to recommend to user {user_id}: name an ITEM")
            item_id = first[ITEM][0]
        return model.explain(user_id, item_id, log)


def _parse_id(model: WillLikeModel, kind: str, text: str) -> int | str:
    dtype = model.snapshot.entities[kind].index.ids.dtype
    parsed: int | str | None = pl.Series([text]).cast(dtype, strict=False)[0]
    if parsed is None:
        raise UsageError(f"{kind} is {dtype} in the log, got {text!r}: give an id of that type")
    return parsed
