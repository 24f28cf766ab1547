"""The options that all commands share -> a Job."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from recsys_cli.logs import LogFormat, LogLevel, logging_to_stderr

if TYPE_CHECKING:
    from recsys.pipeline import Job


def _option(name: str, *short: str, help: str) -> Any:
    return typer.Option(f"--{name}", *short, help=help, envvar=f"RECSYS_{name.replace('-', '_').upper()}")


@dataclass(frozen=True)
class Shared:
    """What every command that reads a log can be told."""

    config: Annotated[Path | None, _option("config", "-c", help="recsys.toml, or the folder it is in.")] = (
        None
    )
    events: Annotated[Path | None, _option("events", help="The log: a file, a folder or a glob.")] = None
    output: Annotated[Path | None, _option("output", "-o", help="The output folder.")] = None
    as_of: Annotated[
        str | None, _option("as-of", help="Read only what lies before the end of this day, UTC.")
    ] = None
    seed: Annotated[int | None, _option("seed", help="Same seed, same bytes.")] = None
    threads: Annotated[int, _option("threads", "-j", help="0 is one a core. No result depends on it.")] = 0
    log_format: Annotated[LogFormat, _option("log-format", help="Logs on stderr.")] = LogFormat.text
    log_level: Annotated[LogLevel, _option("log-level", help="Least severe to log.")] = LogLevel.info
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log errors only.")] = False
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="A bar, on a terminal only.")] = (
        True
    )
    debug: Annotated[bool, typer.Option("--debug", help="Log everything, with tracebacks.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print results for machines.")] = False

    def job(self, command: str, **model: Any) -> Job:
        """Turn the options into a Job.

        Parameters
        ----------
        command : str
        **model
            More overrides of the `[output]` section.

        Returns
        -------
        recsys.pipeline.Job

        """
        from recsys.config import CONFIG_NAME, load_settings
        from recsys.pipeline import Job

        overrides = {
            "events": {"path": _text(self.events)},
            "output": {"path": _text(self.output), **model},
            "model": {"seed": self.seed},
        }
        here = Path(CONFIG_NAME)
        path = self.config if self.config is not None else here if here.exists() else None
        return Job(command, load_settings(path, overrides), parse_as_of(self.as_of), self.threads)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def parse_as_of(text: str | None) -> datetime | None:
    """Read ``--as-of``: a day means everything before the next midnight UTC.

    Parameters
    ----------
    text : str or None
        An ISO date, or an instant with a zone.

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
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--as-of must be a day such as 2022-04-30, got {text!r}") from None
    if len(text) == len("2022-04-30"):
        return instant.replace(tzinfo=UTC) + timedelta(days=1)
    if instant.tzinfo is None:
        raise UsageError(f"--as-of with a time needs its zone, as in {text}Z")
    return instant.astimezone(UTC)


def with_shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the shared options: they arrive as its first argument.

    Parameters
    ----------
    command : callable
        Takes a `Shared`, then options of its own.

    Returns
    -------
    callable
        What Typer registers.

    """
    kinds = get_type_hints(Shared, include_extras=True)
    shared = {
        field.name: inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=kinds[field.name]
        )
        for field in fields(Shared)
    }
    own_kinds = get_type_hints(command, include_extras=True)
    own = list(inspect.signature(command).parameters.values())[1:]
    own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=own_kinds[one.name]) for one in own]

    @functools.wraps(command)
    def called(**given: Any) -> None:
        options = Shared(**{name: given.pop(name) for name in shared})
        if options.threads:
            # Polars reads it once, when it is first imported.
            os.environ["POLARS_MAX_THREADS"] = str(options.threads)
        level = LogLevel.debug if options.debug else LogLevel.error if options.quiet else options.log_level
        with logging_to_stderr(options.log_format, level, options.progress):
            command(options, **given)

    called.__signature__ = inspect.Signature([*own, *shared.values()])  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in (*own, *shared.values())}
    return called


class Exclude(StrEnum):
    """Which pairs are not recommended again."""

    seen = "seen"
    liked = "liked"
    none = "none"
