"""Look at a log nobody described yet, and write down what it probably is."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from recsys.config import EventsSettings, build_settings
from recsys.errors import ConfigError, DataError
from recsys.events import _guess as guess
from recsys.events._parse import parse_columns
from recsys.events._roles import EVENT_TYPE, LIKE, VIEW, resolve_roles
from recsys.events._sources import Source, open_source, reading
from recsys.events._times import unit_of
from recsys.schema import EARLIEST, HISTORY_ONLY, LATEST, TIME

_LONGEST_WINDOW = 28
_TYPES_NAMED = 20
_COMMENT_AT = 52


def propose_config(path: str | os.PathLike[str], folder: str | os.PathLike[str] = ".") -> str:
    """Propose a recsys.toml for a log, each choice with the reason for it.

    Parameters
    ----------
    path : path-like
        The log.
    folder : path-like
        Where the text will be saved: a relative path in it starts there.

    Returns
    -------
    str
        TOML that `load_settings` reads.

    Raises
    ------
    ConfigError
        When the user, item or time column cannot be guessed: the columns there are get named.
    DataError
        When the log is empty.
    InputError
        When it is missing or unreadable.

    """
    source = open_source(path)
    with reading(source.name):
        return _propose(source, _relative(path, folder))


def _propose(source: Source, path: str) -> str:
    if source.rows.head(1).collect().is_empty():
        raise DataError(f"{source.name!r} has no rows: there is nothing to propose a configuration from")
    columns = guess.look_at(source)
    roles = guess.roles_of(columns)
    types: dict[str, list[str]] = {}
    if EVENT_TYPE in roles:
        types = guess.sort_event_types(_common_types(source, roles[EVENT_TYPE]))
    unit, unit_lines = _unit(source, roles)
    sections = [
        [f"# Proposed by `recsys init` from the columns of {source.name}:"],
        ["# read every line, then try `recsys check`.", "", "[events]"],
        [_line("path", path, "a relative path starts at this file"), *_layout_lines(types), *unit_lines],
        [*_behaviour_lines(columns, roles, types), ""],
        ["[events.columns]", *_column_lines(columns, roles), ""],
        [*_window_lines(_settings(roles, unit), source), ""],
        ["[output]", _line("path", "out", "where models and predictions go")],
        [_line("top_n", 20, "items recommended to each user"), ""],
    ]
    return "\n".join(line for section in sections for line in section)


def _line(key: str, value: Any, comment: str) -> str:
    return f"{key} = {_toml(value)}".ljust(_COMMENT_AT) + f" # {comment}"


def _toml(value: Any) -> str:
    """Write strings, numbers and lists, which TOML writes as JSON does."""
    return json.dumps(value, ensure_ascii=False)


def _relative(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> str:
    given = Path(path)
    return given.as_posix() if given.is_absolute() else Path(os.path.relpath(given, folder)).as_posix()


def _unit(source: Source, roles: dict[str, str]) -> tuple[str | None, list[str]]:
    try:
        unit = unit_of(source.rows, roles["time"])
    except ConfigError as error:
        return None, [f"# {error}", '# time_unit = "s"']
    return unit, [] if unit is None else [_line("time_unit", unit, "detected: s, ms or us")]


def _common_types(source: Source, column: str) -> list[str]:
    counts = source.rows.group_by(pl.col(column).cast(pl.String).alias("type")).len().drop_nulls()
    found = counts.sort("len", "type", descending=[True, False]).head(_TYPES_NAMED).collect()
    return found["type"].to_list()


def _layout_lines(types: dict[str, list[str]]) -> list[str]:
    if not types:
        return [_line("layout", "exposures", "one row is one item shown to one user")]
    listed = ", ".join(f"{_toml(name)} = {_toml(named)}" for name, named in types.items())
    lines = [
        _line("layout", "event_log", "one row is one event; its type says what happened"),
        f"event_types = {{ {listed} }}",
        f"# found, the commonest first; check which are {VIEW} and {LIKE}, the others are named after themselves",
        _line("like_within", "1d", "a like belongs to the last view, at most so much earlier"),
    ]
    if not types[LIKE]:
        lines.append("# no type looks like a like: without one there are rankings, and no probabilities")
    return lines


def _behaviour_lines(columns: guess.Columns, roles: dict[str, str], types: dict[str, list[str]]) -> list[str]:
    free = [name for name in columns.flags if name not in roles.values()]
    found = [name for name in types if name not in (VIEW, LIKE)] if types else free
    return [
        "# signals are recorded without a button, one factorisation each; outcomes are what the audit predicts;",
        "# remove from both what was not yet known when the log was written, and what is not behaviour",
        f"signals = {_toml(guess.signals_of(found))}",
        f"outcomes = {_toml(guess.outcomes_of(found))}",
    ]


def _column_lines(columns: guess.Columns, roles: dict[str, str]) -> Iterable[str]:
    for role, text in roles.items():
        kind = columns.types.get(text)
        yield _line(role, text, f"{kind}" if kind else "an SQL expression over columns")
    if "like" not in roles and EVENT_TYPE not in roles:
        yield "# like: no column looks like one, so every row counts as liked: rankings, and no probabilities"
    used = {
        name for name in columns.types if any(name in re.findall(r"\w+", text) for text in roles.values())
    }
    known = {*used, *roles.values(), *columns.flags}
    unused = [name for name in columns.types if name and name not in known]
    if unused:
        yield f"# not used: {', '.join(unused)}"


def _settings(roles: dict[str, str], unit: str | None) -> EventsSettings:
    kept = {role: text for role, text in roles.items() if role in ("user", "item", "time", "history_only")}
    return build_settings({"events": {"columns": kept, "time_unit": unit}}).events


def _window_lines(settings: EventsSettings, source: Source) -> list[str]:
    length, span = "3d", "lengths go back from the end of the log"
    try:
        first, last = _first_and_last(settings, source)
    except ConfigError:  # the unit is in doubt
        first = last = None
    if first and last:
        length = _length(first, last)
        span = f"{span}, which runs from {first:%Y-%m-%d} to {last:%Y-%m-%d}"
    return [
        "[windows]",
        f"# {span}",
        _line("calibrate", length, "probabilities are calibrated on these exposures"),
        _line("test", length, "and evaluated on these, the last ones"),
    ]


def _first_and_last(settings: EventsSettings, source: Source) -> tuple[datetime | None, datetime | None]:
    """Find the span of the rows that may stand in a window."""
    rows = parse_columns(resolve_roles(source, settings))
    if HISTORY_ONLY in rows.collect_schema():
        rows = rows.filter(~pl.col(HISTORY_ONLY))
    time = pl.col(TIME)
    plausible = rows.filter(time.is_between(EARLIEST, LATEST))
    ends = plausible.select(time.min().alias("first"), time.max().alias("last"))
    first, last = ends.collect().row(0)
    return first, last


def _length(first: datetime, last: datetime) -> str:
    """Three days in fourteen, four weeks at most."""
    days = ((last.date() - first.date()).days + 1) * 3 // 14
    hours = (last - first) * 3 // timedelta(hours=14)
    return f"{min(days, _LONGEST_WINDOW)}d" if days else f"{max(hours, 1)}h"
