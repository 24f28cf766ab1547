"""Settings of the model, chosen on the calibration window."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
from scipy.special import ndtri

from recsys.config import ModelSettings, Settings
from recsys.errors import UsageError
from recsys.events import EventLog, read
from recsys.inference import Estimate, paired_difference
from recsys.matrix import distinct_codes
from recsys.metrics import binary_entropy
from recsys.schema import LIKED, USER, Frame
from recsys.split import Window, log_before, split_by_time
from recsys.tuning._folds import PIECES, Fold, rolling_folds
from recsys.tuning._journal import Journal
from recsys.tuning._objective import Objective
from recsys.tuning._space import Dimension, default_space, searched
from recsys.tuning._study import ERROR, FOLDS, Search, best_of, import_optuna, silenced

_TAIL = 0.025
_COMPUTES_WITH = ("recsys", "implicit", "numpy", "optuna", "polars", "scipy")


@dataclass(frozen=True)
class Tuning:
    """What tuning tried and what came out.

    Attributes
    ----------
    base, best : ModelSettings
        The settings it began with, and the best on the same folds: never worse than the base.
    best_trial : int
        0 is the base.
    trials : polars.DataFrame
        One row a trial, in order: `trial`, `state` (complete or pruned), each searched setting,
        `normalized_entropy` and its user-clustered `standard_error` (null when pruned), `fold_1`, ...:
        that of each scored third of the window alone, null where it was not computed.
    gain : Estimate
        How much higher the base's normalised entropy is than the best's: paired on the same rows,
        user-clustered, its interval widened for the choice among so many trials (Bonferroni). 0 without
        interval where the base is the best.
    window : Window
        The calibrate window: what was scored lies in it.
    rows, likes : int
        Scored exposures, and the likes among them.
    study : str
        Hash of all that a trial depends on; a study is resumed under the same one.

    """

    base: ModelSettings
    best: ModelSettings
    best_trial: int
    trials: pl.DataFrame
    gain: Estimate
    window: Window
    rows: int
    likes: int
    study: str

    @property
    def verdict(self) -> str:
        """Say in a sentence whether the best is better than the base."""
        tried = len(self.trials)
        if self.best_trial == 0:
            return f"No trial of {tried} is better than the settings it began with."
        base, best = (self._entropy(number) for number in (0, self.best_trial))
        low, high = self.gain.low, self.gain.high
        figures = f"{best:.4f} against {base:.4f}, paired difference {self.gain.value:.4f} ({low:.4f} to {high:.4f})"
        best_of = f"Trial {self.best_trial}, the best of {tried},"
        if low > 0:
            return f"{best_of} is better than the settings it began with: normalised entropy {figures}."
        return (
            f"{best_of} is within noise of the settings it began with, the interval contains 0: "
            f"normalised entropy {figures}."
        )

    def _entropy(self, number: int) -> float:
        return float(self.trials["normalized_entropy"][number])

    def as_dict(self) -> dict[str, Any]:
        """Give everything as JSON can hold it, trials in order."""
        return {
            "verdict": self.verdict,
            "best_trial": self.best_trial,
            "base": self.base.model_dump(mode="json"),
            "best": self.best.model_dump(mode="json"),
            "normalized_entropy_gain": self.gain.as_dict(),
            "window": {"from": self.window.start.isoformat(), "until": self.window.end.isoformat()},
            "rows": {"exposures": self.rows, "likes": self.likes},
            "study": self.study,
            "trials": self.trials.to_dicts(),
        }


def tune(
    exposures: EventLog | Frame,
    settings: Settings | None = None,
    *,
    trials: int = 30,
    timeout: float | None = None,
    threads: int = 0,
    space: Mapping[str, Dimension] | None = None,
    studies: str | os.PathLike[str] | None = None,
) -> Tuning:
    """Choose the model's settings on the calibration window; the test window is taken away first.

    Parameters
    ----------
    exposures : EventLog or polars or pandas frame
        A frame needs the default column names, or `settings.events`.
    settings : Settings, optional
        `settings.model` is the first trial.
    trials : int
        Of the study in all: one that is resumed runs the rest.
    timeout : float, optional
        Seconds after which no trial begins; the first always runs.
    threads : int, optional
        0 means one a core. No result depends on it.
    space : mapping of str to Dimension, optional
        By setting. Default: `default_space()`.
    studies : path-like, optional
        Folder of journals, one a study, to resume from. Default: nothing is kept. One process at a time.

    Returns
    -------
    Tuning

    Raises
    ------
    ConfigError
        When Optuna is missing.
    DataError
        When the calibrate window lacks likes, or nothing in it can be forecast.
    InputError, OutputError
        When the journal is damaged, or cannot be written.
    UsageError
        When there is nothing to try.

    Notes
    -----
    The calibrate window is cut into three by time. Each piece is forecast as the evaluation forecasts the
    test window, with a head from the exposures before the piece. What is minimised is the mean log loss of
    all pieces over the entropy of their like rate. A trial whose pieces so far are worse than the median of
    the trials before it is stopped. The best of many trials looks better on these rows than it is: the
    evaluation on the test window is the judge.

    References
    ----------
    Akiba, T. et al. (2019). Optuna. KDD. https://doi.org/10.1145/3292500.3330701

    Examples
    --------
    >>> from recsys.simulation import World, simulate
    >>> from recsys.tuning import Range
    >>> log = simulate(World.preset("small", exposures=4000, users=100, items=50, seed=1)).events
    >>> base = Settings(model=ModelSettings(factors=4, iterations=2))
    >>> found = tune(log, base, trials=2, space={"l2": Range(0.1, 1000)})
    >>> found.trials["state"].to_list()
    ['complete', 'complete']

    """
    settings = settings or Settings()
    log = exposures if isinstance(exposures, EventLog) else read(settings.events, events=exposures)
    dimensions = searched(default_space() if space is None else space, settings.model)
    if trials < 1 or not dimensions or (timeout is not None and timeout <= 0):
        raise UsageError(
            "tuning needs at least one trial, a timeout above 0 and a setting to search, got "
            f"{trials} trials, {timeout} and {sorted(dimensions)}"
        )
    import_optuna()
    windows = split_by_time(settings.windows, log.as_of)
    known = log_before(log, windows.calibrate.end)
    objective = Objective(known, rolling_folds(known, windows, settings.model.folds), threads)
    study = _hash_study(known, objective.folds, settings.model, dimensions)
    search = Search(objective, settings.model, dimensions)
    journal = Journal(None if studies is None else Path(studies) / study / "journal.log")
    with silenced():
        return _summarise(search, trials, timeout, journal, windows.calibrate, study)


def _summarise(
    search: Search, trials: int, timeout: float | None, journal: Journal, window: Window, study: str
) -> Tuning:
    tried = search.run(trials, timeout, journal)
    best, rows = best_of(tried), search.objective.rows()
    return Tuning(
        base=search.base,
        best=search.settings(best),
        best_trial=best.number,
        trials=_table(search, tried),
        gain=_gain(search, tried, best, rows),
        window=window,
        rows=len(rows),
        likes=int(rows[LIKED].sum()),
        study=study,
    )


def _gain(search: Search, tried: list[Any], best: Any, rows: pl.DataFrame) -> Estimate:
    if best.number == 0:
        return Estimate(0.0, float("nan"), float("nan"))
    gain = paired_difference(search.losses(tried[0]), search.losses(best), distinct_codes(rows[USER]))
    entropy = float(binary_entropy(rows[LIKED].to_numpy().mean()))
    # Bonferroni: the best of many would often leave the interval of one comparison by luck.
    wider = float(ndtri(_TAIL / (len(tried) - 1)) / ndtri(_TAIL))
    low, high = (gain.value + wider * (end - gain.value) for end in (gain.low, gain.high))
    return Estimate(gain.value / entropy, low / entropy, high / entropy)


def _table(search: Search, tried: list[Any]) -> pl.DataFrame:
    whole = [trial.state.name == "COMPLETE" for trial in tried]
    chosen = [search.settings(trial) for trial in tried]
    parts: dict[str, list[Any]] = {
        "trial": [trial.number for trial in tried],
        "state": [trial.state.name.lower() for trial in tried],
        **{name: [_plain(getattr(one, name)) for one in chosen] for name in search.space},
        "normalized_entropy": [t.value if done else None for t, done in zip(tried, whole, strict=True)],
        "standard_error": [trial.user_attrs.get(ERROR) for trial in tried],
    }
    for place in range(len(search.objective.folds)):
        values = [trial.user_attrs[FOLDS][place : place + 1] for trial in tried]
        parts[f"fold_{place + 1}"] = [value[0] if value else None for value in values]
    floats = {name: pl.Float64 for name in parts if name.startswith(("fold_", "normalized", "standard"))}
    return pl.DataFrame(parts, schema_overrides=floats)


def _plain(setting: Any) -> Any:
    """Let a table hold a setting: lengths of time as recsys.toml has them."""
    return f"{setting // timedelta(hours=1)}h" if isinstance(setting, timedelta) else setting


def _hash_study(
    log: EventLog, folds: tuple[Fold, ...], base: ModelSettings, space: dict[str, Dimension]
) -> str:
    """Hash all that a trial's figures depend on; nothing of it lies in the test window."""
    digest = hashlib.sha256()
    for rows in (log.exposures, *(fold.rows for fold in folds)):
        digest.update(repr(rows.schema).encode())
        digest.update(rows.hash_rows(seed=0).to_numpy().tobytes())
    about = {
        "windows": [f"{fold.head} {fold.cut.isoformat()}" for fold in folds],
        "pieces": PIECES,
        "signals": log.signals,
        "settle": str(log.settle),
        "base": base.model_dump(mode="json"),
        "space": {name: repr(one) for name, one in space.items()},
        "versions": {name: importlib.metadata.version(name) for name in _COMPUTES_WITH},
    }
    digest.update(json.dumps(about, sort_keys=True).encode())
    return digest.hexdigest()[:16]
