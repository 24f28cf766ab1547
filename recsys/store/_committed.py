"""Committed runs by their ids: what they say of themselves, and the tables they hold."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from recsys.errors import InputError
from recsys.store._files import input_errors
from recsys.store._links import committed_runs
from recsys.store._manifest import read_manifest, verify_files

_SHOWN = 10
_COLUMNS = dict.fromkeys(("run_id", "command", "as_of", "model_version"), pl.String)


def list_runs(out: str | os.PathLike[str]) -> list[Path]:
    """List the committed runs of an output folder, oldest first.

    Parameters
    ----------
    out : path-like

    Returns
    -------
    list of pathlib.Path
        Their folders, each with a manifest.
    """
    with input_errors(Path(out)):
        return committed_runs(Path(out))


def find_run(out: str | os.PathLike[str], run_id: str) -> Path:
    """Find a committed run by its id.

    Parameters
    ----------
    out : path-like
    run_id : str
        As in ``000012`` or ``12``.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InputError
        When there is no such run, naming those there are.
    """
    runs = {run.name: run for run in list_runs(out)}
    name = run_id.zfill(6)
    if name not in runs:
        raise InputError(f"{out} has no run {run_id!r}: {choice_of(list(runs), 'recsys run')}")
    return runs[name]


def describe_runs(out: str | os.PathLike[str]) -> pl.DataFrame:
    """List the committed runs, oldest first, with what they say of themselves.

    Parameters
    ----------
    out : path-like

    Returns
    -------
    polars.DataFrame
        ``run_id, command, as_of, model_version``, then a column for each figure under ``metrics``.

    Raises
    ------
    InputError
        When nothing was published there.
    """
    manifests = [read_manifest(run) for run in list_runs(out)]
    if not manifests:
        raise InputError(f"{out} has no runs: {choice_of([], 'recsys run')}")
    rows = [
        {**figures_of(one.get("metrics")), **{name: text_of(one.get(name)) for name in _COLUMNS}}
        for one in manifests
    ]
    return table_of(rows, _COLUMNS)


def read_run_table(run: Path, folder: str) -> pl.DataFrame | None:
    """Read what a run wrote as parquet below one of its folders, checked against its manifest.

    Parameters
    ----------
    run : pathlib.Path
        See `find_run`.
    folder : str
        As in ``evaluation`` or ``predictions``.

    Returns
    -------
    polars.DataFrame or None
        None where the run wrote none.

    Raises
    ------
    InputError
        When a file is missing or damaged.
    """
    listed = sorted(read_manifest(run).get("files", {}))
    names = [name for name in listed if name.startswith(f"{folder}/") and name.endswith(".parquet")]
    if not names:
        return None
    verify_files(run, names)
    return read_parquets([run / name for name in names])


def table_of(rows: list[dict[str, Any]], columns: Mapping[str, Any]) -> pl.DataFrame:
    """Lay rows out under the columns that all have, then a column for each figure that one has."""
    figures = dict.fromkeys(name for row in rows for name in row if name not in columns)
    return pl.DataFrame(rows, schema={**columns, **dict.fromkeys(figures, pl.Float64)}, orient="row")


def text_of(value: Any) -> str | None:
    """Take what a manifest should hold as text."""
    return None if value is None else str(value)


def figures_of(metrics: Any) -> dict[str, float]:
    """Take the numbers under the `metrics` of a manifest, whatever else stands there."""
    found = metrics.items() if isinstance(metrics, dict) else ()
    values = {name: value.get("value") if isinstance(value, dict) else value for name, value in found}
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}


def read_parquets(files: list[Path]) -> pl.DataFrame:
    """Read the parts of one table, in the order given."""
    try:  # no glob: the path may hold a bracket or a star; no hive: the files hold as_of
        return pl.read_parquet(files, glob=False, hive_partitioning=False)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{files[0].parent} cannot be read: {str(error).splitlines()[0]}") from error


def choice_of(names: list[str], command: str) -> str:
    """Say what may be chosen, or which command makes the first of it."""
    if not names:
        return f"run `{command}` first"
    shown = names if len(names) <= _SHOWN else [*names[:2], "...", *names[-2:]]
    return "choose from " + ", ".join(shown)
