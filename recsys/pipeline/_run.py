"""Read, evaluate, gate, fit, predict, publish: all of it, or a part."""

from __future__ import annotations

from recsys.evaluation import Evaluation, evaluate_model, evaluate_procedure
from recsys.features import SnapshotSource
from recsys.model import WillLikeModel, fit_model
from recsys.pipeline._days import check_day, present
from recsys.pipeline._gates import gated
from recsys.pipeline._job import Job
from recsys.pipeline._load import load_named, name_version
from recsys.pipeline._outbox import fill, opened
from recsys.pipeline._result import Result
from recsys.pipeline._start import find_start
from recsys.pipeline._where import placed
from recsys.schema import FITTED_ON
from recsys.split import slide_to_end, split_by_time


def train(job: Job) -> Result:
    """Fit and publish one model version.

    Parameters
    ----------
    job : Job

    Returns
    -------
    Result

    """
    with opened(job) as run, placed(job) as place:
        log = place.read()
        # What is not read any more is let go of: columns, the log, and its numbers before the model becomes bytes.
        log = log.only(*FITTED_ON, *log.signals)
        snapshots = place.snapshots(log, remember=False)
        del log
        out = fill(job, run, snapshots.log)
        model = _fit(job, snapshots)
        del snapshots
        out.write_model(place.complete(model))
        return out.publish()


def evaluate(job: Job, version: str | None = None) -> Result:
    """Score the procedure, or a published version on what came after it.

    Parameters
    ----------
    job : Job
    version : str, optional
        A model version of the output folder, or `current`.

    Returns
    -------
    Result

    """
    with opened(job) as run, placed(job) as place:
        model = load_named(job, name_version(job, version)) if version else None
        out = fill(job, run, place.read())
        if model is None:
            evaluation = _evaluate(job, place.snapshots(out.log))
        else:
            with job.stage("evaluate"):
                evaluation = evaluate_model(model, out.log, job.settings)
        out.write_evaluation(evaluation)
        return out.publish()


def run(job: Job) -> Result:
    """Do it all: the cron job.

    Parameters
    ----------
    job : Job

    Returns
    -------
    Result

    Raises
    ------
    GateError
        When the log or the evaluation misses a bound: nothing is published, see `OUT/rejected`.

    """
    with opened(job) as run, placed(job) as place:
        if there := present(job, job.as_of):
            return there
        out = fill(job, run, place.read())
        if there := check_day(job, out.log):
            return there
        snapshots = place.snapshots(out.log)
        evaluation = gated(out, lambda: _evaluate(job, snapshots))
        model = place.complete(_fit(job, snapshots))
        version = out.write_model(model)
        with job.stage("predict"):
            place.write_predictions(out, model, version)
        out.write_evaluation(evaluation)
        return out.publish()


def _evaluate(job: Job, snapshots: SnapshotSource) -> Evaluation:
    with job.stage("evaluate"):
        windows = split_by_time(job.settings.windows, snapshots.log.as_of)
        return evaluate_procedure(snapshots, windows, job.settings)


def _fit(job: Job, snapshots: SnapshotSource) -> WillLikeModel:
    with job.stage("train"):
        windows = split_by_time(job.settings.windows, snapshots.log.as_of)
        window = slide_to_end(windows, job.settings.windows.gap)
        return fit_model(snapshots, window, window.end, start=find_start(job, window.end))
