"""What a command published."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from recsys.audit import Audit
from recsys.evaluation import Evaluation
from recsys.events import ReadCounts


@dataclass(frozen=True)
class Result:
    """What a command published.

    Attributes
    ----------
    out : pathlib.Path
        The output folder.
    run_id : str
    as_of : datetime.datetime
    model_version : str or None
    evaluation : Evaluation or None
    audit : Audit or None
    predictions : int or None
        Rows.
    counts : ReadCounts or None
        What became of the rows of the log; None for a day that was present.
    stages : tuple of dict
        See `Job`; empty for a day that was present.
    outcome : str
        `published`; `unchanged`, when the same bytes were there already; `present`, when the day was there
        and was not asked for again.

    """

    out: Path
    run_id: str
    as_of: datetime
    model_version: str | None = None
    evaluation: Evaluation | None = None
    audit: Audit | None = None
    predictions: int | None = None
    counts: ReadCounts | None = None
    stages: tuple[dict[str, Any], ...] = ()
    outcome: Literal["published", "unchanged", "present"] = "published"
