"""The straight line: read, evaluate, gate, fit, predict, publish.

.. code-block:: text

    _job        one run of a command: its settings, its log, its stages
    _about      what a run says about itself
    _outbox     what a run will publish, and its manifest
    _past       the runs that a new one is held against
    _gates      bounds that a run must meet before anything is published
    _days       day by day, and days that are there already
    _textfile   figures for a monitor
    _compare    what changed between two runs
    _where      on this machine, or in Spark
    _start      where the factors that are published start
    _audit      the like button's audit, which a kill does not set back
    _tuned      tune, and leave settings that run
    _toml       settings -> recsys.toml
    _doctor     what this machine has, and what a log will need
"""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from recsys import store
from recsys.errors import DataError, RefusedRowsError, UsageError
from recsys.evaluation import Evaluation, evaluate_model, evaluate_procedure
from recsys.events import EventLog
from recsys.features import SnapshotSource
from recsys.model import Explanation, WillLikeModel, fit_model
from recsys.pipeline._about import prediction_date, settings_sha256
from recsys.pipeline._audit import audit
from recsys.pipeline._compare import Comparison, compare_runs
from recsys.pipeline._days import check_day, each_day, present
from recsys.pipeline._doctor import diagnose
from recsys.pipeline._gates import gated
from recsys.pipeline._job import Job
from recsys.pipeline._outbox import Outbox, Result, fill, opened
from recsys.pipeline._start import find_start
from recsys.pipeline._textfile import metered
from recsys.pipeline._tuned import Tuned, tune
from recsys.pipeline._where import Asked, placed, rank
from recsys.schema import FITTED_ON, ITEM, USER, require_columns
from recsys.split import slide_to_end, split_by_time

__all__ = [
    "Comparison",
    "Job",
    "Outbox",
    "Result",
    "Tuned",
    "audit",
    "check",
    "compare_runs",
    "diagnose",
    "each_day",
    "evaluate",
    "explain",
    "load_model",
    "metered",
    "predict",
    "prediction_date",
    "run",
    "settings_sha256",
    "train",
    "tune",
]


def check(job: Job, refused_to: Path | None = None) -> EventLog:
    """Read and validate the log.

    Parameters
    ----------
    job : Job
    refused_to : path-like, optional
        Folder for `refused.parquet`, written even when the log is refused for it.

    Returns
    -------
    EventLog

    """
    try:
        log = job.read()
    except RefusedRowsError as error:
        _write_refused(error.refused, refused_to)
        raise
    _write_refused(log.refused, refused_to)
    return log


def train(job: Job) -> Result:
    """Fit and publish one model version.

    Parameters
    ----------
    job : Job

    Returns
    -------
    Result

    """
    with opened(job) as run, placed(job) as place:
        log = place.read()
        out = fill(job, run, log.only(*FITTED_ON, *log.signals))
        # What is not read any more is let go of.
        del log
        model = _fit(job, place.snapshots(out.log, remember=False))
        out.write_model(place.complete(model))
        return out.publish()


def evaluate(job: Job, version: str | None = None) -> Result:
    """Score the procedure, or a published version on what came after it.

    Parameters
    ----------
    job : Job
    version : str, optional
        A model version of the output folder, or `current`.

    Returns
    -------
    Result

    """
    with opened(job) as run, placed(job) as place:
        model = _load(job, version)[0] if version else None
        out = fill(job, run, place.read())
        if model is None:
            evaluation = _evaluate(job, place.snapshots(out.log))
        else:
            with job.stage("evaluate"):
                evaluation = evaluate_model(model, out.log, job.settings)
        out.write_evaluation(evaluation)
        return out.publish()


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
        model, version = _load(job, version)
        out = fill(job, run, _require_after(place.read_shown(), model))
        if there := check_day(job, out.log.as_of):
            return there
        with job.stage("predict"):
            if pairs is not None:
                out.write_predictions(iter([rank_pairs(model.predict_proba(pairs))]), version)
            else:
                place.write_asked(out, model, version, Asked(users, items))
        return out.publish()


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
    model, _ = _load(job, version)
    user_id, item_id = _parse_id(model, USER, user), None if item is None else _parse_id(model, ITEM, item)
    log = _require_after(job.read(), model)
    with job.stage("explain"):
        if item_id is None:
            first = pl.concat(rank(job, model, log, pl.Series(USER, [user_id])))
            if first.is_empty():
                raise UsageError(f"nothing is left to recommend to user {user_id}: name an ITEM")
            item_id = first[ITEM][0]
        return model.explain(user_id, item_id, log)


def run(job: Job) -> Result:
    """Do it all: the cron job.

    Parameters
    ----------
    job : Job

    Returns
    -------
    Result

    Raises
    ------
    GateError
        When the log or the evaluation misses a bound: nothing is published, see `OUT/rejected`.

    """
    with opened(job) as run, placed(job) as place:
        if there := present(job, job.as_of):
            return there
        out = fill(job, run, place.read())
        if there := check_day(job, out.log.as_of):
            return there
        snapshots = place.snapshots(out.log)
        evaluation = gated(out, lambda: _evaluate(job, snapshots))
        model = place.complete(_fit(job, snapshots))
        version = out.write_model(model)
        with job.stage("predict"):
            place.write_predictions(out, model, version)
        out.write_evaluation(evaluation)
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


def _write_refused(refused: pl.DataFrame, folder: Path | None) -> None:
    if folder is not None:
        store.write_table(folder / "refused.parquet", refused)


def load_model(out: str | os.PathLike[str], version: str = "current", threads: int = 0) -> WillLikeModel:
    """Read a published model, every byte checked.

    Parameters
    ----------
    out : path-like
        The output folder.
    version : str
        One of `recsys models list`, or `current`.
    threads : int
        0 means one a core.

    Returns
    -------
    WillLikeModel
        Without its log: `recommend` must be told what to exclude.

    Raises
    ------
    InputError
        When there is no such version, or a file is not what was published.

    """
    return WillLikeModel.from_files(store.read_model_files(out, version), threads)


def _load(job: Job, version: str) -> tuple[WillLikeModel, str]:
    out = job.settings.output.path
    with job.stage("load"):
        # By its name from here on: `current` may move while we work.
        name = str(store.describe_model(out, version)["model_version"])
        return load_model(out, name, job.threads), name


def _require_after(log: EventLog, model: WillLikeModel) -> EventLog:
    """Refuse a log that ends before what the model has seen."""
    if log.as_of < model.snapshot.cut:
        raise UsageError(
            f"as_of must not lie before what the model has seen, got {log.as_of.isoformat()} and "
            f"{model.snapshot.cut.isoformat()}: choose an older --model, or a later --as-of"
        )
    return log


def _parse_id(model: WillLikeModel, kind: str, text: str) -> int | str:
    dtype = model.snapshot.entities[kind].index.ids.dtype
    parsed: int | str | None = pl.Series([text]).cast(dtype, strict=False)[0]
    if parsed is None:
        raise UsageError(f"{kind} is {dtype} in the log, got {text!r}: give an id of that type")
    return parsed


def _require_ids(table: pl.DataFrame, name: str) -> None:
    needed = {"users": (USER,), "items": (ITEM,), "pairs": (USER, ITEM)}[name]
    require_columns(table, needed, f"the table of {name}")
    for column in needed:
        if missing := table[column].null_count():
            raise DataError(f"{missing:,} of {len(table):,} rows of the table of {name} have no {column}")


def _evaluate(job: Job, snapshots: SnapshotSource) -> Evaluation:
    with job.stage("evaluate"):
        windows = split_by_time(job.settings.windows, snapshots.log.as_of)
        return evaluate_procedure(snapshots, windows, job.settings)


def _fit(job: Job, snapshots: SnapshotSource) -> WillLikeModel:
    with job.stage("train"):
        windows = split_by_time(job.settings.windows, snapshots.log.as_of)
        window = slide_to_end(windows, job.settings.windows.gap)
        return fit_model(snapshots, window, window.end, start=find_start(job, window.end))
