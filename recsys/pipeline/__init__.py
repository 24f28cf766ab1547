"""The straight line: read, evaluate, gate, fit, predict, publish.

.. code-block:: text

    _job        one run of a command: its settings, its log, its stages
    _check      read a log for its own sake
    _run        all of the line, or fitting or scoring alone
    _predict    a published model -> a day of predictions
    _explain    a published model -> why a probability is what it is
    _audit      the like button's audit, which a kill does not set back
    _tuned      tune, and leave settings that run
    _compare    what changed between two runs
    _doctor     what this machine has, and what a log will need
    _where      on this machine, or in Spark
    _start      where the factors that are published start
    _load       a published model, every byte checked
    _days       day by day, and days that are there already
    _outbox     what a run will publish, and its manifest
    _result     what it published
    _about      what a run says about itself
    _gates      bounds that a run must meet before anything is published
    _past       the runs that a new one is held against
    _textfile   figures for a monitor
    _toml       settings -> recsys.toml
"""

from recsys.pipeline._audit import audit
from recsys.pipeline._check import check
from recsys.pipeline._compare import Comparison, compare_runs
from recsys.pipeline._days import each_day
from recsys.pipeline._doctor import diagnose
from recsys.pipeline._explain import explain
from recsys.pipeline._job import Job
from recsys.pipeline._load import load_model
from recsys.pipeline._predict import predict
from recsys.pipeline._result import Result
from recsys.pipeline._run import evaluate, run, train
from recsys.pipeline._textfile import metered
from recsys.pipeline._tuned import Tuned, tune

__all__ = [
    "Comparison",
    "Job",
    "Result",
    "Tuned",
    "audit",
    "check",
    "compare_runs",
    "diagnose",
    "each_day",
    "evaluate",
    "explain",
    "load_model",
    "metered",
    "predict",
    "run",
    "train",
    "tune",
]
