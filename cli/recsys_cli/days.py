"""``--as-of``: a day, or days, -> the instants before which a log is read."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta


def parse_as_of(text: str | None) -> datetime | None:
    """Read ``--as-of``: a day means everything before the next midnight UTC.

    Parameters
    ----------
    text : str or None
        An ISO date, ``yesterday`` (UTC), or an instant with a zone.

    Returns
    -------
    datetime.datetime or None

    Raises
    ------
    UsageError
        When it is neither.

    Examples
    --------
    >>> parse_as_of("2022-04-30")
    datetime.datetime(2022, 5, 1, 0, 0, tzinfo=datetime.timezone.utc)

    """
    from recsys.errors import UsageError

    if text is None:
        return None
    try:
        return datetime.combine(_parse_day(text), time.min, UTC) + timedelta(days=1)
    except OverflowError:
        raise UsageError(f"--as-of must lie before the last day of the calendar, got {text!r}") from None
    except ValueError:
        return _parse_instant(text)


def parse_days(text: str | None) -> list[datetime | None]:
    """Read ``--as-of`` where days may be asked for, ``FIRST..LAST``, both included.

    Parameters
    ----------
    text : str or None

    Returns
    -------
    list of datetime.datetime or None
        See `parse_as_of`.

    Raises
    ------
    UsageError
        When they are no days, or in the wrong order.

    Examples
    --------
    >>> [as_of.day for as_of in parse_days("2022-04-29..2022-05-01")]
    [30, 1, 2]

    """
    from recsys.errors import UsageError

    if text is None or ".." not in text:
        return [parse_as_of(text)]
    ends = text.split("..")
    try:
        first, last = map(_parse_day, ends)
    except ValueError:
        raise UsageError(f"--as-of must be days such as 2022-04-01..2022-04-30, got {text!r}") from None
    if last < first:
        raise UsageError(f"--as-of FIRST..LAST must not end before it begins, got {text!r}")
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    return [parse_as_of(day.isoformat()) for day in days]


def _parse_day(text: str) -> date:
    return datetime.now(UTC).date() - timedelta(days=1) if text == "yesterday" else date.fromisoformat(text)


def _parse_instant(text: str) -> datetime:
    from recsys.errors import UsageError

    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--as-of must be a day such as 2022-04-30, or yesterday, got {text!r}") from None
    if instant.tzinfo is None:
        raise UsageError(f"--as-of with a time needs its zone, as in {text}Z")
    return instant.astimezone(UTC)
