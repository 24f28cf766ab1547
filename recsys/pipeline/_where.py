"""Where the work is done: on this machine, or in Spark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Protocol

from recsys import store
from recsys.events import EventLog
from recsys.features import Snapshots, SnapshotSource
from recsys.model import Wanted, WillLikeModel, pairs_of
from recsys.pipeline._job import Job
from recsys.pipeline._outbox import Outbox
from recsys.split import split_by_time

if TYPE_CHECKING:
    from recsys.engines.spark import Everyone, SparkSnapshots


class Place(Protocol):
    """Where a job's log lies."""

    def read(self) -> EventLog:
        """Read and validate the log, and give what of it heads learn from and are scored on."""
        ...

    def snapshots(self, log: EventLog, remember: bool = True) -> SnapshotSource:
        """Prepare to take snapshots of the log that was read, or of some of its columns."""
        ...

    def complete(self, model: WillLikeModel) -> WillLikeModel:
        """Let a model that was fitted on these snapshots know everyone."""
        ...

    def write_predictions(self, out: Outbox, model: WillLikeModel, version: str) -> None:
        """Rank for everyone, and write it."""
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
            place.release()


@dataclass
class Here:
    """On this machine."""

    job: Job

    def read(self) -> EventLog:
        """Read the whole log."""
        return self.job.read()

    def snapshots(self, log: EventLog, remember: bool = True) -> Snapshots:
        """Take snapshots of everyone."""
        return Snapshots(log, self.job.settings.model, self.job.threads, remember)

    def complete(self, model: WillLikeModel) -> WillLikeModel:
        """Give the model: it knows everyone."""
        return model

    def write_predictions(self, out: Outbox, model: WillLikeModel, version: str) -> None:
        """Rank for some users after the others, and write while the rest is ranked."""
        wanted, exclude = wanted_by(self.job), self.job.settings.output.exclude
        parts = model.recommend_in_parts(None, wanted, exclude=pairs_of(out.log.shown, exclude))
        out.write_predictions((part[wanted.candidates[0]] for part in parts), version)


@dataclass
class InSpark:
    """In Spark, where the log lies; a sample of its users comes here."""

    job: Job
    _snapshots: SparkSnapshots | None = field(default=None, init=False)

    def read(self) -> EventLog:
        """Read the log in Spark, and bring a sample of the users."""
        from recsys.engines import spark

        session, settings = spark.open_session(self.job.settings.spark), self.job.settings
        log = self.job.read_with(lambda: spark.read(settings.events, self.job.as_of, session))
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
            exclude = self.job.settings.output.exclude
            order = spark.Order(model.head, wanted_by(self.job), exclude, day, version)
            return [store.Part(**part) for part in spark.rank_everyone(self._everyone(model), order, writer)]

        out.write_parts(write, version)

    def release(self) -> None:
        """Leave nothing in a session that may be others'."""
        if self._snapshots is not None:
            self._snapshots.release()

    def _everyone(self, model: WillLikeModel) -> Everyone:
        assert self._snapshots is not None, "the log is read first"
        return self._snapshots.everyone(model.snapshot.cut, model.snapshot.outcomes[1:])


def wanted_by(job: Job) -> Wanted:
    """Say what the settings want ranked."""
    output = job.settings.output
    return Wanted(output.top_n, (job.settings.model.candidates,), output.max_per_creator)
