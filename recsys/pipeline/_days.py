"""Day by day: each committed on its own, and days that are there already."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from recsys import store
from recsys.errors import DataError, RecsysError
from recsys.events import EventLog
from recsys.pipeline._about import prediction_date
from recsys.pipeline._job import Job
from recsys.pipeline._result import Result
from recsys.schema import ITEM, USER

_log = logging.getLogger("recsys")


def each_day(jobs: Sequence[Job], work: Callable[[Job], Result]) -> Iterator[Result]:
    """Do the work of one job after the other: a backfill.

    Parameters
    ----------
    jobs : sequence of Job
        One a day, oldest first.
    work : callable
        `run`, or `predict` with its options.

    Yields
    ------
    Result
        As soon as the day is published.

    Raises
    ------
    UsageError
        Before any work, when `output.keep_days` would delete one of the days again.
    RecsysError
        What stopped a day, with the day in front; the days before it are published.

    """
    days = [prediction_date(job.as_of) for job in jobs if job.as_of is not None]
    for job in jobs[:1]:
        store.check_days_kept(job.settings.output.path, days, job.settings.output.keep_days)
    for job in jobs:
        try:
            yield work(job)
        except RecsysError as error:
            if len(jobs) > 1 and job.as_of is not None:
                error.args = (f"{prediction_date(job.as_of)}: {error}", *error.args[1:])
            raise


def check_day(job: Job, log: EventLog) -> Result | None:
    """Say what to answer for a day that is there already, and refuse one that cannot stand beside the others.

    Parameters
    ----------
    job : Job
    log : EventLog

    Returns
    -------
    Result or None

    Raises
    ------
    UsageError
        When the day would be deleted at once.
    DataError
        When its ids are of another type than those of the days that are there: no reader could scan both.

    """
    output, day = job.settings.output, prediction_date(log.as_of)
    store.check_days_kept(output.path, [day], output.keep_days)
    if there := present(job, log.as_of):
        return there
    types = store.published_types(output.path, but=day)
    for column in (USER, ITEM):
        found, held = log.shown.schema[column], types.get(column)
        if held is not None and held != found:
            raise DataError(
                f"{column} is {found} and was {held} in the days that {output.path} holds: "
                f"make it {held} in the log, or publish into another folder"
            )
    return None


def present(job: Job, as_of: datetime | None) -> Result | None:
    """Say what to answer for a day that is there already, if that is all that was asked for."""
    if not job.if_missing or as_of is None:
        return None
    day = prediction_date(as_of)
    found = store.describe_link(job.settings.output.path, f"predictions/as_of={day.isoformat()}")
    if found is None:
        return None
    _log.info("%s is published already", day, extra={"event": "present", "day": day.isoformat()})
    return _result_of(job, found, as_of)


def _result_of(job: Job, manifest: dict[str, Any], as_of: datetime) -> Result:
    rows = manifest.get("rows") or {}
    return Result(
        Path(job.settings.output.path).absolute(),
        str(manifest.get("run_id")),
        as_of,
        manifest.get("model_version"),
        predictions=rows.get("predicted"),
        outcome="present",
    )
