"""Audit the like button, and keep finished arms until the verdict is published."""

from __future__ import annotations

import hashlib
import json

from recsys import store
from recsys.audit import audit as audit_log
from recsys.pipeline._about import versions, without_paths
from recsys.pipeline._job import Job
from recsys.pipeline._outbox import fill, opened
from recsys.pipeline._result import Result

_SHELVES = "auditing"


def audit(job: Job, resume: bool = False) -> Result:
    """Say whether past likes add anything to prediction that behaviour does not already tell.

    Parameters
    ----------
    job : Job
    resume : bool, optional
        Go on with the finished arms of a killed audit of the same log and settings.

    Returns
    -------
    Result

    Raises
    ------
    GateError
        When a control sounds an alarm: nothing is published.

    """
    with opened(job) as run:
        out = fill(job, run, job.read())
        shelf = store.FileShelf(out.run.out / _SHELVES / _fingerprint(job))
        if not resume:
            shelf.clear()
        with job.stage("audit"):
            found = audit_log(out.log, job.settings, threads=job.threads, shelf=shelf)
        out.write_audit(found)
        done = out.publish()
        shelf.clear()
    return done


def _fingerprint(job: Job) -> str:
    """Hash everything that an arm's forecast depends on."""
    about = {
        "settings": without_paths(job.settings),
        "as_of": None if job.as_of is None else job.as_of.isoformat(),
        "inputs": [one["sha256"] for one in job.inputs],
        "versions": versions(job.settings),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
