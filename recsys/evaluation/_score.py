"""Probabilities and rankings of one model -> figures with intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import EvaluationSettings, Settings
from recsys.inference import Estimate, bootstrap_interval, ratio_of_sums
from recsys.metrics import (
    average_precision_at,
    binary_entropy,
    catalogue_coverage,
    corp_decomposition,
    exposure_gini,
    miscalibration_null_band,
    ndcg_at,
    recall_at,
)
from recsys.model import WillLikeModel
from recsys.schema import ITEM, LIKED, USER

#: Means over users, with intervals; then figures of all lists together, without.
PER_USER = {"ndcg@10": (ndcg_at, 10), "recall@20": (recall_at, 20), "map@10": (average_precision_at, 10)}
OVER_LISTS = {"coverage@20": (catalogue_coverage, 20), "exposure_gini@20": (exposure_gini, 20)}
LONGEST_LIST = 20


@dataclass(frozen=True)
class Calibration:
    """Where the log loss comes from, in nats, and the miscalibration that chance alone would show.

    Attributes
    ----------
    miscalibration, discrimination, uncertainty : float
        CORP: ``log loss = miscalibration - discrimination + uncertainty``.
    miscalibration_null_low, miscalibration_null_high : float
        Central 95 % of the miscalibration of labels drawn from these very probabilities.
    miscalibration_share_of_entropy : float
        Miscalibration over the entropy of the like rate.
    above_null_band : bool
        More than chance alone would show. The band takes rows as independent: where users differ by more
        than the forecast knows, sound averages leave it too, so read it beside the bias.
    bias : Estimate
        ``sum(p - y) / sum(y)`` with a user-clustered interval.

    """

    miscalibration: float
    discrimination: float
    uncertainty: float
    miscalibration_null_low: float
    miscalibration_null_high: float
    miscalibration_share_of_entropy: float
    above_null_band: bool
    bias: Estimate

    def as_dict(self) -> dict[str, Any]:
        """Give the figures as JSON can hold them."""
        return {**asdict(self), "bias": self.bias.as_dict()}


def score_calibration(
    liked: NDArray[np.bool_],
    will_like: NDArray[np.float64],
    bias: Estimate,
    settings: EvaluationSettings,
    seed: int,
) -> Calibration:
    """Hold the miscalibration against what chance alone would show.

    Parameters
    ----------
    liked : ndarray of bool, shape (n,)
    will_like : ndarray of float64, shape (n,)
    bias : Estimate
    settings : EvaluationSettings
    seed : int

    Returns
    -------
    Calibration

    """
    parts = corp_decomposition(liked, will_like)
    band = miscalibration_null_band(will_like, settings.null_draws, seed)
    return Calibration(
        parts.miscalibration,
        parts.discrimination,
        parts.uncertainty,
        band.low,
        band.high,
        parts.miscalibration / float(binary_entropy(liked.mean())),
        parts.miscalibration > band.high,
        bias,
    )


@dataclass(frozen=True)
class Ranking:
    """What rankings are held against, and how they are served.

    Attributes
    ----------
    relevant : polars.DataFrame
        `user_id`, `item_id`: likes of the window on pairs that were not seen before it, each once.
    seen : polars.DataFrame
        Pairs shown before the cut: neither recommended nor relevant.
    candidates : int
    max_per_creator : int or None
        As `WillLikeModel.recommend` takes them.
    bootstraps, seed : int
        Draws of users.

    """

    relevant: pl.DataFrame
    seen: pl.DataFrame
    candidates: int
    max_per_creator: int | None
    bootstraps: int
    seed: int

    @classmethod
    def of(cls, rows: pl.DataFrame, seen: pl.DataFrame, settings: Settings) -> Ranking:
        """Find the relevant pairs among a window's exposures."""
        liked = rows.filter(LIKED).select(USER, ITEM).unique(maintain_order=True)
        seen = seen.select(USER, ITEM)
        return cls(
            liked.join(seen, on=[USER, ITEM], how="anti", maintain_order="left"),
            seen,
            settings.model.candidates,
            settings.output.max_per_creator,
            settings.evaluation.bootstraps,
            settings.model.seed,
        )

    def is_defined(self, model: WillLikeModel) -> bool:
        """Say whether there is something to find, and the model tells items apart."""
        orders_items = model.head is None or bool(model.head.head.names)
        return orders_items and not self.relevant.is_empty()

    def mean_over_users(self, values: NDArray[np.float64]) -> Estimate:
        """Estimate the mean of one value a user."""
        sums = np.column_stack([values, np.ones(len(values))])
        return bootstrap_interval(ratio_of_sums, sums, self.bootstraps, self.seed)


def score_ranking(model: WillLikeModel, ranking: Ranking) -> dict[str, Estimate]:
    """Rank as is served, for every user with a like in the window, and look where the likes stand.

    Parameters
    ----------
    model : WillLikeModel
    ranking : Ranking

    Returns
    -------
    dict of str to Estimate
        `ndcg@10`, `recall@20`, `map@10`: means over users; `coverage@20`, `exposure_gini@20`: of their
        lists together, without interval. NaN when no user has a relevant item, or the model finds all
        items equal.

    """
    if not ranking.is_defined(model):
        return dict.fromkeys([*PER_USER, *OVER_LISTS], Estimate(np.nan, np.nan, np.nan))
    ranked = model.recommend(
        ranking.relevant[USER],
        n=LONGEST_LIST,
        exclude=ranking.seen,
        candidates=ranking.candidates,
        max_per_creator=ranking.max_per_creator,
    )
    catalogue = len(model.snapshot.entities[ITEM].index)
    means = {
        name: ranking.mean_over_users(figure(ranked, ranking.relevant, k)["value"].to_numpy())
        for name, (figure, k) in PER_USER.items()
    }
    wholes = {
        name: Estimate(figure(ranked, catalogue, k), np.nan, np.nan)
        for name, (figure, k) in OVER_LISTS.items()
    }
    return {**means, **wholes}
