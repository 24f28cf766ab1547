"""What a run will publish, and what it says about itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from recsys import store
from recsys.audit import Audit
from recsys.errors import RecsysError
from recsys.evaluation import Evaluation
from recsys.events import EventLog, profile
from recsys.model import WillLikeModel
from recsys.pipeline._about import describe_run, prediction_date, settings_sha256, versions, without_paths
from recsys.pipeline._job import Job
from recsys.pipeline._result import Result
from recsys.report import render_audit, render_evaluation
from recsys.schema import LIKED, as_predictions
from recsys.split import slide_to_end, split_by_time

PREDICTIONS = "predictions"
_FORWARD = {"run": ("models/current", "evaluation"), "train": ("models/current",)}
_log = logging.getLogger("recsys")


@dataclass
class Outbox:
    """What a run will publish; nothing of it is seen before `publish`.

    Attributes
    ----------
    job : Job
    log : EventLog
    run : recsys.store.Run
    pointers : dict of str to str
        Links to flip, in order.
    windows : dict of str to dict
        What was fitted and scored on.
    gates : list of dict
        What was held against which bound.
    result : Result

    """

    job: Job
    log: EventLog
    run: store.Run
    result: Result
    pointers: dict[str, str] = field(default_factory=dict)
    windows: dict[str, Any] = field(default_factory=dict)
    gates: list[dict[str, Any]] = field(default_factory=list)

    def write_model(self, model: WillLikeModel) -> str:
        """Write a model version, to become the current one.

        Parameters
        ----------
        model : WillLikeModel

        Returns
        -------
        str
            Its version.

        """
        version = self.run.write_model(model.to_files())
        self.pointers |= {f"models/{version}": "model", "models/current": "model"}
        windows = self.job.settings.windows
        self.windows["fit"] = slide_to_end(split_by_time(windows, self.log.as_of), windows.gap).as_dict()
        self.result = replace(self.result, model_version=version)
        return version

    def write_predictions(self, found: Iterator[pl.DataFrame], version: str) -> None:
        """Write a day of predictions: what is there is written while the rest is scored.

        Parameters
        ----------
        found : iterator of polars.DataFrame
            As `WillLikeModel.recommend` gives it, some users after the other; at least one.
        version : str
            Of the model that made them.

        """
        day = prediction_date(self.log.as_of)
        rows = 0

        def checked() -> Iterator[pl.DataFrame]:
            nonlocal rows
            for part in found:
                rows += len(part)
                yield as_predictions(part, day, version)

        self.run.write_table(PREDICTIONS, store.lazily(checked()))
        self._point_to_predictions(version, rows)

    def write_parts(self, write: Callable[[store.PartWriter, date], list[store.Part]], version: str) -> None:
        """Let others write a day of predictions, each some of the users.

        Parameters
        ----------
        write : callable
            Gets what writes a part, wherever it is called, and the day; gives the parts to keep.
        version : str
            Of the model that made them.

        """
        folder = self.run.open_parts(PREDICTIONS)
        parts = write(store.PartWriter(str(folder)), prediction_date(self.log.as_of))
        self.run.keep_parts(PREDICTIONS, parts)
        self._point_to_predictions(version, sum(part.rows for part in parts))

    def _point_to_predictions(self, version: str, rows: int) -> None:
        day = prediction_date(self.log.as_of)
        self.pointers[f"{PREDICTIONS}/as_of={day.isoformat()}"] = PREDICTIONS
        self.result = replace(self.result, model_version=version, predictions=rows)

    def write_evaluation(self, evaluation: Evaluation) -> None:
        """Write the figures, the report and the losses.

        Parameters
        ----------
        evaluation : Evaluation

        """
        settings, log = self.job.settings, self.log
        about = describe_run(settings, log)
        report = render_evaluation(evaluation, about, profile(log), without_paths(settings))
        self.run.write_json("evaluation/evaluation.json", evaluation.as_dict())
        self.run.write_bytes("evaluation/evaluation.html", report.encode())
        self.run.write_named_table("evaluation/losses.parquet", evaluation.losses)
        self.pointers["evaluation"] = "evaluation"
        self.result = replace(self.result, evaluation=evaluation)

    def write_audit(self, found: Audit) -> None:
        """Write the verdict, the report and the losses.

        Parameters
        ----------
        found : Audit

        """
        about = describe_run(self.job.settings, self.log)
        report = render_audit(found, about, without_paths(self.job.settings))
        self.run.write_json("audit/audit.json", found.as_dict())
        self.run.write_bytes("audit/audit.html", report.encode())
        self.run.write_named_table("audit/losses.parquet", found.losses)
        self.pointers["audit"] = "audit"
        self.result = replace(self.result, audit=found)

    def reject(self, evaluation: Evaluation | None) -> Path:
        """Leave what a gate stopped in OUT/rejected, where nobody reads it by mistake.

        Parameters
        ----------
        evaluation : Evaluation or None

        Returns
        -------
        pathlib.Path
            The folder: `gates.json`, `refused.parquet`, and the evaluation's files.

        """
        if evaluation is not None:
            self.write_evaluation(evaluation)
        about = {"as_of": self.log.as_of.isoformat(), "started": self.job.started.isoformat()}
        self.run.write_json("evaluation/gates.json", {**about, "gates": self.gates})
        self.run.write_named_table("evaluation/refused.parquet", self.log.refused)
        return self.run.set_aside("evaluation")

    def publish(self) -> Result:
        """Commit the run and flip its links.

        Returns
        -------
        Result

        """
        with self.job.stage("publish"):
            self.run.write_named_table("refused.parquet", self.log.refused)
            self._leave_what_is_newer()
            done = self.result
            if not self.run.publish(self.pointers, _manifest(self)):
                _log.info(
                    "the same bytes are published already: nothing changed", extra={"event": "unchanged"}
                )
                done = replace(done, run_id=self._published_run(), outcome="unchanged")
        return replace(done, counts=self.log.counts, stages=tuple(self.job.stages))

    def _leave_what_is_newer(self) -> None:
        """Keep the pointers of what serves from going back in time: a backfill, or a clock gone wrong, moves none."""
        for link in _FORWARD.get(self.job.command, ()):
            there = store.describe_link(self.run.out, link)
            if there and str(there.get("as_of") or "") > self.log.as_of.isoformat():
                _log.warning(
                    "%s stays at run %s, as of %s, which is later",
                    *(link, there.get("run_id"), there.get("as_of")),
                    extra={"event": "pointer_kept", "link": link},
                )
                self.pointers.pop(link, None)

    def _published_run(self) -> str:
        found = (store.describe_link(self.run.out, link) for link in self.pointers)
        return next(str(one["run_id"]) for one in found if one)


@contextmanager
def opened(job: Job) -> Iterator[store.Run]:
    """Take the output folder's lock and begin a run.

    Parameters
    ----------
    job : Job

    Yields
    ------
    recsys.store.Run

    """
    output = job.settings.output
    with store.open_run(output.path, output.keep, output.keep_days, job.wait) as run, _stamped(run.run_id):
        yield run


@contextmanager
def _stamped(run_id: str) -> Iterator[None]:
    """Put the run on every line of the log, and on the error that ends it."""

    def stamp(record: logging.LogRecord) -> bool:
        record.run_id = run_id
        return True

    _log.addFilter(stamp)
    try:
        yield
    except RecsysError as error:
        error.run_id = run_id
        raise
    finally:
        _log.removeFilter(stamp)


def fill(job: Job, run: store.Run, log: EventLog) -> Outbox:
    """Begin what a run will publish."""
    return Outbox(job, log, run, Result(run.out, run.run_id, log.as_of))


def _manifest(out: Outbox) -> dict[str, Any]:
    job, log, result = out.job, out.log, out.result
    scored = result.evaluation or result.audit
    figures = scored.as_dict() if scored else {}
    return {
        "command": job.command,
        "as_of": log.as_of.isoformat(),
        "started": job.started.isoformat(),
        "committed": datetime.now(UTC).isoformat(),
        "model_version": result.model_version,
        "inputs": job.inputs,
        "rows": {**asdict(log.counts), "predicted": result.predictions, **_scored_rows(result)},
        "windows": {**(figures.get("windows") or {}), **out.windows},
        "metrics": figures.get("metrics"),
        "verdict": figures.get("verdict"),
        "gates": out.gates,
        "settings": without_paths(job.settings),
        "settings_sha256": settings_sha256(job.settings),
        "versions": versions(job.settings),
        "stages": job.stages,
    }


def _scored_rows(result: Result) -> dict[str, int | None]:
    scored = result.evaluation or result.audit
    if scored is None:
        return {"scored": None, "scored_likes": None}
    return {"scored": len(scored.losses), "scored_likes": int(scored.losses[LIKED].sum())}
