"""What an evaluation found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from recsys.evaluation._candidates import Tried
from recsys.evaluation._score import Calibration
from recsys.inference import Estimate
from recsys.split import Window


@dataclass(frozen=True)
class Evaluation:
    """Probabilities and ranking on a window that was not learnt from.

    Attributes
    ----------
    window : Window
        The test window.
    calibrate : Window or None
        What the head learnt from; None when a published version was scored.
    rows : dict of str to int
        `exposures`, `likes`, `users`, `items` of the test window; `cold_users`, `cold_items` exposures.
    metrics : dict of str to Estimate
        `normalized_entropy`, `log_loss`, `auc`, `gauc`, `uauc`, `brier_skill`, `ndcg@10`, ...
    gauc_share_of_rows : float
        Rows of users with both labels: what `gauc` and `uauc` speak about.
    calibration : Calibration
    baselines : dict of str to dict of str to Estimate
        The same keys, and `normalized_entropy_gain`: how much higher their normalised entropy is, on the
        same rows, paired, user-clustered.
    candidates : tuple of Tried
        The ranking by how many candidates there are; empty when nothing can be ranked.
    reliability, reliability_null : polars.DataFrame
        The recalibrated curve, and where it would lie by chance alone.
    segments, days, distribution : polars.DataFrame
        By whom, what and when: see `recsys.evaluation.score_segments`, `score_days` and `count_forecasts`.
        Segments are exploratory.
    losses : polars.DataFrame
        One row a test exposure.
    skipped_signals : tuple of str

    """

    window: Window
    calibrate: Window | None
    rows: dict[str, int]
    metrics: dict[str, Estimate]
    gauc_share_of_rows: float
    calibration: Calibration
    baselines: dict[str, dict[str, Estimate]]
    candidates: tuple[Tried, ...]
    reliability: pl.DataFrame
    reliability_null: pl.DataFrame
    segments: pl.DataFrame
    days: pl.DataFrame
    distribution: pl.DataFrame
    losses: pl.DataFrame
    skipped_signals: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Give what `evaluation.json` holds."""
        metrics = {name: figure.as_dict() for name, figure in self.metrics.items()}
        return {
            "windows": {
                "calibrate": None if self.calibrate is None else self.calibrate.as_dict(),
                "test": self.window.as_dict(),
            },
            "rows": self.rows,
            "metrics": {**metrics, "calibration": self.calibration.as_dict()},
            "gauc_share_of_rows": self.gauc_share_of_rows,
            "baselines": {
                name: {key: figure.as_dict() for key, figure in figures.items()}
                for name, figures in self.baselines.items()
            },
            "candidates": [tried.as_dict() for tried in self.candidates],
            "segments": self.segments.to_dicts(),
            "days": self.days.with_columns(pl.col("day").cast(pl.String)).to_dicts(),
            "skipped_signals": list(self.skipped_signals),
        }
