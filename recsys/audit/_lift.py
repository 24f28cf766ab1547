"""Forecasts of every arm -> what likes add, and of what that consists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.audit._plan import Plan
from recsys.audit._result import PIECES, PLACEBOS, PRIMARY_PLACEBO, Lift
from recsys.audit._rows import AuditRows
from recsys.audit._trial import BEHAVIOUR, REAL, Trial
from recsys.inference import Estimate, SeededDifference, adjust_holm, paired_difference, seeded_difference
from recsys.matrix import distinct_codes
from recsys.metrics import binary_entropy, log_losses
from recsys.schema import ITEM, USER

#: From behaviour only to the real likes: each piece is what the loss falls by from one to the next.
CHAIN = (BEHAVIOUR, *PLACEBOS, REAL)


@dataclass(frozen=True)
class Scored:
    """Losses of every arm on the rows in which an outcome is known.

    Attributes
    ----------
    outcome, head : str
    known : ndarray of bool, shape (n_score,)
    labels : ndarray of bool, shape (m,)
    users, items : ndarray of int32, shape (m,)
    losses : dict of str to ndarray of float64, shape (k, m)
        By kind of arm, in nats.

    """

    outcome: str
    head: str
    known: NDArray[np.bool_]
    labels: NDArray[np.bool_]
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    losses: dict[str, NDArray[np.float64]]

    @property
    def entropy(self) -> float:
        """Of the outcome's rate on these rows, in nats."""
        return float(binary_entropy(self.labels.mean()))

    def compare(self, first: str, second: str) -> SeededDifference:
        """Say by how much the loss falls from one kind of arm to another, in shares of entropy."""
        return seeded_difference(
            self.losses[first],
            self.losses[second],
            self.users,
            self.items,
            scale=self.entropy,
            realised=second == REAL and first in PLACEBOS,
        )


def fall_in_shares(
    losses: NDArray[np.float64],
    other_losses: NDArray[np.float64],
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    entropy: float,
) -> Estimate:
    """Estimate by what share of the entropy the mean loss falls from one fitted model to another.

    Parameters
    ----------
    losses, other_losses : ndarray of float64, shape (m,)
        In nats, of the same rows.
    users, items : ndarray of int32, shape (m,)
        Codes.
    entropy : float
        In nats.

    Returns
    -------
    Estimate
        Above 0 the other model is better; 95 %, two-way by user and item, given the fitted models.

    """
    fall = paired_difference(losses, other_losses, users, items)
    return Estimate(*(end / entropy for end in (fall.value, fall.low, fall.high)))


def score_losses(
    rows: AuditRows, outcome: str, head: str, forecasts: Mapping[str, NDArray[np.float64]]
) -> Scored:
    """Hold forecasts against what came.

    Parameters
    ----------
    rows : AuditRows
    outcome, head : str
    forecasts : mapping of str to ndarray of float64, shape (k, at least n_score)
        By kind of arm.

    Returns
    -------
    Scored

    """
    values = rows.labels(rows.score, outcome)
    known = ~np.isnan(values)
    labels = values[known] > 0
    users, items = (distinct_codes(rows.score[name])[known] for name in (USER, ITEM))
    losses = {
        kind: np.stack([log_losses(labels, one) for one in found[:, : len(known)][:, known]])
        for kind, found in forecasts.items()
    }
    return Scored(outcome, head, known, labels, users, items, losses)


def score_trial(rows: AuditRows, plan: Plan, trial: Trial) -> dict[str, Scored]:
    """Score every outcome under its heads, by ``outcome/head``."""
    return {
        f"{outcome}/{head}": score_losses(
            rows, outcome, head, {kind: trial.forecasts[f"{outcome}/{head}/{kind}"] for kind in CHAIN}
        )
        for outcome, heads in plan.outcomes.items()
        for head in heads
    }


def measure_lifts(scored: Mapping[str, Scored], past_likes: int) -> tuple[Lift, ...]:
    """Measure the lift of each outcome, with Holm over the secondary ones of the first head.

    Parameters
    ----------
    scored : mapping of str to Scored
        The primary outcome first.
    past_likes : int
        Known before the test window.

    Returns
    -------
    tuple of Lift

    """
    lifts = [measure_lift(one, past_likes) for one in scored.values()]
    primary, first = lifts[0].outcome, lifts[0].head
    named = [place for place, one in enumerate(lifts) if one.outcome != primary and one.head == first]
    for place, p in zip(named, adjust_holm([lifts[place].value.p_value for place in named]), strict=True):
        lifts[place] = replace(lifts[place], p_holm=float(p))
    return tuple(lifts)


def measure_lift(scored: Scored, past_likes: int) -> Lift:
    """Measure what the past likes of a log add to one outcome.

    Parameters
    ----------
    scored : Scored
    past_likes : int

    Returns
    -------
    Lift

    """
    over = {kind: scored.compare(kind, REAL) for kind in PLACEBOS}
    steps = zip(PIECES, CHAIN, CHAIN[1:], strict=False)
    pieces = {piece: scored.compare(before, after) for piece, before, after in steps}
    value = over[PRIMARY_PLACEBO]
    bits = value.value * scored.entropy / np.log(2) * len(scored.labels)
    draws = scored.losses[PRIMARY_PLACEBO].mean(axis=1)
    at_least = int((draws <= scored.losses[REAL].mean()).sum())
    return Lift(
        outcome=scored.outcome,
        head=scored.head,
        value=value,
        bits_per_like=bits / past_likes,
        by_placebo=over,
        pieces=pieces,
        rank_p=(1 + at_least) / (len(draws) + 1),
        p_holm=None,
        rows=len(scored.labels),
        events=int(scored.labels.sum()),
        users=len(np.unique(scored.users)),
    )
