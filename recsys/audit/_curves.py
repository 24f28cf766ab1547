"""What more or fewer likes, and less behaviour, do to the forecast of the primary outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.audit._arms import Arm
from recsys.audit._lift import Scored, fall_in_shares
from recsys.audit._looks import Look, Material
from recsys.audit._result import Dose, ExchangeRate
from recsys.audit._rows import AuditRows
from recsys.audit._trial import BEHAVIOUR, REAL, Answers, Bench, run_arms
from recsys.inference import bootstrap_sums, percentile_interval, user_sums
from recsys.matrix import IdIndex
from recsys.metrics import log_losses
from recsys.schema import USER

FIRST_LIKES = (1, 3, 10, 30, 100)
LIKE_SHARES = (0.25, 0.5, 0.75)
BEHAVIOUR_SHARES = (0.25, 0.5, 0.75, 0.9)
_FEWEST_USERS = 100
_DRAWS = 1000


@dataclass(frozen=True)
class Curves:
    """Losses of the primary outcome, first head and first start, on the rows of a `Scored`.

    Attributes
    ----------
    by_first, by_share, by_behaviour : dict of float to ndarray of float64, shape (m,)
        In nats. By number of first likes, by share of all likes (0: behaviour only, since features of no likes at all
        would tell how much users were shown), by share of behaviour with all likes.
    dosed : ndarray of bool, shape (m,)
        Rows of the users whose first likes were counted.
    likes : dict of str to dict of float to int
        Likes left: of `first`, by number of first likes; of `share`, by share.

    """

    by_first: dict[float, NDArray[np.float64]]
    by_share: dict[float, NDArray[np.float64]]
    by_behaviour: dict[float, NDArray[np.float64]]
    dosed: NDArray[np.bool_]
    likes: dict[str, dict[float, int]]


def trace_curves(bench: Bench, scored: Scored) -> Curves:
    """Fit the arms that the curves are made of.

    Parameters
    ----------
    bench : Bench
    scored : Scored
        Of the primary outcome, first head.

    Returns
    -------
    Curves

    """
    rows = bench.rows
    first = count_first_likes(rows)
    firsts = [0, *(k for k in FIRST_LIKES if k <= first.most)] if first.most else []
    rng = np.random.default_rng(bench.plan.model.seed)
    luck_of_likes, luck_of_rows = rng.random(len(rows.known)), rng.random(len(rows.known))
    likes = {
        "first": {float(k): rows.liked & (~first.chosen[rows.users] | (first.order < k)) for k in firsts},
        "share": {share: rows.liked & (luck_of_likes < share) for share in LIKE_SHARES},
    }
    kept = {share: luck_of_rows < share for share in BEHAVIOUR_SHARES}
    losses = _fit_arms(bench, scored, likes, kept)
    real = scored.losses[REAL][0]
    users = IdIndex.of(rows.known[USER]).codes(rows.score[USER])[scored.known]
    return Curves(
        losses["first"],
        {0.0: scored.losses[BEHAVIOUR][0]} | losses["share"] | {1.0: real},
        losses[BEHAVIOUR] | {1.0: real},
        (users >= 0) & np.append(first.chosen, False)[users],
        {kind: {dose: int(one.sum()) for dose, one in found.items()} for kind, found in likes.items()},
    )


@dataclass(frozen=True)
class FirstLikes:
    """Each user's likes, numbered from the first on.

    Attributes
    ----------
    order : ndarray of int64, shape (n,)
        How many likes of the same user came before each row.
    chosen : ndarray of bool, shape (users,)
        Users with at least `most` likes; nobody where that is 0.
    most : int
        The largest dose that a hundred scored users reach; 0 where they reach none.

    """

    order: NDArray[np.int64]
    chosen: NDArray[np.bool_]
    most: int


def count_first_likes(rows: AuditRows) -> FirstLikes:
    """Number each user's likes, and choose the users whose first likes are counted.

    Parameters
    ----------
    rows : AuditRows

    Returns
    -------
    FirstLikes

    """
    table = pl.DataFrame({"user": rows.users, "liked": rows.liked})
    order = table.select((pl.col("liked").cum_sum() - pl.col("liked")).over("user"))["liked"].to_numpy()
    likes = np.bincount(rows.users, rows.liked)
    scored = IdIndex.of(rows.known[USER]).codes(rows.score[USER].unique())
    counts = likes[scored[scored >= 0]]
    most = max((k for k in FIRST_LIKES if (counts >= k).sum() >= _FEWEST_USERS), default=0)
    chosen = likes >= most if most else np.zeros(len(likes), np.bool_)
    return FirstLikes(order.astype(np.int64), chosen, most)


def _fit_arms(
    bench: Bench,
    scored: Scored,
    likes: Mapping[str, Mapping[float, NDArray[np.bool_]]],
    kept: Mapping[float, NDArray[np.bool_]],
) -> dict[str, dict[float, NDArray[np.float64]]]:
    name = f"{scored.outcome}/{scored.head}"
    arms = {Arm(f"{kind}-{dose:g}", 0, 0): (kind, dose) for kind, found in likes.items() for dose in found}
    arms |= {Arm(f"{BEHAVIOUR}-{share:g}", 0, 0): (BEHAVIOUR, share) for share in kept}

    def see(arm: Arm, material: Material) -> Look:
        kind, dose = arms[arm]
        if kind == BEHAVIOUR:
            return material.thin(kept[dose], bench.engine).look(bench.rows.liked, bench.engine)
        return material.look(likes[kind][dose], bench.engine)

    def examine(kind: str, look: Look) -> Answers:
        return {name: bench.questions[name].answer(look).forecast}

    answers = run_arms(bench, list(arms), see, examine)
    losses: dict[str, dict[float, NDArray[np.float64]]] = {"first": {}, "share": {}, BEHAVIOUR: {}}
    for arm, (kind, dose) in arms.items():
        forecast = answers[arm.name][name][: len(scored.known)][scored.known]
        losses[kind][dose] = log_losses(scored.labels, forecast)
    return losses


def measure_doses(scored: Scored, curves: Curves, past_likes: int) -> tuple[Dose, ...]:
    """Say what each number of likes is worth over none.

    Parameters
    ----------
    scored : Scored
    curves : Curves
    past_likes : int

    Returns
    -------
    tuple of Dose

    """
    likes = {"first": curves.likes["first"], "share": {**curves.likes["share"], 1.0: past_likes}}
    everyone = np.ones(len(scored.labels), np.bool_)
    found = []
    for kind, losses, whose in (
        ("first", curves.by_first, curves.dosed),
        ("share", curves.by_share, everyone),
    ):
        users, items = scored.users[whose], scored.items[whose]
        for dose in sorted(losses)[1:]:
            lift = fall_in_shares(losses[0.0][whose], losses[dose][whose], users, items, scored.entropy)
            found.append(Dose(kind, scored.head, dose, lift, len(np.unique(users)), likes[kind][dose]))
    return tuple(found)


def measure_exchange(
    scored: Scored, curves: Curves, exposures: int, past_likes: int, seed: int
) -> ExchangeRate:
    """Find how much behaviour all likes replace: how many exposures one like is worth.

    Parameters
    ----------
    scored : Scored
    curves : Curves
    exposures, past_likes : int
        Known before the test window.
    seed : int
        Of draws of users.

    Returns
    -------
    ExchangeRate

    Notes
    -----
    f with ``NE(f behaviour + all likes) = NE(all behaviour, no likes)`` by linear interpolation, from all behaviour
    down; a like is worth ``(1 - f) N_exposures / N_likes``. A draw of users whose curve crosses beyond its ends counts
    as the end, so that the interval ends there at the most.

    """
    shares = sorted(curves.by_behaviour)
    without = scored.losses[BEHAVIOUR][0]
    losses = [*(curves.by_behaviour[share] for share in shares), without]
    sums = user_sums(scored.users, np.column_stack([*losses, np.ones(len(without))]))
    total = sums.sum(axis=0)
    with_likes, without_likes, count = total[:-2], total[-2], total[-1]
    beyond = with_likes - without_likes
    curve = pl.DataFrame(
        {
            "share": shares,
            "with_likes": with_likes / count / scored.entropy,
            "without_likes": [float(without_likes / count / scored.entropy)] * len(shares),
        }
    )
    worth = exposures / past_likes
    crossing = cross_from_above(shares, beyond)
    if crossing is None:
        return ExchangeRate(None, _why_no_crossing(shares, beyond), curve)
    drawn = bootstrap_sums(sums, _DRAWS, seed)
    ends = [_censored(shares, one[:-2] - one[-2]) for one in drawn]
    rates = percentile_interval((1 - crossing) * worth, [(1 - end) * worth for end in ends], len(sums))
    return ExchangeRate(rates, "", curve)


def cross_from_above(shares: Sequence[float], beyond: NDArray[np.float64]) -> float | None:
    """Find the largest share at which a piecewise linear curve rises through 0 as behaviour shrinks.

    Parameters
    ----------
    shares : sequence of k float
        Ascending.
    beyond : ndarray of float64, shape (k,)
        Loss with likes less loss without.

    Returns
    -------
    float or None
        None where it starts at 0 or above, or never reaches 0.

    Examples
    --------
    >>> cross_from_above([0.5, 0.8, 1.0], np.array([3.0, 1.0, -1.0]))
    0.9

    """
    if beyond[-1] >= 0:
        return None
    for place in range(len(shares) - 1, 0, -1):
        low, high = beyond[place - 1], beyond[place]
        if low >= 0:
            return float(shares[place] - (shares[place] - shares[place - 1]) * high / (high - low))
    return None


def _why_no_crossing(shares: Sequence[float], beyond: NDArray[np.float64]) -> str:
    if beyond[-1] >= 0:
        return "all behaviour with likes forecasts no better than without"
    return f"likes with {shares[0]:g} of the behaviour still forecast better than all behaviour without likes"


def _censored(shares: Sequence[float], beyond: NDArray[np.float64]) -> float:
    found = cross_from_above(shares, beyond)
    if found is not None:
        return found
    return 1.0 if beyond[-1] >= 0 else shares[0]
