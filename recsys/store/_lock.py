"""One run at a time in a folder, and nothing of ours in a folder where nothing was published."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from recsys.errors import LockedError, OutputError
from recsys.store._files import output_errors, sync
from recsys.store._links import RUNS

_LOCK = ".lock"
_PATIENCE = 1.0


@contextmanager
def locked(out: str | os.PathLike[str], wait: float = 0.0) -> Iterator[Path]:
    """Make a folder and hold its lock; take both away again if nothing stands in it afterwards.

    Parameters
    ----------
    out : path-like
        The output folder; it and its parents are made.
    wait : float
        Seconds to wait for another run to end; 0 asks once.

    Yields
    ------
    pathlib.Path
        The folder, absolute.

    Raises
    ------
    LockedError
        When another run still holds the lock. The lock dies with its process.
    OutputError
        When the folder cannot be written.
    """
    out = Path(out).absolute()
    missing: list[Path] = []
    try:
        lock = _acquire(out, wait, missing)
        try:
            yield out
        finally:
            _leave_nothing(out)
            lock.release()
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def _acquire(out: Path, wait: float, made: list[Path]) -> FileLock:
    """Take the lock, and note the folders that were made for it."""
    deadline, lock = time.monotonic() + wait, FileLock(out / _LOCK)
    with output_errors(out):
        while True:
            missing = {folder for folder in (out, *out.parents) if not folder.exists()}
            made[:] = sorted({*made, *missing}, key=lambda folder: len(folder.parts), reverse=True)
            try:
                _make_folder(out, missing)
                lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
                return lock
            except Timeout:
                raise LockedError(_held_by_another(out, wait)) from None
            except FileNotFoundError:
                # A run that published nothing takes its folder away, under those who wait for it.
                if time.monotonic() > deadline + _PATIENCE:
                    raise


def _held_by_another(out: Path, wait: float) -> str:
    if wait:
        return f"another run holds the lock on {out}, still after {wait:g} s: wait longer, or try again later"
    return f"another run holds the lock on {out}: try again later, or --wait SECONDS for it to end"


def _make_folder(out: Path, missing: Iterable[Path]) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} must be a folder, and is a file")
    out.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        with suppress(OSError):  # one may be allowed to write in a folder and not to read it
            sync(folder.parent)


def _leave_nothing(out: Path) -> None:
    with suppress(OSError):  # refused when a run stands in it
        (out / RUNS).rmdir()
    with suppress(OSError):
        # filelock gives no lock on a name that is gone: who waits opens the next file of that name.
        if not (out / RUNS).exists() and (out / _LOCK).stat().st_size == 0:
            (out / _LOCK).unlink()
