"""Every published file against its manifest, and every link against the run it leads to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.errors import InputError
from recsys.store._files import input_errors
from recsys.store._links import (
    AS_OF,
    CURRENT,
    MODELS,
    PREDICTIONS,
    RUNS,
    all_links,
    check_pointers,
    committed_runs,
    follow,
    model_folders,
    run_folders,
    run_of,
)
from recsys.store._manifest import MANIFEST, UNFINISHED, check_seal, find_damage


@dataclass(frozen=True)
class Verification:
    """What `verify` looked at, and what it found.

    Attributes
    ----------
    runs, files, links : int
        How many were checked.
    damages : tuple of str
        One line each: where, what is wrong, the way out. Empty when all is whole.
    notes : tuple of str
        What a killed or a running run leaves for the next start to finish; no reader sees it.

    """

    runs: int
    files: int
    links: int
    damages: tuple[str, ...]
    notes: tuple[str, ...]


def verify(out: str | os.PathLike[str]) -> Verification:
    """Check every published file against its manifest, and every link.

    Parameters
    ----------
    out : path-like

    Returns
    -------
    Verification

    Raises
    ------
    InputError
        When nothing was ever published there, or it cannot be read.

    Notes
    -----
    Takes no lock and writes nothing: a run may publish meanwhile, and what it deletes is no damage.
    """
    out = Path(out)
    with input_errors(out):
        if not (out / RUNS).is_dir():
            raise InputError(f"{out} has no runs: run `recsys run` first, or name the output folder")
        runs, damages, files = committed_runs(out), [], 0
        for run in runs:
            found, count = _check_run(run)
            files += count
            damages += found if run.is_dir() else []
        links = all_links(out)
        damages += [wrong for link in links if (wrong := _check_link(out, link))]
        damages += [*_strangers(out), *_missing_links(out, runs)]
        return Verification(len(runs), files, len(links), tuple(damages), tuple(_notes(out)))


def _check_run(run: Path) -> tuple[list[str], int]:
    try:
        with input_errors(run):
            return _find_wrong(run)
    except InputError as error:
        return [str(error)], 0


def _find_wrong(run: Path) -> tuple[list[str], int]:
    manifest = check_seal(run)
    if manifest.get("run_id") != run.name:
        return [f"{run} holds run {manifest.get('run_id')!r}: remove it, runs do not move"], 0
    # Retention deletes models; a link that still leads to one is told of as a link.
    gone = {folder for folder in model_folders(manifest) if not os.path.lexists(run / folder)}
    if wrong := check_pointers(manifest.get("pointers"), run, gone):
        return [f"{run / MANIFEST} does not fit its run, {wrong}: publish again"], 0
    listed = {name: one for name, one in manifest["files"].items() if not _below(name, gone)}
    return [str(error) for error in find_damage(run, {**manifest, "files": listed})], len(listed)


def _below(name: str, folders: set[str]) -> bool:
    return any(name.startswith(f"{folder}/") for folder in folders)


def _check_link(out: Path, link: Path) -> str | None:
    # Twice: a run may flip it, and delete what it led to, between two looks.
    return _wrong_link(out, link) and _wrong_link(out, link)


def _wrong_link(out: Path, link: Path) -> str | None:
    if not link.is_symlink():
        return None
    target = follow(out, link)
    if target is None:
        foreign = link.parent == out and link.name not in ("evaluation", "audit", MODELS, PREDICTIONS, RUNS)
        return None if foreign else f"{link} leads outside {out / RUNS}: remove it"
    run = run_of(out, target)
    if not target.is_dir() or not (run / MANIFEST).exists():
        return f"{link} leads to a run that is gone, {target}: publish again"
    try:
        pointers = check_seal(run).get("pointers")
    except InputError:
        return None  # said of the run already
    name, folder = link.relative_to(out).as_posix(), target.relative_to(run).as_posix()
    if not isinstance(pointers, dict) or folder not in _meant(pointers, name):
        return f"{link} leads to {target}, which was not published under that name: publish again"
    return None


def _meant(pointers: dict[str, Any], name: str) -> list[Any]:
    # A rollback points `current` at any version.
    if name == f"{MODELS}/{CURRENT}":
        return [folder for link, folder in pointers.items() if link.startswith(f"{MODELS}/")]
    return [pointers.get(name)]


def _strangers(out: Path) -> Iterator[str]:
    for place in (out / PREDICTIONS, out / MODELS):
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if not path.is_symlink():
                yield f"{path} is no link of recsys, and readers of {place} meet it: move it away"
            elif place.name == PREDICTIONS and not path.name.startswith(AS_OF):
                yield f"{path} is no day, and readers of {place} meet it: move it away"


def _missing_links(out: Path, runs: list[Path]) -> Iterator[str]:
    """Say which links of the newest finished run are gone: a version may be pruned, no other may."""
    finished = [run for run in runs if not (run / UNFINISHED).exists()]
    for run in finished[-1:]:
        try:
            pointers = check_seal(run).get("pointers")
        except (InputError, OSError):
            return
        for link in pointers if isinstance(pointers, dict) else ():
            version = link.startswith(f"{MODELS}/") and link != f"{MODELS}/{CURRENT}"
            if not version and not os.path.lexists(out / link):
                yield f"{out / link} is missing, and run {run.name} published it: publish again"


def _notes(out: Path) -> Iterator[str]:
    for run in run_folders(out):
        if not (run / MANIFEST).exists():
            yield f"run {run.name} is not committed: it is being written, or the next start removes it"
        elif (run / UNFINISHED).exists():
            yield f"run {run.name} is committed, and the next start finishes its links"
