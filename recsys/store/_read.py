"""What readers ask of an output folder. A link is resolved once, then nothing can move under the reader."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from recsys.errors import InputError
from recsys.store._files import input_errors, is_safe_name
from recsys.store._links import (
    AS_OF,
    CURRENT,
    MODELS,
    PREDICTIONS,
    RUNS,
    committed_runs,
    follow,
    model_links,
    run_of,
)
from recsys.store._manifest import (
    MANIFEST,
    check_size,
    damaged,
    listed_files,
    model_manifest,
    read_manifest,
    verify_files,
)

_SHOWN = 10
_DESCRIBED = ("run_id", "command", "as_of", "inputs", "windows", "rows", "metrics", "settings", "versions")
_COLUMNS = {"model_version": pl.String, "run_id": pl.String, "as_of": pl.String, "current": pl.Boolean}
_RUN_COLUMNS = dict.fromkeys(("run_id", "command", "as_of", "model_version"), pl.String)


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
        raise InputError(f"{out} has no run {run_id!r}: {_choice(list(runs), 'recsys run')}")
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
        raise InputError(f"{out} has no runs: {_choice([], 'recsys run')}")
    rows = [
        {**_figures(one.get("metrics")), **{name: _text(one.get(name)) for name in _RUN_COLUMNS}}
        for one in manifests
    ]
    return _table(rows, _RUN_COLUMNS)


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
    return _read_files([run / name for name in names])


def list_models(out: str | os.PathLike[str]) -> pl.DataFrame:
    """List the published model versions, newest first.

    Parameters
    ----------
    out : path-like

    Returns
    -------
    polars.DataFrame
        ``model_version, run_id, as_of, current``, then a column for each figure under the ``metrics`` of
        the runs' manifests; null where a run has none.
    """
    out = Path(out)
    with input_errors(out):
        if not (out / MODELS).is_dir():
            raise InputError(f"{out} has no models: {_choice([], 'recsys train')}")
        current = follow(out, out / MODELS / CURRENT)
        rows = [_model_row(out, link, current) for link in model_links(out)]
    return _table(rows, _COLUMNS)


def describe_model(out: str | os.PathLike[str], version: str = CURRENT) -> dict[str, Any]:
    """Say what a published version is made of, and how the run that made it went.

    Parameters
    ----------
    out : path-like
    version : str
        One of the versions of `list_models`, or ``current``.

    Returns
    -------
    dict of str to value
        ``model_version`` and ``files`` of the model; ``run_id``, ``command``, ``as_of``, ``windows``,
        ``inputs``, ``rows``, ``metrics``, ``settings``, ``versions`` of its run.

    Raises
    ------
    InputError
        As `read_model_files`.
    """
    out = Path(out)
    with input_errors(out):
        folder = _model_folder(out, version)
        model, run = read_manifest(folder), read_manifest(run_of(out, folder))
    return {**{name: run.get(name) for name in _DESCRIBED}, **model}


def _model_folder(out: Path, version: str) -> Path:
    link = out / MODELS / version
    if not is_safe_name(version) or not link.is_symlink():
        known = [path.name for path in model_links(out)]
        raise InputError(f"{out} has no model {version!r}: {_choice(known, 'recsys train')}")
    return _resolve(out, link)


def _model_row(out: Path, link: Path, current: Path | None) -> dict[str, Any]:
    folder = _resolve(out, link)
    run = run_of(out, folder)
    manifest = read_manifest(run)
    return {
        **_figures(manifest.get("metrics")),
        "model_version": link.name,
        "run_id": run.name,
        "as_of": _text(manifest.get("as_of")),
        "current": folder == current,
    }


def _table(rows: list[dict[str, Any]], columns: Mapping[str, Any]) -> pl.DataFrame:
    figures = dict.fromkeys(name for row in rows for name in row if name not in columns)
    return pl.DataFrame(rows, schema={**columns, **dict.fromkeys(figures, pl.Float64)}, orient="row")


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _figures(metrics: Any) -> dict[str, float]:
    found = metrics.items() if isinstance(metrics, dict) else ()
    values = {name: value.get("value") if isinstance(value, dict) else value for name, value in found}
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}


def read_model_files(out: str | os.PathLike[str], version: str = CURRENT) -> dict[str, bytes]:
    """Read a published model, every byte checked.

    Parameters
    ----------
    out : path-like
    version : str
        One of the versions of `list_models`, or ``current``.

    Returns
    -------
    dict of file name to content

    Raises
    ------
    InputError
        When there is no such version, naming those there are; when it leads outside OUT's runs; when a
        file is missing, changed, foreign, or a link; when the folder holds another version.
    """
    out = Path(out)
    with input_errors(out):
        files, found = _read_model(out, _model_folder(out, version))
    if version not in (CURRENT, found):
        raise InputError(
            f"{out / MODELS / version} must lead to the version it names, leads to {found}: publish again"
        )
    return files


def _read_model(out: Path, folder: Path) -> tuple[dict[str, bytes], str]:
    run = run_of(out, folder)
    verify_files(run, [f"{folder.relative_to(run).as_posix()}/{MANIFEST}"])
    manifest = read_manifest(folder)
    entries = listed_files(folder, manifest)
    for name, entry in entries.items():
        check_size(folder / name, entry)
    files = {name: (folder / name).read_bytes() for name in entries}
    found = model_manifest(files)
    for name in entries:
        if found["files"][name] != entries[name]:
            raise damaged(folder / name)
    if found != manifest:
        raise damaged(folder / MANIFEST)
    return files, str(found["model_version"])


def read_predictions(out: str | os.PathLike[str], date: dt.date | str | None = None) -> pl.DataFrame:
    """Read one published day of predictions.

    Parameters
    ----------
    out : path-like
    date : datetime.date or str, optional
        As in ``2022-04-30``. Default: the newest.

    Returns
    -------
    polars.DataFrame
        The rows as they were written; several files in the order of their names.

    Raises
    ------
    InputError
        When there is no such day, naming those there are, or its files cannot be read.
    """
    out = Path(out)
    with input_errors(out):
        days = _days(out)
        wanted = (
            _newest(out, days) if date is None else date if isinstance(date, str) else date.isoformat()[:10]
        )
        if wanted not in days:
            raise InputError(f"{out} has no predictions for {wanted!r}: {_choice(days, 'recsys predict')}")
        return _read_day(_resolve(out, out / PREDICTIONS / f"{AS_OF}{wanted}"))


def _days(out: Path) -> list[str]:
    links = (out / PREDICTIONS).glob(f"{AS_OF}*")
    return sorted(link.name.removeprefix(AS_OF) for link in links if link.is_symlink())


def _newest(out: Path, days: list[str]) -> str:
    if not days:
        raise InputError(f"{out} has no predictions: {_choice(days, 'recsys predict')}")
    return days[-1]


def _read_day(folder: Path) -> pl.DataFrame:
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise InputError(f"{folder} holds no parquet file: publish again")
    return _read_files(files)


def _read_files(files: list[Path]) -> pl.DataFrame:
    try:  # no glob: the path may hold a bracket or a star; no hive: the files hold as_of
        return pl.read_parquet(files, glob=False, hive_partitioning=False)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{files[0].parent} cannot be read: {str(error).splitlines()[0]}") from error


def _choice(names: list[str], command: str) -> str:
    if not names:
        return f"run `{command}` first"
    shown = names if len(names) <= _SHOWN else [*names[:2], "...", *names[-2:]]
    return "choose from " + ", ".join(shown)


def _resolve(out: Path, link: Path) -> Path:
    target = follow(out, link)
    if target is None:
        raise InputError(f"{link} must lead into {out / RUNS}, leads to {os.path.realpath(link)}")
    if not target.is_dir() or not (run_of(out, target) / MANIFEST).exists():
        raise InputError(f"{link} leads to a run that is gone, {target}: publish again")
    return target
