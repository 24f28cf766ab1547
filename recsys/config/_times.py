"""Lengths of time and instants, as recsys.toml writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field

_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_LENGTHS, _AN_INSTANT = "3d, 12h or 1d12h", "2022-04-27T16:00:00Z"
_LONGEST_DAYS = 36_500


def parse_duration(text: str) -> timedelta:
    """Read a length of time such as ``3d``, ``12h`` or ``1d12h``.

    Parameters
    ----------
    text : str
        Whole numbers followed by w, d, h, m or s.

    Returns
    -------
    datetime.timedelta

    Raises
    ------
    ValueError
        When the text is anything else.

    Examples
    --------
    >>> parse_duration("1d12h")
    datetime.timedelta(days=1, seconds=43200)
    """
    parts = re.findall(r"(\d+)([wdhms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise ValueError(f"a length of time looks like {_LENGTHS}")
    try:
        return sum((timedelta(**{_UNITS[unit]: int(number)}) for number, unit in parts), timedelta())
    except OverflowError:
        raise ValueError(f"a length of time of {text!r} is beyond all calendars") from None


def _duration(value: object) -> object:
    # A bare number would be taken for seconds.
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError(f"a length of time looks like {_LENGTHS}")
    return parse_duration(value)


def _instant(value: object) -> object:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise ValueError(f"an instant looks like {_AN_INSTANT}")
    if value.tzinfo is None:
        raise ValueError(f"an instant needs its zone, as in {value.isoformat()}Z")
    return value.astimezone(UTC)


Duration = Annotated[
    timedelta, BeforeValidator(_duration), Field(ge=timedelta(0), le=timedelta(days=_LONGEST_DAYS))
]
Instant = Annotated[datetime, BeforeValidator(_instant)]
