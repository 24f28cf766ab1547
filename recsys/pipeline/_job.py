"""One run of a command: its settings, its log, its stages."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from recsys import events, store
from recsys.config import Settings
from recsys.events import EventLog, ReadCounts

_log = logging.getLogger("recsys")


class _Read(Protocol):
    """What reading gives, wherever the rows lie."""

    @property
    def counts(self) -> ReadCounts: ...

    @property
    def files(self) -> tuple[str, ...]: ...


Log = TypeVar("Log", bound=_Read)


@dataclass
class Job:
    """One run of a command.

    Attributes
    ----------
    command : str
    settings : Settings
    as_of : datetime.datetime or None
        Nothing at or after it is read. None: the end of the log.
    threads : int
        0 means one a core. No result depends on it.
    wait : float
        Seconds to wait for another run of the output folder to end.
    if_missing : bool
        Do nothing where the day of predictions is there already.
    stages : list of dict
        `stage`, `seconds` and `peak_mebibytes` of those that ended, in order.
    inputs : list of dict
        `path`, `bytes`, `mtime` and `sha256` of the files that were read; `path`, `model_version`, `as_of` and
        `warm_runs` of the model that factors start from, if any.
    started : datetime.datetime

    """

    command: str
    settings: Settings
    as_of: datetime | None = None
    threads: int = 0
    wait: float = 0.0
    if_missing: bool = False
    stages: list[dict[str, Any]] = field(default_factory=list)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, and log that it began and ended.

        Parameters
        ----------
        name : str

        """
        _log.info("%s ...", name, extra={"event": "stage_started", "stage": name})
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        done = {"stage": name, "seconds": round(seconds, 3), "peak_mebibytes": round(peak, 1)}
        self.stages.append(done)
        _log.info("%s: %.1f s, peak %.0f MiB", name, seconds, peak, extra={"event": "stage_finished", **done})

    def read(self) -> EventLog:
        """Read and validate the log that the settings describe.

        Returns
        -------
        EventLog

        """
        return self.read_with(lambda: events.read(self.settings.events, self.as_of))

    def read_with(self, read: Callable[[], Log]) -> Log:
        """Let a log be read, and say what was.

        Parameters
        ----------
        read : callable
            Gives a log with `counts` and `files`.

        Returns
        -------
        that log

        """
        with self.stage("read"):
            log = read()
            self.inputs = [_describe_input(str(file)) for file in log.files]
        for name in ("refused", "duplicates", "unsettled", "folded", "likes_without_view"):
            if rows := getattr(log.counts, name):
                _log.info("%s: %s rows", name, f"{rows:,}", extra={"event": name, "rows": rows})
        return log


def _describe_input(file: str) -> dict[str, Any]:
    if "://" in file or file.startswith("file:/"):  # Spark alone can look at it
        return {"path": file}
    path = Path(file)
    with events.undisturbed([path]):
        about = path.stat()
        described = {"path": str(path), "bytes": about.st_size, "mtime": about.st_mtime}
        return {**described, "sha256": store.sha256_of(path)}
