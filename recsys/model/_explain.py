"""Why a probability: log-odds as a sum, and the past items behind the ALS parts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit, logit

from recsys.events import EventLog
from recsys.features import Snapshot, put_in_words, signal_strengths
from recsys.matrix import UNSEEN, UserItems, confidences, interactions, one_blas_thread
from recsys.model._candidates import readable_signals
from recsys.probability import FLOOR, ProbabilityHead
from recsys.schema import ITEM, USER, require_columns
from recsys.split import known_before

_KINDS = {USER: "user", ITEM: "item"}


@dataclass(frozen=True)
class PastItems:
    """One ALS score as a sum over the user's past items.

    Attributes
    ----------
    signal : str
    served : float
        The score that the feature ``dot:<signal>`` was made of.
    recomputed : float
        The same with the user's factors solved exactly from the past items: the sum of `items`. The
        two differ because the solver is approximate, and because it ends with the factors of the items.
    items : polars.DataFrame
        `item_id`, `strength` (of the signal, summed over the log), `score` (what the item adds); those that weigh
        most come first.

    """

    signal: str
    served: float
    recomputed: float
    items: pl.DataFrame


@dataclass(frozen=True)
class Explanation:
    """Why a probability is what it is.

    Attributes
    ----------
    user_id, item_id : int or str
    as_of : datetime.datetime
        What was known before it was used.
    will_like, low, high : float
        The probability and its interval, as `WillLikeModel.predict_proba` serves them, before float32.
    base_rate : float
        Like rate of the exposures that the head learned from; corrected, as `will_like` is, where
        unliked exposures were sampled.
    average : float
        Log-odds that the head gives the average of those exposures, beside the base rate: a mean
        of log-odds lies below the log-odds of a mean.
    contributions : polars.DataFrame
        `feature`, `words`, `value`, `log_odds` (what it adds to the average); the largest come first.
    calibration : float
        What the calibrator adds, in log-odds.
    past : tuple of PastItems
        For each factorisation that the head reads and that knows both sides; empty without a log.
    notes : tuple of str
        What a reader must know: a user or item not seen before, a log that is missing.

    Notes
    -----
    ``logit(base_rate) + average + sum(contributions.log_odds) + calibration = logit(will_like)``.

    It is an account of the arithmetic, not of causes: features that go together share what they add as
    the head happened to weigh them.

    """

    user_id: Any
    item_id: Any
    as_of: datetime
    will_like: float
    low: float
    high: float
    base_rate: float
    average: float
    contributions: pl.DataFrame
    calibration: float
    past: tuple[PastItems, ...]
    notes: tuple[str, ...]

    def steps(self, n: int = 10) -> pl.DataFrame:
        """Go from the base rate to the probability.

        Parameters
        ----------
        n : int
            Contributions to name; the others, where there is more than one, are one step.

        Returns
        -------
        polars.DataFrame
            `what`; `log_odds` that it adds; `probability` that is then reached, at last `will_like`.

        """
        # A last one alone is named: it takes no more room than to be called the others.
        n += len(self.contributions) == n + 1
        named, others = self.contributions.head(n), self.contributions.slice(n)
        steps = [
            ("like rate of what the head learned from", float(logit(self.base_rate))),
            ("the average exposure, beside that rate", self.average),
            *named.select("words", "log_odds").iter_rows(),
        ]
        if len(others):
            steps.append((f"the other {len(others)} features together", float(others["log_odds"].sum())))
        steps.append(("calibration", self.calibration))
        table = pl.DataFrame(steps, {"what": pl.String, "log_odds": pl.Float64}, orient="row")
        reached = expit(table["log_odds"].cum_sum().to_numpy())
        return table.with_columns(pl.Series("probability", reached))

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain values, for JSON."""
        past = [{**asdict(one), "items": one.items.to_dicts()} for one in self.past]
        plain = {name: value for name, value in vars(self).items() if name not in ("contributions", "past")}
        return {
            **plain,
            "as_of": self.as_of.isoformat(),
            "contributions": self.contributions.to_dicts(),
            "past": past,
        }


def explain_pair(
    snapshot: Snapshot, head: ProbabilityHead, pair: pl.DataFrame, log: EventLog | None
) -> Explanation:
    """Account for the probability of one pair.

    Parameters
    ----------
    snapshot : Snapshot
    head : ProbabilityHead
    pair : polars.DataFrame of 1 row
        `user_id`, `item_id`, of the log's types.
    log : EventLog or None
        The log of the snapshot, for the past items.

    Returns
    -------
    Explanation

    """
    names, pairs = head.head.names, snapshot.place(pair)
    values = snapshot.pair_features(pairs, names)[0]
    order = head.head.logit(values[None])
    split = head.head.contributions(values[None])
    farthest = float(logit(1 - FLOOR))
    calibrated = np.clip(head.calibrator.log_odds(order), -farthest, farthest)
    interval = head.interval(order)
    user, item = (int(pairs.places[kind][0]) for kind in (USER, ITEM))
    return Explanation(
        user_id=pair[USER][0],
        item_id=pair[ITEM][0],
        as_of=snapshot.cut,
        will_like=float(head.will_like(order)[0]),
        low=float(interval.low[0]),
        high=float(interval.high[0]),
        base_rate=float(head.among_all(np.array([head.base_rate]))[0]),
        average=float(split.base - logit(head.base_rate)),
        contributions=_tell(snapshot, names, values, split.parts[0]),
        calibration=float(calibrated[0] - split.base - split.parts[0].sum()),
        past=() if log is None else explain_scores(snapshot, log, readable_signals(names), user, item),
        notes=_take_notes(snapshot, pair, log),
    )


def _tell(
    snapshot: Snapshot, names: tuple[str, ...], values: NDArray[np.float64], parts: NDArray[np.float64]
) -> pl.DataFrame:
    words = put_in_words(snapshot, names, values)
    table = pl.DataFrame({"feature": names, "words": words, "value": values, "log_odds": parts})
    return table.sort(pl.col("log_odds").abs(), descending=True, maintain_order=True)


def _take_notes(snapshot: Snapshot, pair: pl.DataFrame, log: EventLog | None) -> tuple[str, ...]:
    notes = []
    for kind, called in _KINDS.items():
        if snapshot.entities[kind].index.codes(pair[kind])[0] == UNSEEN:
            seen = f"{called} {pair[kind][0]} was not seen before {snapshot.cut:%Y-%m-%d %H:%M} UTC"
            notes.append(f"{seen}: this is what a new {called} gets")
    if log is None:
        notes.append("the past items behind the ALS scores need the log (history=...)")
    return tuple(notes)


def explain_scores(
    snapshot: Snapshot, log: EventLog, signals: tuple[str, ...], user: int, item: int
) -> tuple[PastItems, ...]:
    """Split the scores of one pair into what each past item of the user adds.

    Parameters
    ----------
    snapshot : Snapshot
    log : EventLog
        That the snapshot was taken of.
    signals : tuple of str
    user, item : int
        Places in the snapshot; -1 is unseen.

    Returns
    -------
    tuple of PastItems
        One a signal whose factors know both sides.

    """
    pair = np.array([user], np.int32), np.array([item], np.int32)
    warm = [signal for signal in signals if snapshot.factors[signal].is_warm(*pair)[0]]
    known = known_before(log.exposures, snapshot.cut, log.settle)
    require_columns(known, snapshot.outcomes, "the log")
    users, items = (snapshot.entities[kind].index.codes(known[kind]) for kind in (USER, ITEM))
    own = users == user
    row, shape = np.zeros(int(own.sum()), np.int32), (1, len(snapshot.entities[ITEM].index))
    found = []
    for signal, strength in signal_strengths(known, snapshot.outcomes[1:]).items():
        if signal in warm:
            past = interactions(row, items[own], strength[own], shape)
            served = float(snapshot.factors[signal].scores(*pair)[0])
            found.append(_split_score(snapshot, signal, past, item, served))
    return tuple(found)


def _split_score(snapshot: Snapshot, signal: str, past: UserItems, item: int, served: float) -> PastItems:
    weights = weigh_past_items(
        snapshot.factors[signal].item_factors.astype(np.float64),
        past.indices,
        confidences(past, snapshot.als.alpha).data.astype(np.float64),
        snapshot.als.regularization,
        item,
    )
    items = pl.DataFrame(
        {
            ITEM: snapshot.entities[ITEM].index.ids.gather(past.indices),
            "strength": past.data.astype(np.float64),
            "score": weights,
        }
    )
    heaviest = items.sort(pl.col("score").abs(), descending=True, maintain_order=True)
    return PastItems(signal, served, float(weights.sum()), heaviest)


def weigh_past_items(
    item_factors: NDArray[np.float64],
    past: NDArray[np.int32],
    confidence: NDArray[np.float64],
    regularization: float,
    item: int,
) -> NDArray[np.float64]:
    """Split an implicit-feedback score into what each past item adds.

    Parameters
    ----------
    item_factors : ndarray of float64, shape (n_items, f)
    past : ndarray of int, shape (m,)
        The user's items.
    confidence : ndarray of float64, shape (m,)
        Of each, above 1.
    regularization : float
    item : int
        The one that is scored.

    Returns
    -------
    ndarray of float64, shape (m,)
        ``c_j y_j' (Y'Y + Y_u' diag(c - 1) Y_u + regularization I)^-1 y_item``; they sum to the score of the
        user whose factors solve the normal equations.

    References
    ----------
    Hu, Koren and Volinsky (2008), section 5, doi 10.1109/ICDM.2008.22.

    """
    own = item_factors[past]
    with one_blas_thread():
        normal = item_factors.T @ item_factors + (own.T * (confidence - 1)) @ own
        normal += regularization * np.eye(item_factors.shape[1])
        return np.asarray(confidence * (own @ np.linalg.solve(normal, item_factors[item])))
