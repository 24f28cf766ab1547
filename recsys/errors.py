"""Everything that can go wrong and is expected to.

.. code-block:: text

    RecsysError             exit 1
    ├── UsageError          exit 2    the call makes no sense
    ├── DataError           exit 65   the log was read and refused
    │   └── RefusedRowsError          more of its rows than events.max_refused; carries them
    ├── InputError          exit 66   an input is missing or unreadable
    ├── OutputError         exit 73   the output cannot be written
    ├── LockedError         exit 75   another run holds the lock
    ├── ConfigError         exit 78   the configuration is wrong
    └── GateError           exit 79   a quality gate failed, nothing was published

A message is one line that names the rule, the value and the way out. Only the command line turns
these into exit codes; anything else that escapes is a defect in recsys.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import polars as pl


_LONGEST_NAME, _MOST_NAMES = 80, 20


class RecsysError(Exception):
    """Base of every expected failure.

    Attributes
    ----------
    exit_code : int
        The process exit status of the command line (see `sysexits.h` for 65 to 78).
    run_id : str or None
        The run that it ended, if one had begun.
    """

    exit_code: ClassVar[int] = 1
    run_id: str | None = None


class UsageError(RecsysError, ValueError):
    """The call or the command line makes no sense."""

    exit_code = 2


class DataError(RecsysError):
    """The log was read, and refused."""

    exit_code = 65


class RefusedRowsError(DataError):
    """More rows were refused than `events.max_refused` allows.

    Attributes
    ----------
    refused : polars.DataFrame
        The rows with their reasons, so that they can be looked at.

    """

    def __init__(self, message: str, refused: pl.DataFrame) -> None:
        super().__init__(message)
        self.refused = refused


class InputError(RecsysError):
    """An input is missing or unreadable."""

    exit_code = 66


class OutputError(RecsysError):
    """The output cannot be written."""

    exit_code = 73


class LockedError(RecsysError):
    """Another run holds the lock: try again later."""

    exit_code = 75


class ConfigError(RecsysError, ValueError):
    """The configuration is wrong."""

    exit_code = 78


class GateError(RecsysError):
    """A quality gate failed: nothing was published."""

    exit_code = 79


def nearest(name: str, choices: Iterable[str]) -> str:
    """Say which of the choices a misspelt name was probably meant to be.

    Parameters
    ----------
    name : str
        What was written.
    choices : iterable of str
        What could have been written.

    Returns
    -------
    str
        A clause to append to a message.

    Examples
    --------
    >>> nearest("user_idd", ["item_id", "user_id"])
    "did you mean 'user_id'?"
    >>> nearest("zzz", ["item_id", "user_id"])
    "choose from 'item_id', 'user_id'"
    """
    choices = sorted(choices)
    close = difflib.get_close_matches(name[:_LONGEST_NAME], choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean {cut(close[0])!r}?"
    more = f" and {len(choices) - _MOST_NAMES} more" if len(choices) > _MOST_NAMES else ""
    return "choose from " + ", ".join(repr(cut(choice)) for choice in choices[:_MOST_NAMES]) + more


def cut(text: str) -> str:
    """Cut a name to a length that can be read.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> cut("short"), len(cut("x" * 1000))
    ('short', 80)
    """
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 3] + "..."
