"""The file, the environment and the command line -> settings, or one line that says what is wrong."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recsys.config._sections import Settings
from recsys.errors import ConfigError, InputError, cut, nearest

CONFIG_NAME = "recsys.toml"
ENV_PREFIX = "RECSYS_"
_LARGEST, _DEEPEST, _LONGEST_SAID = 2**20, 8, 200


def load_settings(
    path: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Read recsys.toml, then the environment, then the overrides.

    Parameters
    ----------
    path : path-like, optional
        The file, or the folder that holds a `recsys.toml`. Relative paths inside it start at the file's
        folder. Without it the defaults stand.
    overrides : mapping of section to mapping of key to value, optional
        What the command line says. `None` values are passed over.
    environ : mapping, optional
        Default `os.environ`.

    Returns
    -------
    Settings

    Raises
    ------
    InputError
        When the file is missing or unreadable.
    ConfigError
        When it is not TOML, or says something that is not a setting.
    """
    written = _read_toml(Path(path)) if path is not None else {}
    layers = [written, _from_environment(os.environ if environ is None else environ), dict(overrides or {})]
    try:
        return build_settings(_merge(*layers))
    except RecursionError:
        raise ConfigError("the settings are nested too deep: a setting is a key of a section") from None


def build_settings(values: Mapping[str, Any]) -> Settings:
    """Turn a nested mapping into settings, with one-line errors.

    Parameters
    ----------
    values : mapping of section to mapping of key to value

    Returns
    -------
    Settings

    Raises
    ------
    ConfigError
        Naming the key, the value and the way out.
    """
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None
    except RecursionError:
        raise ConfigError("the settings are nested too deep: a setting is a key of a section") from None


def _read_toml(path: Path) -> dict[str, Any]:
    path = path / CONFIG_NAME if path.is_dir() else path
    try:
        # Not more: a device has no end.
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise InputError(f"the configuration {str(path)!r} cannot be read: {error.strerror}") from None
    if len(content) > _LARGEST:
        raise ConfigError(f"{path} must be smaller than 1 MiB, as any recsys.toml is")
    try:
        written = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {_first_line(error)}") from None
    except (RecursionError, ValueError) as error:  # an integer of thousands of digits is a ValueError
        said = _first_line(error)
        raise ConfigError(f"{path} is no recsys.toml, its values are too deep or too long: {said}") from None
    for section in ("events", "output"):
        place = written.get(section)
        if isinstance(place, dict) and isinstance(place.get("path"), str) and "://" not in place["path"]:
            place["path"] = str(path.parent / place["path"])
    return written


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:_LONGEST_SAID]


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in sorted(environ.items()):
        if not name.startswith(ENV_PREFIX) or "__" not in name:
            continue
        value, keys = _environment_value(text), name.removeprefix(ENV_PREFIX).lower().split("__")
        if len(keys) > _DEEPEST:
            raise ConfigError(
                f"{name[:_LONGEST_SAID]!r} is not a setting: a name is {ENV_PREFIX}SECTION__KEY"
            )
        for key in reversed(keys):
            value = {key: value}
        found = _merge(found, value)
    return found


def _environment_value(text: str) -> Any:
    """Read lists, tables and quoted text as TOML; plain text becomes what its setting needs."""
    if not text.startswith(("[", "{", '"', "'")):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return text


def _merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
                merged[key] = _merge(merged[key], value)
            elif isinstance(value, Mapping):
                merged[key] = _merge(value)
            elif value is not None:
                merged[key] = value
    return merged


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    name = ".".join(place)
    if first["type"] == "extra_forbidden":
        return f"{cut(name)!r} is not a setting: {nearest(place[-1], _names_at(place[:-1]))}"
    said = first["msg"].removeprefix("Value error, ")
    return f"{cut(name)}: {said}, got {_shown(first['input'])}" if place else said


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        return f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_SAID else text[: _LONGEST_SAID - 3] + "..."


def _names_at(place: list[str]) -> list[str]:
    model: Any = Settings
    for part in place:
        model = model.model_fields[part].annotation
    return list(model.model_fields)
