"""A library that panics over an input says so on descriptor 2, with its stack: kept apart, and told in one line."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_STDERR = 2
_one_at_a_time = threading.Lock()


class PanickedError(Exception):
    """A library panicked over what it read."""


@contextmanager
def panics_apart(panic: type[BaseException]) -> Iterator[None]:
    """Turn a library's panic into an exception, and keep its words off the terminal.

    Whatever else is written to descriptor 2 meanwhile comes through at the end.

    Parameters
    ----------
    panic : type of BaseException

    Raises
    ------
    PanickedError

    """
    with _caught() as words:
        try:
            yield
        except panic as error:
            if words is not None:
                os.ftruncate(words, 0)
            raise PanickedError(str(error)) from None


@contextmanager
def _caught() -> Iterator[int | None]:
    """Put a file in memory in the place of descriptor 2, where that can be done."""
    if not hasattr(os, "memfd_create") or not _one_at_a_time.acquire(blocking=False):
        yield None
        return
    opened: list[int] = []
    try:
        with suppress(OSError):  # no descriptor 2, or none left: then the words go where they go
            opened.append(os.dup(_STDERR))
            opened.append(os.memfd_create("stderr"))
        if len(opened) < 2:
            yield None
            return
        kept, words = opened
        os.dup2(words, _STDERR)
        try:
            yield words
        finally:
            os.dup2(kept, _STDERR)
            _copy(words, kept)
    finally:
        for descriptor in opened:
            os.close(descriptor)
        _one_at_a_time.release()


def _copy(words: int, to: int) -> None:
    os.lseek(words, 0, os.SEEK_SET)
    while said := os.read(words, 2**16):
        with suppress(OSError):
            os.write(to, said)
