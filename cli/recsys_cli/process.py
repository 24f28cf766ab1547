"""The process around a command: its standard streams, and the signals that stop it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STREAMS = {0: ("stdin", "r"), 1: ("stdout", "w"), 2: ("stderr", "w")}
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def open_streams() -> None:
    """Give a process that was started with closed streams (``2>&-``) some that lead nowhere.

    The next file to be opened would get the number instead, and what a library has to complain of would be
    written into it.
    """
    for number, (name, mode) in _STREAMS.items():
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the work as an error would: with what was begun taken away, and with a word.

    Raises
    ------
    SystemExit
        With 128 and the signal's number. A second signal ends the process at once.

    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # One that is ignored (nohup) or somebody else's stays so.
    ours = [one for one in _SIGNALS if signal.getsignal(one) is signal.SIG_DFL]
    for one in ours:
        signal.signal(one, _stop)
    try:
        yield
    finally:
        for one in ours:
            signal.signal(one, signal.SIG_DFL)


def _stop(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise SystemExit(128 + number)


def stopped_by(status: object) -> signal.Signals | None:
    """Say which signal an exit status stands for, if any.

    Parameters
    ----------
    status : int or other
        As `SystemExit.code`.

    Returns
    -------
    signal.Signals or None

    Examples
    --------
    >>> stopped_by(143).name, stopped_by(79)
    ('SIGTERM', None)

    """
    known = {128 + one: one for one in (*_SIGNALS, signal.SIGINT)}
    return known.get(status) if isinstance(status, int) else None


def end_by(stopped: signal.Signals) -> None:
    """End this process by the signal that stopped it, as whoever sent it expects; pid 1 lives on."""
    if stopped in _SIGNALS:
        sys.stdout.flush()
        os.kill(os.getpid(), stopped)
