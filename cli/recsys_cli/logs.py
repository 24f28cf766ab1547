"""Logs and progress on stderr."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
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


_LONGEST = 1600
_form: ContextVar[LogFormat] = ContextVar("form", default=LogFormat.text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, message, and whatever the event carries."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as JSON."""
        told = {name: _finite(value) for name, value in vars(record).items() if name not in _STANDARD}
        time = datetime.fromtimestamp(record.created, UTC).isoformat()
        line = {
            "time": time,
            "level": record.levelname.lower(),
            "run_id": None,
            "message": record.getMessage(),
        }
        return json.dumps({**line, **told}, default=str)


class TextFormatter(logging.Formatter):
    """One line a message, whatever is in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as text."""
        return plain(record.getMessage())


def _finite(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def plain(text: str) -> str:
    r"""Write what a terminal or a reader of lines would obey, such as a newline or an escape, as an escape.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> print(plain("red \x1b[31m or\na line, été"))
    red \x1b[31m or\na line, été

    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


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


def begin() -> None:
    """Speak in text until a command says otherwise."""
    _form.set(LogFormat.text)


def say_failure(message: str, status: int, run_id: str | None = None) -> None:
    """Print the one line that says why a command failed, in the format of the log.

    Parameters
    ----------
    message : str
    status : int
    run_id : str, optional

    """
    said = " ".join(message.split())
    if len(said) > _LONGEST:
        said = f"{said[: _LONGEST // 2]} ... {said[-_LONGEST // 2 :]}"
    if _form.get() is LogFormat.json:
        told = {"event": "failed", "exit_status": status, "run_id": run_id}
        record = {"name": "recsys", "levelno": logging.ERROR, "levelname": "ERROR", "msg": said, **told}
        line = JsonFormatter().format(logging.makeLogRecord(record))
    else:
        line = "recsys: " + plain(said)
    with suppress(OSError):  # nobody listens, or the disk is full: the exit status still says it
        print(line, file=sys.stderr)


def _one_event_a_stage(record: logging.LogRecord) -> bool:
    return getattr(record, "event", None) != "stage_started"


@contextmanager
def logging_to_stderr(form: LogFormat, level: LogLevel, progress: bool) -> Iterator[None]:
    """Log to stderr while a command runs, what libraries warn of too; show progress on a terminal only.

    Parameters
    ----------
    form : LogFormat
    level : LogLevel
    progress : bool

    """
    logger = logging.getLogger("recsys")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form is LogFormat.json else TextFormatter())
    if form is LogFormat.json and level is not LogLevel.debug:
        handler.addFilter(_one_event_a_stage)
    _form.set(form)
    logger.setLevel(level.value.upper())
    logger.propagate = False
    logger.addHandler(handler)
    try:
        bar = progress and sys.stderr.isatty() and form is LogFormat.text and level is not LogLevel.error
        with _others(handler.formatter, level), _bar(logger) if bar else nullcontext():
            yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def _others(form: logging.Formatter | None, level: LogLevel) -> Iterator[None]:
    """Let what libraries log and warn of look as our own lines do."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(form)
    handler.setLevel(logging.ERROR if level is LogLevel.error else logging.WARNING)
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(handler)


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
