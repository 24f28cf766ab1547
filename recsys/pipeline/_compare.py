"""What changed between two runs: settings, versions, rows, metrics, forecasts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recsys import store
from recsys.inference import Estimate, paired_metrics
from recsys.matrix import distinct_codes
from recsys.metrics import population_stability
from recsys.schema import ITEM, LIKED, TIME, USER

Changes = dict[str, tuple[Any, Any]]

_ABOUT = ("run_id", "command", "as_of", "model_version")
_PAIR = (USER, ITEM, TIME, LIKED)
_DRAWS = 1000


@dataclass(frozen=True)
class Paired:
    """Figures of two runs on the rows that both scored.

    Attributes
    ----------
    rows : int
        Exposures that both scored, with the same label.
    rows_before, rows_after : int
        What each scored in all.
    differences : dict of str to Estimate
        Figure of the second run less that of the first, drawn together: see `recsys.inference.paired_metrics`.

    """

    rows: int
    rows_before: int
    rows_after: int
    differences: dict[str, Estimate]


@dataclass(frozen=True)
class Drift:
    """How far a run's probabilities moved.

    Attributes
    ----------
    stability : float
        See `recsys.metrics.population_stability`: 0 is no shift, above 0.25 is commonly called large.
    mean_before, mean_after : float

    """

    stability: float
    mean_before: float
    mean_after: float


@dataclass(frozen=True)
class Comparison:
    """What changed from one run to another.

    Attributes
    ----------
    before, after : dict
        `run_id`, `command`, `as_of`, `model_version` of each.
    settings, versions, inputs : dict of str to (before, after)
        Only what differs; None where a run has none.
    rows : dict of str to (before, after)
    metrics : dict of str to (before, after)
        Each run's own figures, on its own test window, with their intervals.
    paired : Paired or None
        None when a run has no evaluation, or they share no row.
    drift : dict of str to Drift
        `served`, of the predictions; `scored`, of the test exposures; what both runs have.

    """

    before: dict[str, Any]
    after: dict[str, Any]
    settings: Changes
    versions: Changes
    inputs: Changes
    rows: Changes
    metrics: Changes
    paired: Paired | None
    drift: dict[str, Drift]

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON can hold it."""
        changes = ("settings", "versions", "inputs", "rows", "metrics")
        told = {
            name: {key: {"before": old, "after": new} for key, (old, new) in getattr(self, name).items()}
            for name in changes
        }
        paired = self.paired and {
            **vars(self.paired),
            "differences": {name: one.as_dict() for name, one in self.paired.differences.items()},
        }
        drift = {name: dict(vars(one)) for name, one in self.drift.items()}
        return {"before": self.before, "after": self.after, **told, "paired": paired, "drift": drift}


def compare_runs(out: str | os.PathLike[str], before: str, after: str) -> Comparison:
    """Say what changed between two committed runs.

    Parameters
    ----------
    out : path-like
        The output folder.
    before, after : str
        Run ids, see `recsys runs list`.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        When there is no such run, or a table of it is damaged.

    """
    folders = store.find_run(out, before), store.find_run(out, after)
    old, new = (store.read_manifest(folder) for folder in folders)
    losses = _tables(folders, "evaluation")
    drifts = {"served": _drift(_tables(folders, "predictions")), "scored": _drift(losses)}
    return Comparison(
        before={name: old.get(name) for name in _ABOUT},
        after={name: new.get(name) for name in _ABOUT},
        settings=_changes(_flat(old.get("settings")), _flat(new.get("settings"))),
        versions=_changes(_flat(old.get("versions")), _flat(new.get("versions"))),
        inputs=_changes(_inputs(old), _inputs(new)),
        rows=_both(_flat(old.get("rows")), _flat(new.get("rows"))),
        metrics=_both(_estimates(old), _estimates(new)),
        paired=None if losses is None else _pair(*losses),
        drift={name: drift for name, drift in drifts.items() if drift},
    )


def _tables(folders: tuple[Path, Path], name: str) -> tuple[pl.DataFrame, pl.DataFrame] | None:
    old, new = (store.read_run_table(folder, name) for folder in folders)
    return None if old is None or new is None else (old, new)


def _flat(value: Any, above: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        return {} if value is None and not above else {above.rstrip("."): value}
    return {key: one for name, part in value.items() for key, one in _flat(part, f"{above}{name}.").items()}


def _inputs(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {str(one.get("path")): one.get("sha256") for one in manifest.get("inputs") or ()}


def _estimates(manifest: Mapping[str, Any]) -> dict[str, Any]:
    metrics = manifest.get("metrics") or {}
    return {name: one for name, one in metrics.items() if isinstance(one, Mapping) and "value" in one}


def _both(old: dict[str, Any], new: dict[str, Any]) -> Changes:
    return {name: (old.get(name), new.get(name)) for name in {**old, **new}}


def _changes(old: dict[str, Any], new: dict[str, Any]) -> Changes:
    return {name: pair for name, pair in _both(old, new).items() if pair[0] != pair[1]}


def _pair(old: pl.DataFrame, new: pl.DataFrame) -> Paired | None:
    if any(old.schema[name] != new.schema[name] for name in _PAIR):
        return None  # ids of another type are other ids
    shared = new.join(old, on=list(_PAIR), suffix="_before").sort(_PAIR)
    if shared.is_empty():
        return None
    differences = paired_metrics(
        distinct_codes(shared[USER]),
        shared[LIKED].to_numpy(),
        shared["will_like"].to_numpy(),
        shared["will_like_before"].to_numpy(),
        draws=_DRAWS,
        seed=0,
    )
    return Paired(len(shared), len(old), len(new), differences)


def _drift(tables: tuple[pl.DataFrame, pl.DataFrame] | None) -> Drift | None:
    if tables is None:
        return None
    old, new = (table["will_like"].drop_nulls().cast(pl.Float64).sort().to_numpy() for table in tables)
    if not old.size or not new.size:
        return None
    return Drift(population_stability(old, new), float(old.mean()), float(new.mean()))
