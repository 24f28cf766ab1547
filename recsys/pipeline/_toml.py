"""Settings -> a recsys.toml that `load_settings` reads back as the same settings."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from recsys.config import Settings

_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}


def settings_toml(settings: Settings, folder: Path, said: Mapping[str, str] | None = None) -> str:
    """Write settings as TOML, every value in full.

    Parameters
    ----------
    settings : Settings
    folder : pathlib.Path
        Where the text will be saved: relative paths in it start there.
    said : mapping of str to str, optional
        Comments, by ``section.key``.

    Returns
    -------
    str

    """
    values = settings.model_dump(exclude_none=True)
    for section in ("events", "output"):
        if "path" in values[section]:
            values[section]["path"] = _path_from(values[section]["path"], folder)
    lines = (line for name, section in values.items() for line in _section(name, section, said or {}))
    return "\n".join(lines) + "\n"


def _section(name: str, values: Mapping[str, Any], said: Mapping[str, str]) -> Iterator[str]:
    yield f"[{name}]"
    tables = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    for key, value in values.items():
        if key not in tables:
            comment = said.get(f"{name}.{key}")
            yield f"{_key(key)} = {toml_value(value)}" + (f"  # {comment}" if comment else "")
    yield ""
    for key, table in tables.items():
        if table:
            yield from _section(f"{name}.{_key(key)}", table, {})


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def toml_value(value: Any) -> str:
    """Write one value."""
    if isinstance(value, timedelta):
        return _text(format_duration(value))
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return _text(value)


def _text(value: Any) -> str:
    """Write strings and numbers, which TOML writes as JSON does, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def format_duration(length: timedelta) -> str:
    """Write a length of time as `recsys.config.parse_duration` reads it.

    Parameters
    ----------
    length : datetime.timedelta
        Whole seconds, not below 0.

    Returns
    -------
    str

    Examples
    --------
    >>> format_duration(timedelta(days=1, hours=12)), format_duration(timedelta(0))
    ('1d12h', '0s')

    """
    written = ""
    for unit, size in _UNITS.items():
        number, length = divmod(length, size)
        written += f"{number}{unit}" if number else ""
    return written or "0s"


def _path_from(path: str, folder: Path) -> str:
    """Make a path start at a folder; absolute ones and addresses stay as they are."""
    if "://" in path or Path(path).is_absolute():
        return path
    return Path(os.path.relpath(Path(path).absolute(), os.path.realpath(folder))).as_posix()
