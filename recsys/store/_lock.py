"""One run at a time in a folder, and nothing of ours in a folder where nothing was published."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from recsys.errors import LockedError, OutputError
from recsys.store._files import output_errors, sync
from recsys.store._links import RUNS

_LOCK = ".lock"


@contextmanager
def locked(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Make a folder and hold its lock; take both away again if nothing stands in it afterwards.

    Parameters
    ----------
    out : path-like
        The output folder; it and its parents are made.

    Yields
    ------
    pathlib.Path
        The folder, absolute.

    Raises
    ------
    LockedError
        At once, when another run holds the lock. The lock dies with its process.
    OutputError
        When the folder cannot be written.
    """
    out = Path(out).absolute()
    with output_errors(out):
        missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        _make_folder(out, missing)
        with _held(out):
            try:
                yield out
            finally:
                _leave_nothing(out)
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def _make_folder(out: Path, missing: list[Path]) -> None:
    with output_errors(out):
        if out.exists() and not out.is_dir():
            raise OutputError(f"{out} must be a folder, and is a file")
        out.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        with suppress(OSError):  # one may be allowed to write in a folder and not to read it
            sync(folder.parent)


@contextmanager
def _held(out: Path) -> Iterator[None]:
    lock = FileLock(out / _LOCK)
    with output_errors(out):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise LockedError(f"another run holds the lock on {out}: try again later") from None
    try:
        yield
    finally:
        lock.release()


def _leave_nothing(out: Path) -> None:
    with suppress(OSError):  # refused when a run stands in it
        (out / RUNS).rmdir()
    with suppress(OSError):
        if not (out / RUNS).exists() and (out / _LOCK).stat().st_size == 0:
            (out / _LOCK).unlink()
