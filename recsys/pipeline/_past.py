"""The runs that a new one is held against."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from recsys import store
from recsys.errors import RecsysError
from recsys.pipeline._outbox import Outbox

_log = logging.getLogger("recsys")


@dataclass(frozen=True)
class Past:
    """The runs that a new one is held against.

    Attributes
    ----------
    runs : tuple of dict
        Manifests of the newest runs as of an earlier time, oldest first.
    scored : tuple of dict
        Those of them whose windows were set alike.
    probabilities : polars.Series or None
        `will_like` of the test exposures of the last of `scored`.

    """

    runs: tuple[dict[str, Any], ...] = ()
    scored: tuple[dict[str, Any], ...] = ()
    probabilities: pl.Series | None = None


def find_past(out: Outbox) -> Past:
    """Find the runs that a new one is held against.

    Parameters
    ----------
    out : Outbox

    Returns
    -------
    Past

    """
    settings = out.job.settings
    # Strictly before: the same day again is held against the same past.
    found = store.recent_runs(out.run.out, "run", out.log.as_of, settings.gates.recent)
    windows = settings.windows.model_dump(mode="json")
    alike = [(run, about) for run, about in found if _windows_of(about) == windows]
    scores = None
    if settings.gates.max_population_drift is not None and alike:
        scores = _read_probabilities(out, alike[-1][1])
    return Past(tuple(about for _, about in found), tuple(about for _, about in alike), scores)


def _windows_of(manifest: Mapping[str, Any]) -> Any:
    settings = manifest.get("settings")
    return settings.get("windows") if isinstance(settings, Mapping) else None


def _read_probabilities(out: Outbox, manifest: Mapping[str, Any]) -> pl.Series | None:
    try:
        run = store.find_run(out.run.out, str(manifest["run_id"]))
        losses = store.read_run_table(run, "evaluation")
    except RecsysError as error:
        _log.warning("the last evaluation is passed over: %s", error, extra={"event": "past_damaged"})
        return None
    return None if losses is None else losses["will_like"]


def row_counts(runs: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """Give a count of rows of each run that has it."""
    rows = [run.get("rows") for run in runs]
    found = [row.get(name) for row in rows if isinstance(row, Mapping)]
    return [float(figure) for figure in found if isinstance(figure, int | float)]
