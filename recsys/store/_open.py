"""Beginning: take the lock, finish what a crash left. Then a run, or a change of what is kept and served."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from recsys.errors import InputError, UsageError
from recsys.store._files import input_errors, output_errors
from recsys.store._links import (
    AS_OF,
    CURRENT,
    MODELS,
    RUNS,
    committed_runs,
    delete_folder,
    delete_runs,
    flip_link,
    flip_links,
    follow,
    linked_folders,
    model_links,
    prune_days,
    prune_models,
    run_folders,
    runs_of,
    sweep,
)
from recsys.store._lock import locked
from recsys.store._manifest import UNFINISHED, read_manifest
from recsys.store._read import read_model_files, require_models
from recsys.store._run import Run


@contextmanager
def open_run(
    out: str | os.PathLike[str], keep: int, keep_days: int | None = None, wait: float = 0.0
) -> Iterator[Run]:
    """Take the lock, finish what a crash left, and begin a run.

    A run that is not published when the block ends is removed. In a folder where nothing was ever
    published, nothing is left behind.

    Parameters
    ----------
    out : path-like
        The output folder; it and its parents are made.
    keep : int
        Model versions to keep, at least 1. The current one always stays.
    keep_days : int, optional
        Days of predictions to keep, at least 1: the newest, and what this run publishes. Default: all.
    wait : float
        Seconds to wait for another run to end.

    Yields
    ------
    Run

    Raises
    ------
    LockedError
        When another run still holds the lock. The lock dies with its process.
    OutputError
        When the folder cannot be written.
    InputError
        When an unfinished run's manifest is damaged.
    """
    _check_bounds(keep, keep_days)
    with locked(out, wait) as folder:
        held = _finish(folder)
        run = Run(folder, folder / RUNS / _next_id(folder, held), secrets.token_hex(8), keep, keep_days, held)
        _make_folder(run)
        try:
            yield run
        finally:
            if not run.committed and run.stands:
                with suppress(OSError):  # the error on its way out matters more, and the next start sweeps
                    delete_folder(run.folder)


def _check_bounds(keep: int, keep_days: int | None) -> None:
    for name, bound in {"keep": keep, "keep_days": keep_days}.items():
        if bound is not None and bound < 1:
            raise UsageError(f"{name} must be at least 1, got {bound}")


def _finish(out: Path) -> frozenset[str]:
    """Sweep and finish flips; name the folders that links led to before."""
    with output_errors(out):
        held = linked_folders(out)
        sweep(out)
        for folder in committed_runs(out):
            if (folder / UNFINISHED).exists():
                flip_links(out, folder)
        return held


def _make_folder(run: Run) -> None:
    with output_errors(run.out):
        run.folder.mkdir(parents=True)
        try:
            (run.folder / UNFINISHED).write_text(run.token)
        except OSError:
            with suppress(OSError):
                delete_folder(run.folder)
            raise


def _next_id(out: Path, linked: frozenset[str]) -> str:
    # A link to a run that someone deleted counts too: the new run must not appear behind it half-written.
    taken = {int(folder.name) for folder in run_folders(out)} | {int(name) for name in runs_of(linked)}
    return f"{max(taken, default=0) + 1:06d}"


def rollback(out: str | os.PathLike[str], version: str | None = None, wait: float = 0.0) -> tuple[str, str]:
    """Point ``models/current`` at another published version: the next `predict` serves it.

    Parameters
    ----------
    out : path-like
    version : str, optional
        Default: the next older one, by as_of.
    wait : float
        Seconds to wait for another run to end.

    Returns
    -------
    tuple of str
        The version that was current, and the one that is.

    Raises
    ------
    InputError
        When there is no such version, or a file of it is damaged.
    LockedError, OutputError
        As `open_run`.
    """
    require_models(Path(out))
    with locked(out, wait) as folder:
        _finish(folder)
        before = _current(folder)
        chosen = _older(folder, before) if version is None else version
        read_model_files(folder, chosen)
        with output_errors(folder):
            flip_link(folder, f"{MODELS}/{CURRENT}", folder / MODELS / chosen)
        return before, _current(folder)


def _current(out: Path) -> str:
    target = follow(out, out / MODELS / CURRENT)
    return str(read_manifest(target).get("model_version")) if target else ""


def _older(out: Path, current: str) -> str:
    versions = [link.name for link in model_links(out)]
    older = versions[versions.index(current) + 1 :] if current in versions else versions
    if not older:
        raise InputError(
            f"no version is older than {current}, the current one: choose from {', '.join(versions)}"
        )
    return older[0]


@dataclass(frozen=True)
class Pruned:
    """What retention took away.

    Attributes
    ----------
    models : list of str
        Versions that have no link any more.
    days : list of str
        Days of predictions, likewise.
    runs : list of str
        Runs that were deleted. What was unlinked just now goes with the next publish or prune: a reader may be inside.
    """

    models: list[str]
    days: list[str]
    runs: list[str]


def prune(out: str | os.PathLike[str], keep: int, keep_days: int | None = None, wait: float = 0.0) -> Pruned:
    """Apply retention now.

    Parameters
    ----------
    out : path-like
    keep : int
        Model versions to keep, at least 1; the current one always stays.
    keep_days : int, optional
        Days of predictions to keep, at least 1. Default: all.
    wait : float
        Seconds to wait for another run to end.

    Returns
    -------
    Pruned

    Raises
    ------
    InputError
        When nothing was published there.
    LockedError, OutputError
        As `open_run`.
    """
    _check_bounds(keep, keep_days)
    with input_errors(Path(out)):
        if not (Path(out) / RUNS).is_dir():
            raise InputError(f"{out} has no runs: run `recsys run` first")
    with locked(out, wait) as folder, output_errors(folder):
        held = _finish(folder) | linked_folders(folder)
        models, days = prune_models(folder, keep), prune_days(folder, keep_days)
        names = [link.removeprefix(AS_OF) for link in days]
        return Pruned(models, names, delete_runs(folder, held))
