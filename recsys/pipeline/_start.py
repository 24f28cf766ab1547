"""Where the factors that are published start: afresh, or where an earlier model's ended."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from recsys import store
from recsys.errors import InputError
from recsys.features import Snapshot
from recsys.model import WillLikeModel
from recsys.pipeline._job import Job

_log = logging.getLogger("recsys")


def find_start(job: Job, cut: datetime) -> Snapshot | None:
    """Read the newest published model of an earlier as_of, and note it among the job's inputs.

    Parameters
    ----------
    job : Job
    cut : datetime.datetime
        Of the factors that will start from it: a later model has seen what is yet to come.

    Returns
    -------
    Snapshot or None
        None where the settings want none, there is no such model, or it is time for a cold start.

    """
    settings = job.settings.model
    parent = _newest_before(job.settings.output.path, cut) if settings.warm_start else None
    if parent is None:
        return None
    warm_runs = 1 + _warm_runs(parent)
    if warm_runs >= settings.cold_every:
        return None
    version = str(parent["model_version"])
    files = store.read_model_files(job.settings.output.path, version)
    start = WillLikeModel.from_files(files).snapshot
    # A model may have been trained up to later than its run says.
    if start.cut >= cut:
        return None
    about = {"model_version": version, "as_of": start.cut.isoformat(), "warm_runs": warm_runs}
    job.inputs.append({"path": f"models/{version}", **about})
    _log.info("factors start from model %s", version, extra={"event": "warm_start", **about})
    return start


def _newest_before(out: str, cut: datetime) -> dict[str, Any] | None:
    try:
        models = store.list_models(out)
    except InputError as error:
        _log.info("factors start afresh: %s", error, extra={"event": "cold_start"})
        return None
    earlier = [
        (datetime.fromisoformat(row["as_of"]), row["run_id"], row["model_version"])
        for row in models.iter_rows(named=True)
        if row["as_of"] is not None and datetime.fromisoformat(row["as_of"]) < cut
    ]
    return store.describe_model(out, max(earlier)[2]) if earlier else None


def _warm_runs(parent: dict[str, Any]) -> int:
    """Count the runs between a model and the last that started afresh."""
    return max((one.get("warm_runs", 0) for one in parent["inputs"] or []), default=0)
