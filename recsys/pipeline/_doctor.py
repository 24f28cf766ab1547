"""What this machine has, and what a log will need."""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from recsys import events
from recsys.config import Settings
from recsys.engines import OLDEST_JAVA, find_java, why_no_java

_LIBRARIES = (
    "recsys",
    "dataframely",
    "implicit",
    "lightgbm",
    "numpy",
    "polars",
    "scipy",
    "typer",
    "pandas",
    "optuna",
    "pyspark",
)
#: Interpreter, libraries and candidates, then bytes a row of the log; fitted to the peaks that
#: tests/benchmarks/main_job.py measured: 424 MiB for 50,000 rows, 1,369 MiB for 983,643.
BASE_MEBIBYTES, BYTES_A_ROW = 380, 950


def diagnose(settings: Settings) -> dict[str, Any]:
    """Look at this machine, and forecast the memory that a run on the configured log will need.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    dict of str to value
        `python`, `platform`, `cores`, `memory_mebibytes`, `libraries`, `blas`, `spark`; with a log also `rows`,
        `users`, `items` and `forecast_mebibytes`.

    """
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_mebibytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "blas": _blas(),
        "spark": _spark(),
    }
    if settings.events.path is not None:
        found |= _forecast(settings)
    return found


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _blas() -> list[str]:
    import implicit.cpu.als  # noqa: F401 (loads the BLAS that the solver uses)
    from threadpoolctl import threadpool_info

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return [f"{pool['internal_api']} {pool['version']} with {pool['num_threads']} threads" for pool in pools]


def _spark() -> list[str]:
    """Say what Spark would find, and what to install where it would not."""
    found = find_java()
    if found is None:
        return [f'no Java, {why_no_java()}: model.engine = "spark" needs Java {OLDEST_JAVA} or later']
    java, major = found
    old = f", too old: install {OLDEST_JAVA} or later" if major is not None and major < OLDEST_JAVA else ""
    native = [name for name in ("blas", "lapack") if ctypes.util.find_library(name)]
    said = (
        "native BLAS"
        if len(native) == 2
        else "no native BLAS: ALS takes half the time with one (Debian: libopenblas0)"
    )
    return [f"Java {major or 'of unknown version'} at {java}{old}", said]


def _forecast(settings: Settings) -> dict[str, Any]:
    rows, users, items = events.measure(settings.events)
    signals = 3 + len(set(settings.events.signals))  # exposed, liked, and dwell if it is there
    snapshots = 2 * (settings.model.cuts + 1)  # to evaluate, and to train
    factors = (users + items) * settings.model.factors * signals * 4 * snapshots
    return {
        "log": str(Path(settings.events.path or "")),
        "rows": rows,
        "users": users,
        "items": items,
        "forecast_mebibytes": BASE_MEBIBYTES + (rows * BYTES_A_ROW + factors >> 20),
    }
