"""Logs and progress on stderr."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LogFormat(StrEnum):
    """How a line of the log looks."""

    text = "text"
    json = "json"


class LogLevel(StrEnum):
    """The least severe line to show."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, message, and whatever the event carries."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as JSON."""
        told = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        time = datetime.fromtimestamp(record.created, UTC).isoformat()
        line = {"time": time, "level": record.levelname.lower(), "message": record.getMessage(), **told}
        return json.dumps(line, default=str)


class ProgressHandler(logging.Handler):
    """A spinner that says which stage is running."""

    def __init__(self, progress: Any) -> None:
        super().__init__()
        self._progress = progress
        self._task: Any = None

    def emit(self, record: logging.LogRecord) -> None:
        """Follow stages as they start and finish."""
        event = getattr(record, "event", None)
        if event == "stage_started":
            self._task = self._progress.add_task(str(getattr(record, "stage", "")), total=None)
        elif event == "stage_finished" and self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


@contextmanager
def logging_to_stderr(form: LogFormat, level: LogLevel, progress: bool) -> Iterator[None]:
    """Log to stderr while a command runs; show progress on a terminal only.

    Parameters
    ----------
    form : LogFormat
    level : LogLevel
    progress : bool

    """
    logger = logging.getLogger("recsys")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form is LogFormat.json else logging.Formatter("%(message)s"))
    logger.setLevel(level.value.upper())
    logger.propagate = False
    logger.addHandler(handler)
    try:
        if progress and sys.stderr.isatty() and form is LogFormat.text and level is not LogLevel.error:
            with _bar(logger):
                yield
        else:
            yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def _bar(logger: logging.Logger) -> Iterator[None]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        handler = ProgressHandler(progress)
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
