"""Where the work is done: on this machine, or in Spark."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Protocol

import polars as pl

from recsys import store
from recsys.events import EventLog
from recsys.features import Snapshots, SnapshotSource
from recsys.model import Wanted, WillLikeModel, pairs_of
from recsys.pipeline._job import Job
from recsys.pipeline._outbox import Outbox
from recsys.schema import ITEM, LIKED, USER
from recsys.split import slide_to_end, split_by_time

if TYPE_CHECKING:
    from recsys.engines.spark import Everyone, Order, SparkLog, SparkSnapshots


@dataclass(frozen=True)
class Asked:
    """Whom to rank for, and out of what; None is everyone, or everything, that the model knows."""

    users: pl.DataFrame | None
    items: pl.DataFrame | None


class Place(Protocol):
    """Where a job's log lies."""

    def read(self) -> EventLog:
        """Read and validate the log, and give what of it heads learn from and are scored on."""
        ...

    def snapshots(self, log: EventLog, remember: bool = True) -> SnapshotSource:
        """Prepare to take snapshots of the log that was read, or of some of its columns.

        Unless they are to be remembered, their `log` has no more than a model that is fitted once reads.

        """
        ...

    def complete(self, model: WillLikeModel) -> WillLikeModel:
        """Let a model that was fitted on these snapshots know everyone."""
        ...

    def write_predictions(self, out: Outbox, model: WillLikeModel, version: str) -> None:
        """Rank for everyone, and write it."""
        ...

    def read_shown(self) -> EventLog:
        """Read and validate the log for what it showed whom."""
        ...

    def write_asked(self, out: Outbox, model: WillLikeModel, version: str, asked: Asked) -> None:
        """Rank for whom it is asked, by a published model, and write it."""
        ...


@contextmanager
def placed(job: Job) -> Iterator[Place]:
    """Choose where a job is done, by the engine that its settings name.

    Parameters
    ----------
    job : Job

    Yields
    ------
    Place

    Raises
    ------
    RecsysError
        One line of what Spark says where it gives up.

    """
    if job.settings.model.engine != "spark":
        yield Here(job)
        return
    from recsys.engines import spark

    place = InSpark(job)
    with spark.in_one_line():
        try:
            yield place
        finally:
            # Of a job that is stopped, Java may have got the signal too: what nobody answers must not hide it.
            stopped = isinstance(sys.exception(), SystemExit | KeyboardInterrupt)
            with suppress(Exception) if stopped else nullcontext():
                place.release()


@dataclass
class Here:
    """On this machine."""

    job: Job

    def read(self) -> EventLog:
        """Read the whole log."""
        return self.job.read()

    def snapshots(self, log: EventLog, remember: bool = True) -> Snapshots:
        """Take snapshots of everyone; for a single fit, let go of what it does not read."""
        taken = Snapshots(log, self.job.settings.model, self.job.threads, remember)
        if not remember:
            windows = self.job.settings.windows
            taken.let_go(until=slide_to_end(split_by_time(windows, log.as_of), windows.gap).start)
        return taken

    def complete(self, model: WillLikeModel) -> WillLikeModel:
        """Give the model: it knows everyone."""
        return model

    def write_predictions(self, out: Outbox, model: WillLikeModel, version: str) -> None:
        """Rank for some users after the others, and write while the rest is ranked."""
        self.write_asked(out, model, version, Asked(None, None))

    def read_shown(self) -> EventLog:
        """Read the whole log, and let go of what is not needed."""
        return self.job.read().only(USER, ITEM, LIKED)

    def write_asked(self, out: Outbox, model: WillLikeModel, version: str, asked: Asked) -> None:
        """Rank for some users after the others, and write while the rest is ranked."""
        users = None if asked.users is None else asked.users[USER]
        out.write_predictions(rank(self.job, model, out.log, users, asked.items), version)


@dataclass
class InSpark:
    """In Spark, where the log lies; a sample of its users comes here."""

    job: Job
    _log: SparkLog | None = field(default=None, init=False)
    _snapshots: SparkSnapshots | None = field(default=None, init=False)

    def read(self) -> EventLog:
        """Read the log in Spark, and bring a sample of the users."""
        from recsys.engines import spark

        log, settings = self._read(), self.job.settings
        with self.job.stage("sample"):
            windows = split_by_time(settings.windows, log.as_of)
            self._snapshots = spark.SparkSnapshots.of(log, settings.model, windows, self.job.threads)
        return self._snapshots.log

    def snapshots(self, log: EventLog, remember: bool = True) -> SparkSnapshots:
        """Take snapshots of the sample, from what is known of everyone."""
        assert self._snapshots is not None, "the log is read first"
        return self._snapshots

    def complete(self, model: WillLikeModel) -> WillLikeModel:
        """Collect what is known of everyone."""
        from recsys.engines import spark

        sample = model.snapshot
        with self.job.stage("collect"):
            whole = spark.collect_snapshot(self._everyone(model), sample)
        return WillLikeModel(whole, model.head, model.log, model.threads)

    def write_predictions(self, out: Outbox, model: WillLikeModel, version: str) -> None:
        """Let executors rank, and write parts into the output folder."""
        from recsys.engines import spark

        def write(writer: store.PartWriter, day: date) -> list[store.Part]:
            order = self._order(model, day, version)
            return [store.Part(**part) for part in spark.rank_everyone(self._everyone(model), order, writer)]

        out.write_parts(write, version)

    def read_shown(self) -> EventLog:
        """Read the log in Spark, and bring none of it."""
        self._log = self._read()
        return self._log.take_users(0.0, 0)

    def write_asked(self, out: Outbox, model: WillLikeModel, version: str, asked: Asked) -> None:
        """Let executors rank by the model of the driver, and write parts into the output folder."""
        from recsys.engines import spark

        assert self._log is not None, "the log is read first"
        log, users = self._log, None if asked.users is None else asked.users[USER]

        def write(writer: store.PartWriter, day: date) -> list[store.Part]:
            order = replace(self._order(model, day, version), items=asked.items)
            parts = spark.rank_from_model(model.snapshot, log, users, order, writer)
            return [store.Part(**part) for part in parts]

        out.write_parts(write, version)

    def _read(self) -> SparkLog:
        from recsys.engines import spark

        settings = self.job.settings
        return self.job.read_with(
            lambda: spark.read(settings.events, self.job.as_of, lambda: spark.open_session(settings.spark))
        )

    def _order(self, model: WillLikeModel, day: date, version: str) -> Order:
        from recsys.engines import spark

        return spark.Order(model.head, wanted_by(self.job), self.job.settings.output.exclude, day, version)

    def release(self) -> None:
        """Leave nothing in a session that may be others'."""
        if self._snapshots is not None:
            self._snapshots.release()
        if self._log is not None:
            self._log.rows.unpersist()

    def _everyone(self, model: WillLikeModel) -> Everyone:
        assert self._snapshots is not None, "the log is read first"
        return self._snapshots.everyone(model.snapshot.cut, model.snapshot.outcomes[1:])


def rank(
    job: Job,
    model: WillLikeModel,
    log: EventLog,
    users: pl.Series | None = None,
    items: pl.DataFrame | None = None,
) -> Iterator[pl.DataFrame]:
    """Rank on this machine, for some users after the others."""
    wanted, exclude = wanted_by(job), pairs_of(log.shown, job.settings.output.exclude)
    parts = model.recommend_in_parts(users, wanted, items=items, exclude=exclude)
    return (part[wanted.candidates[0]] for part in parts)


def wanted_by(job: Job) -> Wanted:
    """Say what the settings want ranked."""
    output = job.settings.output
    return Wanted(output.top_n, (job.settings.model.candidates,), output.max_per_creator)
