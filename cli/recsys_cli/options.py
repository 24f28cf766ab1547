"""The options that commands share -> settings, and a Job."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from recsys_cli.days import parse_as_of, parse_days
from recsys_cli.logs import LogFormat, LogLevel, logging_to_stderr

if TYPE_CHECKING:
    from recsys.config import Settings
    from recsys.pipeline import Job, Result

# Beyond any machine, and where a slip of the finger would take one down.
_MOST_THREADS = 1024


def _option(
    name: str,
    *short: str,
    help: str,
    min: float | None = None,
    max: float | None = None,
    metavar: str | None = None,
) -> Any:
    envvar = f"RECSYS_{name.replace('-', '_').upper()}"
    # A file or a folder that may not be read is no usage error: who opens it says which it is, and the way out.
    return typer.Option(
        f"--{name}", *short, help=help, envvar=envvar, min=min, max=max, metavar=metavar, readable=False
    )


@dataclass(frozen=True, kw_only=True)
class Said:
    """What every command can be told: how to speak."""

    log_format: Annotated[LogFormat, _option("log-format", help="Logs on stderr.")] = LogFormat.text
    log_level: Annotated[LogLevel, _option("log-level", help="Least severe to log.")] = LogLevel.info
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log errors only.")] = False
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="A bar, on a terminal only.")] = (
        True
    )
    debug: Annotated[bool, typer.Option("--debug", help="Log everything, with tracebacks.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print results for machines.")] = False

    @property
    def level(self) -> LogLevel:
        """The least severe line to log."""
        return LogLevel.debug if self.debug else LogLevel.error if self.quiet else self.log_level


@dataclass(frozen=True, kw_only=True)
class Repeatable(Said):
    """What a command that computes can be told: on how many threads, and from which seed."""

    seed: Annotated[int | None, _option("seed", help="Same seed, same bytes.")] = None
    threads: Annotated[
        int,
        _option("threads", "-j", min=0, max=_MOST_THREADS, help="0 is one a core. No result depends on it."),
    ] = 0


@dataclass(frozen=True, kw_only=True)
class Stored(Said):
    """What a command that looks at an output folder can be told."""

    config: Annotated[Path | None, _option("config", "-c", help="recsys.toml, or the folder it is in.")] = (
        None
    )
    output: Annotated[Path | None, _option("output", "-o", help="The output folder.")] = None

    def settings(self, **overrides: Any) -> Settings:
        """Read recsys.toml, the environment and the options.

        Parameters
        ----------
        **overrides
            More of what the command line says, by section.

        Returns
        -------
        recsys.config.Settings

        """
        from recsys.config import CONFIG_NAME, load_settings

        here = Path(CONFIG_NAME)
        path = self.config if self.config is not None else here if here.exists() else None
        output = {"path": _text(self.output), **overrides.pop("output", {})}
        return load_settings(path, {**overrides, "output": output})


@dataclass(frozen=True, kw_only=True)
class Waiting(Stored):
    """What a command that changes an output folder can be told."""

    wait: Annotated[
        float, _option("wait", min=0, help="Seconds to wait for another run to end; then exit 75.")
    ] = 0.0


@dataclass(frozen=True, kw_only=True)
class Shared(Stored, Repeatable):
    """What a command that reads a log can be told."""

    events: Annotated[
        str | None,
        _option("events", metavar="<path>", help="The log: a file, a folder or a glob; in Spark, or a URL."),
    ] = None
    as_of: Annotated[
        str | None,
        _option("as-of", help="Read only what lies before the end of this day, UTC; or yesterday."),
    ] = None

    def job(self, command: str, audit: Mapping[str, Any] = MappingProxyType({}), **output: Any) -> Job:
        """Turn the options into a Job.

        Parameters
        ----------
        command : str
        audit : mapping of str to value, optional
            Overrides of the `[audit]` section.
        **output
            Overrides of the `[output]` section.

        Returns
        -------
        recsys.pipeline.Job

        """
        return self._job(command, parse_as_of(self.as_of), audit, output)

    def _job(
        self, command: str, as_of: datetime | None, audit: Mapping[str, Any], output: Mapping[str, Any]
    ) -> Job:
        from recsys.pipeline import Job

        settings = self.settings(
            events={"path": _place(self.events)}, model={"seed": self.seed}, audit=audit, output=output
        )
        return Job(command, settings, as_of, self.threads)


@dataclass(frozen=True, kw_only=True)
class Publishing(Shared, Waiting):
    """What a command that publishes can be told."""

    def _job(
        self, command: str, as_of: datetime | None, audit: Mapping[str, Any], output: Mapping[str, Any]
    ) -> Job:
        return replace(super()._job(command, as_of, audit, output), wait=self.wait)


@dataclass(frozen=True, kw_only=True)
class Metered(Publishing):
    """What a command that publishes a run can be told."""

    metrics_file: Annotated[
        Path | None, _option("metrics-file", help="Figures for Prometheus, one file a command.")
    ] = None

    def metered(self, command: str) -> AbstractContextManager[Callable[[Result], Result]]:
        """Write the metrics file, if one was asked for, when the work ends or fails.

        Parameters
        ----------
        command : str

        Returns
        -------
        context manager of callable
            Takes each result, and gives it back.

        """
        from recsys.pipeline import metered

        return metered(self.metrics_file, command)


@dataclass(frozen=True, kw_only=True)
class Daily(Metered):
    """What a command that publishes a day can be told."""

    as_of: Annotated[
        str | None,
        _option(
            "as-of",
            help="Read only what lies before the end of this day, UTC; or yesterday; or days, FIRST..LAST.",
        ),
    ] = None
    if_missing: Annotated[
        bool, typer.Option("--if-missing", help="Do nothing for a day that is published already.")
    ] = False

    def jobs(self, command: str, **output: Any) -> list[Job]:
        """Turn the options into a Job a day, oldest first.

        Parameters
        ----------
        command : str
        **output
            Overrides of the `[output]` section.

        Returns
        -------
        list of recsys.pipeline.Job

        """
        jobs = [self._job(command, as_of, {}, output) for as_of in parse_days(self.as_of)]
        return [replace(job, if_missing=self.if_missing) for job in jobs]


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _place(events: str | None) -> str | None:
    # As a path, s3://bucket would lose a slash.
    return events if events is None or "://" in events else str(Path(events))


def with_options(
    command: Callable[..., None], more: Mapping[str, Any] = MappingProxyType({})
) -> Callable[..., None]:
    """Give a command the options that it shares with others: they arrive as its first argument.

    Parameters
    ----------
    command : callable
        Takes a `Said`, `Stored` or `Shared`, then options of its own.
    more : mapping of str to Annotated type, optional
        Options that default to None, for a command that takes ``**keywords``.

    Returns
    -------
    callable
        What Typer registers.

    """
    annotations = get_type_hints(command, include_extras=True)
    first, *own = inspect.signature(command).parameters.values()
    told: type[Said] = annotations[first.name]
    shared_annotations = get_type_hints(told, include_extras=True)
    shared = [_keyword(one.name, one.default, shared_annotations) for one in fields(told)]
    named = [one for one in own if one.kind is not inspect.Parameter.VAR_KEYWORD]
    added = [_keyword(name, None, more) for name in more]
    parameters = [*(_keyword(one.name, one.default, annotations) for one in named), *added, *shared]

    @functools.wraps(command)
    def called(**given: Any) -> None:
        options = told(**{one.name: given.pop(one.name) for one in shared})
        # OpenMP reads it when LightGBM or implicit load it: threads that spin while they wait take a busy machine's
        # time from those they wait for.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # The allocator of polars gives back at once what it has no use for: 300 MiB of 10 million rows, for a tenth
        # more of the time that reading them takes.
        os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")
        if threads := getattr(options, "threads", 0):
            # Polars reads it once, when it is first imported.
            os.environ["POLARS_MAX_THREADS"] = str(threads)
        with logging_to_stderr(options.log_format, options.level, options.progress):
            command(options, **given)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in parameters}
    return called


def _keyword(name: str, default: Any, annotations: Mapping[str, Any]) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotations[name])
