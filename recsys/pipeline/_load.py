"""A published model, every byte checked."""

from __future__ import annotations

import os

from recsys import store
from recsys.errors import UsageError
from recsys.events import EventLog
from recsys.model import WillLikeModel
from recsys.pipeline._job import Job


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


def name_version(job: Job, version: str) -> str:
    """Give the own name of a published model: `current` may move while we work."""
    return str(store.describe_model(job.settings.output.path, version)["model_version"])


def load_named(job: Job, name: str) -> WillLikeModel:
    """Read a published model, as a stage of a job."""
    with job.stage("load"):
        return load_model(job.settings.output.path, name, job.threads)


def require_after(log: EventLog, model: WillLikeModel) -> EventLog:
    """Refuse a log that ends before what the model has seen."""
    if log.as_of < model.snapshot.cut:
        raise UsageError(
            f"as_of must not lie before what the model has seen, got {log.as_of.isoformat()} and "
            f"{model.snapshot.cut.isoformat()}: choose an older --model, or a later --as-of"
        )
    return log
