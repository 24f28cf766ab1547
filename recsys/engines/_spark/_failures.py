"""What Spark says at length -> the one line that matters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from recsys import errors

_OURS = re.compile(r"^recsys\.errors\.(\w+): (.*)$", re.MULTILINE)
_DEFECT = "Traceback (most recent call last)"
_LONGEST = 200


@contextmanager
def one_line(name: str) -> Iterator[None]:
    """Raise what was raised where Spark runs; say of what Spark itself reports that an input cannot be read.

    Parameters
    ----------
    name : str
        Of the input.

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
        raise errors.InputError(f"{name!r} cannot be read: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """Cut what a library said to one line of a length that can be read."""
    said = [line.strip(" :\t") for line in str(error).splitlines()]
    # Of a failure in Java, the first line only says which call it was.
    told = [line for line in said if line and not line.startswith("An error occurred while calling")]
    return (told or [type(error).__name__])[0][:_LONGEST]
