"""What Spark says at length -> the one line that matters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from recsys import errors

_OURS = re.compile(r"^recsys\.errors\.(\w+): (.*)$", re.MULTILINE)
_DEFECT = "Traceback (most recent call last)"
_LONGEST = 200
#: How Java begins: which call it was, that one of its modules is new, that something is wrong.
_TELLS_NOTHING = ("An error occurred while calling", "WARNING:", "Error: A JNI error has occurred")


def one_line(name: str) -> AbstractContextManager[None]:
    """Raise what was raised where Spark runs; say of what Spark itself reports that an input cannot be read.

    Parameters
    ----------
    name : str
        Of the input.

    Returns
    -------
    context manager

    """
    return as_ours(lambda said: errors.InputError(f"{name!r} cannot be read: {said}"))


def in_one_line() -> AbstractContextManager[None]:
    """Raise what was raised where Spark runs; say of what Spark itself reports that it gave up."""
    return as_ours(lambda said: errors.RecsysError(f"Spark gave up, nothing was published: {said}"))


@contextmanager
def as_ours(otherwise: Callable[[str], errors.RecsysError]) -> Iterator[None]:
    """Turn what Spark raises into what recsys raises.

    Parameters
    ----------
    otherwise : callable
        Makes an error of one line that Spark itself reports.

    Raises
    ------
    RecsysError
    Exception
        As it came, where our own code failed unexpectedly: a defect, and its traceback is wanted.

    """
    try:
        yield
    except (PySparkException, Py4JError) as error:
        ours = _OURS.search(str(error))
        if ours:
            raise getattr(errors, ours.group(1))(ours.group(2)) from None
        if _DEFECT in str(error):
            raise
        raise otherwise(first_line(error)) from None


def first_line(error: Exception) -> str:
    """Cut what a library said to one line of a length that can be read."""
    said = [line.strip(" :\t") for line in str(error).splitlines()]
    told = [line for line in said if line and not line.startswith(_TELLS_NOTHING)]
    return (told or [type(error).__name__])[0][:_LONGEST]
