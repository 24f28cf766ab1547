"""Read a log for its own sake, and keep what was refused."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recsys import store
from recsys.errors import RefusedRowsError
from recsys.events import EventLog
from recsys.pipeline._job import Job


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


def _write_refused(refused: pl.DataFrame, folder: Path | None) -> None:
    if folder is not None:
        store.write_table(folder / "refused.parquet", refused)
