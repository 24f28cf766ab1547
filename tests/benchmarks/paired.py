"""Figures of several models on the same rows, and their differences, from the same draws of users.

What `quality.py` and `quality_simulated.py` share. Every figure of every model is computed on the same
Poisson(1) weights of users, so that the difference of two figures is paired, whatever the figure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.inference import Estimate, ratio_of_sums, user_sums
from recsys.matrix import IdIndex
from recsys.metrics import auc, binary_entropy, log_losses, ndcg_at, recall_at, user_aucs
from recsys.schema import LIKED, USER

Floats = NDArray[np.float64]
_BLOCKS = 20
#: Names of the figures of a table, in its order; of the first, lower is better.
FIGURES = ("NE", "AUC", "GAUC", "NDCG@10", "Recall@20")


@dataclass(frozen=True)
class Figure:
    """A figure on the rows as they are, and on every draw of their users, shape (draws,)."""

    value: float
    drawn: Floats

    def __sub__(self, other: Figure) -> Figure:
        """Difference, draw by draw."""
        return Figure(self.value - other.value, self.drawn - other.drawn)

    def interval(self) -> Estimate:
        """Central 95 % of the draws; NaN when more than one draw in twenty is undefined."""
        defined = self.drawn[np.isfinite(self.drawn)]
        if defined.size < 0.95 * self.drawn.size:
            return Estimate(self.value, np.nan, np.nan)
        low, high = np.quantile(defined, (0.025, 0.975), method="weibull")
        return Estimate(self.value, float(low), float(high))


UNDEFINED = Figure(np.nan, np.full(1, np.nan))


@dataclass(frozen=True)
class UserDraws:
    """Users drawn again and again: their ids, and Poisson(1) weights of shape (draws, users)."""

    index: IdIndex
    weights: NDArray[np.uint8]

    @classmethod
    def of(cls, users: pl.Series, draws: int, seed: int = 0) -> UserDraws:
        """Draw the distinct users of a column."""
        index = IdIndex.of(users)
        return cls(index, np.random.default_rng(seed).poisson(1.0, (draws, len(index))).astype(np.uint8))

    def sums(self, users: pl.Series, *columns: Floats) -> Floats:
        """Add up the columns by user, shape (users, columns); every user has a row."""
        found = np.zeros((len(self.index), len(columns)))
        codes = self.index.codes(users)
        found[np.unique(codes)] = user_sums(codes, np.column_stack(columns))
        return found

    def figure(self, statistic: Callable[[Floats], Floats], sums: Floats) -> Figure:
        """Take a statistic of totals, shape (..., columns) -> (...)."""
        blocks = np.array_split(self.weights, _BLOCKS)
        totals = np.concatenate([block.astype(np.float64) @ sums for block in blocks])
        return Figure(float(statistic(sums.sum(axis=0))), statistic(totals))


def probability_figures(draws: UserDraws, rows: pl.DataFrame, will_like: Floats) -> dict[str, Figure]:
    """Score probabilities of rows: NE, AUC, GAUC."""
    liked = rows[LIKED].to_numpy()
    columns = (np.ones(len(liked)), liked, log_losses(liked, will_like))
    return {
        "NE": draws.figure(_normalized_entropy, draws.sums(rows[USER], *columns)),
        "AUC": Figure(auc(liked, will_like), _drawn_aucs(draws, rows, will_like)),
        "GAUC": draws.figure(ratio_of_sums, _gauc_sums(draws, rows, will_like)),
    }


def ranking_figures(
    draws: UserDraws, ranked: pl.DataFrame | None, relevant: pl.DataFrame
) -> dict[str, Figure]:
    """Score lists: means over the users with a relevant pair; undefined without lists."""
    if ranked is None:
        return dict.fromkeys(("NDCG@10", "Recall@20"), UNDEFINED)
    found = {"NDCG@10": ndcg_at(ranked, relevant, 10), "Recall@20": recall_at(ranked, relevant, 20)}
    return {
        name: draws.figure(
            ratio_of_sums, draws.sums(values[USER], values["value"].to_numpy(), np.ones(len(values)))
        )
        for name, values in found.items()
    }


def _normalized_entropy(totals: Floats) -> Floats:
    rows, likes, loss = totals[..., 0], totals[..., 1], totals[..., 2]
    return np.asarray(loss / rows / binary_entropy(likes / rows))


def _gauc_sums(draws: UserDraws, rows: pl.DataFrame, will_like: Floats) -> Floats:
    found = user_aucs(draws.index.codes(rows[USER]), rows[LIKED].to_numpy(), will_like)
    sums = np.zeros((len(draws.index), 2))
    sums[found.users] = np.column_stack([found.exposures * found.auc, found.exposures])
    return sums


def _drawn_aucs(draws: UserDraws, rows: pl.DataFrame, will_like: Floats) -> Floats:
    """AUC of every draw: the scores are sorted once, a draw is a cumulative sum of weights."""
    codes, liked = draws.index.codes(rows[USER]), rows[LIKED].to_numpy()
    order = np.argsort(will_like[~liked], kind="stable")
    sorted_others, others = will_like[~liked][order], codes[~liked][order]
    below, up_to = (np.searchsorted(sorted_others, will_like[liked], side=side) for side in ("left", "right"))
    drawn = np.empty(len(draws.weights))
    for draw, weights in enumerate(draws.weights):
        total = np.append(0, np.cumsum(weights[others], dtype=np.int64))
        likes = weights[codes[liked]].astype(np.int64)
        drawn[draw] = (likes * (total[below] + total[up_to])).sum() / (2 * likes.sum() * total[-1])
    return drawn


def cell(figure: Figure, signed: bool = False, digits: int = 3) -> str:
    """Write a figure with its interval, as in the README; nothing where it is undefined."""
    found = figure.interval()
    if not np.isfinite(found.value):
        return ""
    value, low, high = (number(end, signed, digits) for end in (found.value, found.low, found.high))
    return value if low == high or not np.isfinite(found.low) else f"{value} ({low} to {high})"


def number(value: float, signed: bool = False, digits: int = 3) -> str:
    """Write a number as the README does, without the zero before the point."""
    return re.sub(r"^([+-]?)0\.", r"\1.", f"{value:{'+' if signed else ''}.{digits}f}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
