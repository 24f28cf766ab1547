"""What is published already: bytes that would not change, and days that are there."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from recsys.errors import InputError, UsageError
from recsys.store._files import input_errors
from recsys.store._links import AS_OF, CURRENT, MODELS, PREDICTIONS, committed_runs, day_links, follow, run_of
from recsys.store._manifest import MANIFEST, read_manifest, verify_files

_LOOKED_AT = 200
Files = Mapping[str, Mapping[str, Any]]


def is_published(out: Path, pointers: Mapping[str, str], files: Files) -> bool:
    """Tell whether every link leads to these very bytes, whole on the disk."""
    # A version that retention took away is not missed: it would go again at once.
    links = [link for link in pointers if not _is_version(link) or (out / link).is_symlink()]
    try:
        return bool(links) and all(_holds(out, out / link, _below(files, pointers[link])) for link in links)
    except (InputError, OSError):
        return False


def _is_version(link: str) -> bool:
    return link.startswith(f"{MODELS}/") and link != f"{MODELS}/{CURRENT}"


def _below(files: Files, folder: str) -> dict[str, Any]:
    return {
        name.removeprefix(f"{folder}/"): dict(entry)
        for name, entry in files.items()
        if name.startswith(f"{folder}/")
    }


def _holds(out: Path, link: Path, wanted: Mapping[str, Any]) -> bool:
    target = follow(out, link) if link.is_symlink() else None
    if target is None:
        return False
    run = run_of(out, target)
    below = target.relative_to(run).as_posix()
    if _below(read_manifest(run)["files"], below) != wanted:
        return False
    verify_files(run, [f"{below}/{name}" for name in wanted])
    return True


def describe_link(out: str | os.PathLike[str], link: str) -> dict[str, Any] | None:
    """Read the manifest of the run that a link leads to.

    Parameters
    ----------
    out : path-like
    link : str
        As in ``models/current`` or ``predictions/as_of=2022-04-30``.

    Returns
    -------
    dict or None
        None where there is no such link, or no whole run behind it.
    """
    out = Path(out).absolute()
    with input_errors(out):
        target = follow(out, out / link) if (out / link).is_symlink() else None
        if target is None or not target.is_dir() or not (run_of(out, target) / MANIFEST).exists():
            return None
        try:
            return read_manifest(run_of(out, target))
        except InputError:
            return None


def recent_runs(
    out: str | os.PathLike[str], command: str, before: dt.datetime, count: int
) -> list[tuple[Path, dict[str, Any]]]:
    """Find the newest committed runs of a command that are as of an earlier time.

    Parameters
    ----------
    out : path-like
    command : str
    before : datetime.datetime
        With a zone.
    count : int
        At most so many.

    Returns
    -------
    list of (pathlib.Path, dict)
        Folder and manifest, oldest first; of several as of the same time the last. What cannot be read is passed over.
    """
    found: dict[dt.datetime, tuple[Path, dict[str, Any]]] = {}
    # By number from the newest: a folder of ten years must not be read whole every night.
    for run in committed_runs(Path(out))[-_LOOKED_AT:]:
        as_of, manifest = _as_of(run)
        if as_of is not None and as_of < before and manifest.get("command") == command:
            found[as_of] = run, manifest
    return [found[as_of] for as_of in sorted(found)[-count:]]


def _as_of(run: Path) -> tuple[dt.datetime | None, dict[str, Any]]:
    try:
        manifest = read_manifest(run)
        as_of = dt.datetime.fromisoformat(str(manifest.get("as_of")))
    except (InputError, ValueError):
        return None, {}
    return (as_of if as_of.tzinfo else None), manifest


def published_types(out: str | os.PathLike[str], but: dt.date) -> dict[str, pl.DataType]:
    """Read the types of the columns of the newest day of predictions.

    Parameters
    ----------
    out : path-like
    but : datetime.date
        A day that is not looked at, since it is about to be replaced.

    Returns
    -------
    dict of str to polars.DataType
        Empty where no other day can be read.
    """
    folders = [link for link in day_links(Path(out)) if link.name != f"{AS_OF}{but.isoformat()}"]
    for file in sorted(folders[-1].glob("*.parquet"))[:1] if folders else ():
        # A damaged past stops no night: `recsys verify` names it.
        with suppress(OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
            return dict(pl.read_parquet_schema(file))
    return {}


def check_days_kept(out: str | os.PathLike[str], days: Iterable[dt.date], keep_days: int | None) -> None:
    """Refuse days that `keep_days` would delete again.

    Parameters
    ----------
    out : path-like
    days : iterable of datetime.date
        What is about to be published.
    keep_days : int or None

    Raises
    ------
    UsageError
        Naming the oldest of them.
    """
    wanted = {day.isoformat() for day in days}
    there = {link.name.removeprefix(AS_OF) for link in day_links(Path(out))}
    kept = sorted(wanted | there)[-(keep_days or len(wanted | there)) :]
    if lost := sorted(wanted - set(kept)):
        raise UsageError(
            f"{lost[0]} is older than the {keep_days} days of {PREDICTIONS} that output.keep_days keeps, "
            f"{kept[0]} to {kept[-1]}: raise it, or choose later days"
        )
