"""What a run says about itself: its day, its settings, what it was made from and with."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from recsys.config import Settings
from recsys.events import EventLog

_COMPUTES_WITH = ("recsys", "implicit", "lightgbm", "numba", "numpy", "polars", "scipy")


def prediction_date(as_of: datetime) -> date:
    """Name the last day before as_of: what a partition carries.

    Parameters
    ----------
    as_of : datetime.datetime

    Returns
    -------
    datetime.date

    Examples
    --------
    >>> from datetime import UTC
    >>> prediction_date(datetime(2022, 5, 1, tzinfo=UTC))
    datetime.date(2022, 4, 30)

    """
    return (as_of - timedelta(microseconds=1)).date()


def describe_run(settings: Settings, log: EventLog) -> dict[str, str]:
    """Say in words what a report's figures were made from.

    Parameters
    ----------
    settings : Settings
    log : EventLog

    Returns
    -------
    dict of str to str

    """
    return {
        "log": ", ".join(Path(file).name for file in log.files) or "a frame in memory",
        "as of": log.as_of.isoformat(),
        "settings sha256": settings_sha256(settings),
    }


def settings_sha256(settings: Settings) -> str:
    """Hash every setting but the paths.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    str
        64 hexadecimal digits.

    """
    return hashlib.sha256(json.dumps(without_paths(settings), sort_keys=True).encode()).hexdigest()


def without_paths(settings: Settings) -> dict[str, Any]:
    """Give every setting but the paths, as plain values."""
    return settings.model_dump(mode="json", exclude={"events": {"path"}, "output": {"path"}})


def versions(settings: Settings) -> dict[str, str]:
    """Name the versions of Python and of what figures are computed with."""
    engines = ("pyspark",) if settings.model.engine == "spark" else ()
    found = {name: importlib.metadata.version(name) for name in (*_COMPUTES_WITH, *engines)}
    return {"python": platform.python_version(), **found}
