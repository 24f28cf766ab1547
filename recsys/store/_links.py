"""Links into committed runs: where they lead, how they flip, and what may go once nothing leads there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recsys.errors import InputError, OutputError
from recsys.store._files import is_safe_name, output_errors, sync
from recsys.store._manifest import MANIFEST, UNFINISHED, read_manifest

RUNS = "runs"
MODEL = "model"
MODELS = "models"
PREDICTIONS = "predictions"
CURRENT = "current"
AS_OF = "as_of="
REJECTED = "rejected"
_SET_ASIDE = ".not-published"
_STAGED = ".recsys-link"
_RUN_ID = re.compile(r"\d{6,}", re.ASCII)
_OUR_LINK = re.compile(r"(?:\.\./)?runs/(\d{6,}/[\w=+@-][\w./=+@-]*)", re.ASCII)
_TRASH = ".deleted-"


def run_folders(out: Path) -> list[Path]:
    """List the runs, committed or not, in the order of their ids."""
    found = (path for path in _entries(out / RUNS) if _RUN_ID.fullmatch(path.name) and path.is_dir())
    return sorted(found, key=lambda path: int(path.name))


def committed_runs(out: Path) -> list[Path]:
    """List the runs that have a manifest, oldest first."""
    return [folder for folder in run_folders(out) if (folder / MANIFEST).exists()]


def follow(out: Path, link: Path) -> Path | None:
    """Return the real folder a link leads to, or None when that is not inside one of OUT's runs."""
    runs = Path(os.path.realpath(out / RUNS))
    target = Path(os.path.realpath(link))
    if target == runs or not target.is_relative_to(runs):
        return None
    return target if _RUN_ID.fullmatch(target.relative_to(runs).parts[0]) else None


def run_of(out: Path, folder: Path) -> Path:
    """Return the run that a followed folder belongs to."""
    runs = Path(os.path.realpath(out / RUNS))
    return runs / folder.relative_to(runs).parts[0]


def all_links(out: Path) -> list[Path]:
    """List the links where a publish puts links, whoever put them there."""
    places = (out, out / MODELS, out / PREDICTIONS)
    return [path for place in places for path in _entries(place) if path.is_symlink()]


def linked_folders(out: Path) -> frozenset[str]:
    """Name the folders that links lead to, ``<run>/<folder>``, whether or not they still exist."""
    found = (_linked_folder(out, link) for link in all_links(out))
    return frozenset(name for name in found if name)


def _linked_folder(out: Path, link: Path) -> str | None:
    # One readlink for a link of ours: ten years of days must not cost seconds at every start.
    ours = _OUR_LINK.fullmatch(str(link.readlink()))
    if ours:
        return ours[1]
    target = follow(out, link)
    return target.relative_to(os.path.realpath(out / RUNS)).as_posix() if target else None


def runs_of(folders: Iterable[str]) -> set[str]:
    """Name the runs that folders, ``<run>/<folder>``, are in."""
    return {folder.split("/")[0] for folder in folders}


def model_links(out: Path) -> list[Path]:
    """List the links of model versions, newest as_of first, the newest run first among equals."""
    found = {path: follow(out, path) for path in _entries(out / MODELS) if path.is_symlink()}
    ages = {
        path: _age(run_of(out, target)) for path, target in found.items() if target and path.name != CURRENT
    }
    return sorted(sorted(ages), key=lambda path: ages[path], reverse=True)


def _age(run: Path) -> tuple[str, int]:
    # By as_of first: a backfill must not push the versions of the last nights out.
    try:
        return str(read_manifest(run).get("as_of") or ""), int(run.name)
    except InputError:
        return "", int(run.name)


def day_links(out: Path) -> list[Path]:
    """List the links of days, oldest first."""
    return [path for path in _entries(out / PREDICTIONS) if path.name.startswith(AS_OF) and path.is_symlink()]


def check_pointers(pointers: Any, folder: Path, gone: Iterable[str] = ()) -> str | None:
    """Say what is wrong with a mapping of link to folder, if anything; folders that are gone need not be there."""
    if not isinstance(pointers, Mapping):
        return f"pointers map links to folders, got {type(pointers).__name__}"
    for link, target in pointers.items():
        if not _is_link_name(link):
            return f"a link is NAME, {MODELS}/VERSION or {PREDICTIONS}/{AS_OF}DATE, got {link!r}"
        there = (
            isinstance(target, str)
            and is_safe_name(target)
            and (target in gone or (folder / target).is_dir())
        )
        if not there:
            return f"{link} must lead to a folder of the run, got {target!r}"
    return None


def _is_link_name(link: str) -> bool:
    if "/" not in link:
        return is_safe_name(link) and link not in (RUNS, MODELS, PREDICTIONS)
    place, _, name = link.partition("/")
    # Polars chokes on a name in predictions/ that is no day.
    allowed = place == MODELS or (place == PREDICTIONS and name.startswith(AS_OF))
    return allowed and "/" not in name and is_safe_name(name)


def check_places(out: Path, links: Iterable[str]) -> None:
    """Refuse, while nothing is committed yet, to flip a link where something else stands."""
    for place in (out / link for link in links):
        if place.exists() and not place.is_symlink():
            raise OutputError(f"{place} must be a link that recsys may replace, and is none: move it away")
        above = place.parent
        if above != out and (above.is_symlink() or (above.exists() and not above.is_dir())):
            raise OutputError(f"{above} must be a folder of its own, not a file or a link: move it away")


def flip_links(out: Path, folder: Path) -> None:
    """Point every link of a committed run at it, in order; again and again does no harm."""
    pointers: Any = read_manifest(folder).get("pointers")
    wrong = check_pointers(pointers, folder)
    if wrong:
        raise InputError(f"{folder / MANIFEST} is damaged, {wrong}: remove {folder} to go on without it")
    check_places(out, pointers)
    for link, target in pointers.items():
        _flip(out, out / link, folder / target)
    for place in {(out / link).parent for link in pointers} | {out}:
        sync(place)
    (folder / UNFINISHED).unlink(missing_ok=True)
    sync(folder)


def flip_link(out: Path, link: str, target: Path) -> None:
    """Point one link at the folder that another leads to."""
    folder = follow(out, target)
    if folder is None:
        raise OutputError(f"{target} leads to no run of {out}: publish again")
    _flip(out, out / link, out / RUNS / folder.relative_to(os.path.realpath(out / RUNS)))
    sync((out / link).parent)


def _flip(out: Path, place: Path, folder: Path) -> None:
    target = os.path.relpath(folder, place.parent)
    staged = out / _STAGED
    if place.parent.is_dir():
        staged.symlink_to(target)
        staged.replace(place)
    else:  # polars refuses an empty folder, so predictions/ appears with its first day inside
        staged.mkdir()
        (staged / place.name).symlink_to(target)
        staged.replace(place.parent)


def set_aside(out: Path, folder: Path) -> Path:
    """Move a folder to ``OUT/rejected``, in place of what an earlier call moved there."""
    place = out / REJECTED
    with output_errors(place):
        (folder / _SET_ASIDE).touch()
        if place.is_symlink() or (place.exists() and not (place / _SET_ASIDE).exists()):
            raise OutputError(f"{place} was not put there by recsys: move it away")
        if place.exists():  # into runs/, where the next start sweeps what a kill leaves of it
            shutil.rmtree(place.rename(out / RUNS / f"{_TRASH}{REJECTED}"))
        folder.rename(place)
        sync(out)
    return place


def sweep(out: Path) -> None:
    """Remove what a crash left, and nothing that others made."""
    staged = out / _STAGED
    if staged.is_symlink():
        staged.unlink()
    elif staged.exists():
        shutil.rmtree(staged)
    for path in _entries(out / RUNS):
        if path.name.startswith(_TRASH):
            shutil.rmtree(path)
    for folder in run_folders(out):
        if not (folder / MANIFEST).exists() and ((folder / UNFINISHED).exists() or not _entries(folder)):
            delete_folder(folder)


def prune_models(out: Path, keep: int) -> list[str]:
    """Unlink all but the newest versions, and never the current one; name those that went."""
    current = follow(out, out / MODELS / CURRENT)
    return _unlink([link for link in model_links(out)[keep:] if follow(out, link) != current])


def prune_days(out: Path, keep_days: int | None, spared: Iterable[str] = ()) -> list[str]:
    """Unlink all but the newest days and those spared; name those that went."""
    # By their number, not by a calendar: a clock gone wrong must not take every day away.
    old = [] if keep_days is None else day_links(out)[:-keep_days]
    return _unlink([link for link in old if link.relative_to(out).as_posix() not in set(spared)])


def _unlink(links: list[Path]) -> list[str]:
    for link in links:
        link.unlink()
    for place in {link.parent for link in links}:  # gone from the disk before the runs they lead to
        sync(place)
    return [link.name for link in links]


def delete_runs(out: Path, kept: frozenset[str]) -> list[str]:
    """Delete what is committed, ours, and in no kept folder: runs, which are named, and models of runs that stay."""
    runs, gone = runs_of(kept), []
    for folder in run_folders(out):
        if folder.name not in runs:
            if _is_ours(folder):
                delete_folder(folder)
                gone.append(folder.name)
        elif f"{folder.name}/{MODEL}" not in kept and (folder / MODEL).is_dir() and _is_ours(folder):
            _delete_model(folder)
    return gone


def _delete_model(run: Path) -> None:
    # Most of a run's bytes: a day that is kept for years must not keep the model that made it.
    if MODEL in model_folders(read_manifest(run)):
        trash = run.with_name(f"{_TRASH}{run.name}-{MODEL}")
        (run / MODEL).replace(trash)
        shutil.rmtree(trash)


def model_folders(manifest: Mapping[str, Any]) -> set[str]:
    """Name the folders of a run that its manifest publishes as model versions."""
    pointers = manifest.get("pointers")
    found = pointers.items() if isinstance(pointers, Mapping) else ()
    return {str(folder) for link, folder in found if link.startswith(f"{MODELS}/")}


def _is_ours(folder: Path) -> bool:
    try:
        return read_manifest(folder).get("run_id") == folder.name
    except InputError:
        return False


def delete_folder(folder: Path) -> None:
    """Delete a run, renamed first: half a run must never be taken for a run."""
    trash = folder.with_name(f"{_TRASH}{folder.name}")
    folder.replace(trash)
    shutil.rmtree(trash)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
