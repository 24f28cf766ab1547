"""What links lead to: models and days. A link is resolved once, then nothing can move under the reader."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import polars as pl

from recsys.errors import InputError
from recsys.store._committed import choice_of, figures_of, read_parquets, table_of, text_of
from recsys.store._files import input_errors, is_safe_name
from recsys.store._links import AS_OF, CURRENT, MODELS, PREDICTIONS, RUNS, follow, model_links, run_of
from recsys.store._manifest import (
    MANIFEST,
    check_size,
    damaged,
    listed_files,
    model_manifest,
    read_manifest,
    verify_files,
)

_DESCRIBED = ("run_id", "command", "as_of", "inputs", "windows", "rows", "metrics", "settings", "versions")
_COLUMNS = {"model_version": pl.String, "run_id": pl.String, "as_of": pl.String, "current": pl.Boolean}


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

    Raises
    ------
    InputError
        When there are none, or a link leads elsewhere.
    """
    out = Path(out)
    require_models(out)
    with input_errors(out):
        current = follow(out, out / MODELS / CURRENT)
        rows = [_model_row(out, link, current) for link in model_links(out)]
    return table_of(rows, _COLUMNS)


def require_models(out: Path) -> None:
    """Refuse a folder where no model was ever published."""
    with input_errors(out):
        if (out / MODELS).is_dir():
            return
    raise InputError(f"{out} has no models: {choice_of([], 'recsys train')}")


def _model_row(out: Path, link: Path, current: Path | None) -> dict[str, Any]:
    folder = _resolve(out, link)
    run = run_of(out, folder)
    manifest = read_manifest(run)
    return {
        **figures_of(manifest.get("metrics")),
        "model_version": link.name,
        "run_id": run.name,
        "as_of": text_of(manifest.get("as_of")),
        "current": folder == current,
    }


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
        raise InputError(f"{out} has no model {version!r}: {choice_of(known, 'recsys train')}")
    return _resolve(out, link)


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
        wanted = _newest(out, days) if date is None else _name_of(date)
        if wanted not in days:
            raise InputError(f"{out} has no predictions for {wanted!r}: {choice_of(days, 'recsys predict')}")
        return _read_day(_resolve(out, out / PREDICTIONS / f"{AS_OF}{wanted}"))


def _days(out: Path) -> list[str]:
    links = (out / PREDICTIONS).glob(f"{AS_OF}*")
    return sorted(link.name.removeprefix(AS_OF) for link in links if link.is_symlink())


def _name_of(day: dt.date | str) -> str:
    return day if isinstance(day, str) else day.isoformat()[:10]


def _newest(out: Path, days: list[str]) -> str:
    if not days:
        raise InputError(f"{out} has no predictions: {choice_of(days, 'recsys predict')}")
    return days[-1]


def _read_day(folder: Path) -> pl.DataFrame:
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise InputError(f"{folder} holds no parquet file: publish again")
    return read_parquets(files)


def _resolve(out: Path, link: Path) -> Path:
    target = follow(out, link)
    if target is None:
        raise InputError(f"{link} must lead into {out / RUNS}, leads to {os.path.realpath(link)}")
    if not target.is_dir() or not (run_of(out, target) / MANIFEST).exists():
        raise InputError(f"{link} leads to a run that is gone, {target}: publish again")
    return target
