"""The procedure on the newest window it has not seen, and its baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import Settings
from recsys.errors import DataError
from recsys.evaluation._candidates import try_candidates
from recsys.evaluation._evaluation import Evaluation
from recsys.evaluation._score import Ranking, score_calibration, score_ranking
from recsys.evaluation._segments import Scored, count_forecasts, score_days, score_segments
from recsys.events import EventLog, read
from recsys.features import COUNT, DOT, RATE, TASTE, Snapshots, SnapshotSource, reads
from recsys.inference import Estimate, paired_difference, probability_metrics
from recsys.matrix import distinct_codes
from recsys.metrics import binary_entropy, log_losses, reliability_curve, reliability_null_band, user_aucs
from recsys.model import WillLikeModel, fit_model
from recsys.schema import FACTORS_ONLY, ITEM, LIKED, TIME, USER, Frame, Losses, validated
from recsys.split import Window, Windows, exposures_in, known_before, require_both_labels, split_by_time

_USER_RATE, _ITEM_RATE = f"{USER}:{RATE}{LIKED}", f"{ITEM}:{RATE}{LIKED}"
_BAND_POINTS = 40
#: The same procedure with fewer features: each baseline has its head, its calibrator and its cuts.
BASELINES: dict[str, Callable[[str], bool]] = {
    "base_rate": lambda name: False,
    "item_rate": lambda name: name == _ITEM_RATE,
    "user_item_rate": lambda name: name in (_USER_RATE, _ITEM_RATE),
    "all_rates": lambda name: f":{RATE}" in name or name.endswith(f":{COUNT}"),
    "no_factors": lambda name: reads(name) and not name.startswith(DOT) and name != TASTE,
    "like_als": lambda name: name == f"{DOT}{LIKED}",
}


def evaluate(
    exposures: EventLog | Frame, settings: Settings | None = None, *, threads: int = 0
) -> Evaluation:
    """Score the procedure on the newest window it has not seen.

    Parameters
    ----------
    exposures : EventLog or polars or pandas frame
        A frame needs the default column names, or `settings.events`.
    settings : Settings, optional
    threads : int, optional
        0 means one a core.

    Returns
    -------
    Evaluation

    Raises
    ------
    DataError
        When the log holds positives only, or a window lacks likes.

    Examples
    --------
    >>> from recsys.config import ModelSettings
    >>> from recsys.simulation import World, simulate
    >>> log = simulate(World.preset("small", exposures=4000, users=100, items=50, seed=1)).events
    >>> found = evaluate(log, Settings(model=ModelSettings(factors=8, iterations=2)))
    >>> found.metrics["normalized_entropy"].value < found.baselines["base_rate"]["normalized_entropy"].value
    True

    """
    settings = settings or Settings()
    log = exposures if isinstance(exposures, EventLog) else read(settings.events, events=exposures)
    windows = split_by_time(settings.windows, log.as_of)
    return evaluate_procedure(Snapshots(log, settings.model, threads), windows, settings)


def evaluate_procedure(snapshots: SnapshotSource, windows: Windows, settings: Settings) -> Evaluation:
    """Score ``fit(calibrate_from, test_from)`` on [test_from, as_of), beside its baselines.

    Parameters
    ----------
    snapshots : SnapshotSource
    windows : Windows
    settings : Settings
        `settings.model` is that of the snapshots.

    Returns
    -------
    Evaluation

    """
    log = _with_negatives(snapshots.log)
    rows = exposures_in(log.exposures, windows.test, log.settle)
    require_both_labels(rows, windows.test, "test")
    model = fit_model(snapshots, windows.calibrate, windows.test.cut)
    baselines = {
        name: fit_model(snapshots, windows.calibrate, windows.test.cut, use)
        for name, use in BASELINES.items()
    }
    seen = known_before(log.shown, windows.test.cut)
    trial = _Trial(rows, seen, windows.test, windows.calibrate, settings)
    return _score(trial, model, baselines)


def evaluate_model(model: WillLikeModel, log: EventLog, settings: Settings) -> Evaluation:
    """Score a published version on the exposures after its as_of.

    Parameters
    ----------
    model : WillLikeModel
    log : EventLog
    settings : Settings

    Returns
    -------
    Evaluation
        Without baselines.

    Raises
    ------
    DataError
        When nothing, or nothing with both labels, lies after the version's as_of.

    """
    log, cut = _with_negatives(log), model.snapshot.cut
    window = Window(cut, cut, max(log.as_of, cut + timedelta(microseconds=1)))
    rows = exposures_in(log.exposures, window, log.settle)
    require_both_labels(rows, window, "scored")
    seen = known_before(log.shown, cut)
    return _score(_Trial(rows, seen, window, None, settings), model, {})


def _with_negatives(log: EventLog) -> EventLog:
    if log.positives_only:
        raise DataError(
            "the log holds positives only: without exposures that got no like there is no probability to "
            "evaluate; `recsys train` and `recsys predict` still rank"
        )
    return log


@dataclass(frozen=True)
class _Trial:
    """What every model is scored on."""

    rows: pl.DataFrame
    seen: pl.DataFrame
    window: Window
    calibrate: Window | None
    settings: Settings

    @property
    def seed(self) -> int:
        """Of draws of users and labels."""
        return self.settings.model.seed

    @cached_property
    def ranking(self) -> Ranking:
        """What rankings are held against, and how they are served."""
        return Ranking.of(self.rows, self.seen, self.settings)

    def figures(self, model: WillLikeModel, will_like: NDArray[np.float64]) -> dict[str, Estimate]:
        """Score one model's probabilities and its ranking."""
        return {
            **probability_metrics(
                distinct_codes(self.rows[USER]),
                self.rows[LIKED].to_numpy(),
                will_like,
                reference_rate=model.base_rate,
                draws=self.settings.evaluation.bootstraps,
                seed=self.seed,
            ),
            **score_ranking(model, self.ranking),
        }


def _score(trial: _Trial, model: WillLikeModel, baselines: dict[str, WillLikeModel]) -> Evaluation:
    """Score a model and its baselines on the same rows; segments, days and candidates are the model's."""
    rows, liked = trial.rows, trial.rows[LIKED].to_numpy()
    will_like = _probabilities(model, rows)
    losses, metrics = {"": log_losses(liked, will_like)}, trial.figures(model, will_like)
    compared = {}
    for name, baseline in baselines.items():
        forecast = _probabilities(baseline, rows)
        losses[name] = log_losses(liked, forecast)
        compared[name] = {
            **trial.figures(baseline, forecast),
            "normalized_entropy_gain": _entropy_gain(losses[name], losses[""], rows),
        }
    scored = Scored(rows, will_like, losses[""], _never_seen(model, rows))
    return Evaluation(
        window=trial.window,
        calibrate=trial.calibrate,
        rows=_count_rows(rows, scored.cold),
        metrics=metrics,
        gauc_share_of_rows=user_aucs(distinct_codes(rows[USER]), liked, will_like).share_of_rows,
        calibration=score_calibration(
            liked, will_like, metrics["bias"], trial.settings.evaluation, trial.seed
        ),
        baselines=compared,
        candidates=try_candidates(model, trial.ranking),
        reliability=reliability_curve(liked, will_like),
        reliability_null=reliability_null_band(
            will_like, trial.settings.evaluation.null_draws, trial.seed, points=_BAND_POINTS
        ),
        segments=score_segments(scored, trial.seen.filter(~pl.col(FACTORS_ONLY))),
        days=score_days(scored),
        distribution=count_forecasts(scored),
        losses=_losses_table(rows, will_like, losses),
        skipped_signals=model.snapshot.skipped,
    )


def _probabilities(model: WillLikeModel, rows: pl.DataFrame) -> NDArray[np.float64]:
    return model.probabilities(model.snapshot.place(rows))


def _entropy_gain(theirs: NDArray[np.float64], ours: NDArray[np.float64], rows: pl.DataFrame) -> Estimate:
    gain, entropy = (
        paired_difference(theirs, ours, distinct_codes(rows[USER])),
        binary_entropy(rows[LIKED].to_numpy().mean()),
    )
    return Estimate(*(float(end / entropy) for end in (gain.value, gain.low, gain.high)))


def _never_seen(model: WillLikeModel, rows: pl.DataFrame) -> dict[str, NDArray[np.bool_]]:
    places = model.snapshot.place(rows).places
    return {entity: places[entity] < 0 for entity in (USER, ITEM)}


def _count_rows(rows: pl.DataFrame, cold: Mapping[str, NDArray[np.bool_]]) -> dict[str, int]:
    return {
        "exposures": len(rows),
        "likes": int(rows[LIKED].sum()),
        "users": rows[USER].n_unique(),
        "items": rows[ITEM].n_unique(),
        "cold_users": int(cold[USER].sum()),
        "cold_items": int(cold[ITEM].sum()),
    }


def _losses_table(
    rows: pl.DataFrame, will_like: NDArray[np.float64], losses: dict[str, NDArray[np.float64]]
) -> pl.DataFrame:
    columns = {"will_like": will_like, "log_loss": losses[""]}
    columns |= {f"log_loss_{name}": loss for name, loss in losses.items() if name}
    return validated(rows.select(USER, ITEM, TIME, LIKED).with_columns(**_series(columns)), Losses)


def _series(columns: dict[str, NDArray[np.float64]]) -> dict[str, pl.Series]:
    return {name: pl.Series(values) for name, values in columns.items()}
