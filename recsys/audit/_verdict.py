"""Lifts and controls -> what may be said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recsys.audit._result import Lift, Verdict
from recsys.inference import SeededDifference

#: Under which share of likes moved a placebo says too little for "redundant".
LEAST_MOVED = 0.25
#: What a one-sided test at 5 % finds in four of five cases, in standard errors.
_DETECTABLE = 2.49
_TAIL = 0.05
_FLAGS = ("adds_signal", "materially", "redundant", "harms")


@dataclass(frozen=True)
class Moved:
    """Shares of the likes that placebos moved, by what they keep."""

    habit: float
    habit_crowd: float


def judge(
    lifts: Sequence[Lift],
    margin: float,
    given: str,
    *,
    planted_found: bool,
    moved: Moved,
    past_likes: int,
) -> Verdict:
    """Say what holds of the primary outcome under every head.

    Parameters
    ----------
    lifts : sequence of Lift
        Of the primary outcome, one a head.
    margin : float
        In shares of entropy.
    given : str
        What placebos hold fixed.
    planted_found : bool
        Whether likes that know the future were told from placebos.
    moved : Moved
    past_likes : int
        Known before the test window.

    Returns
    -------
    Verdict

    Notes
    -----
    Bounds are one-sided 95 %. Adds signal: lower > 0; materially: lower > margin; redundant: upper < margin, the
    planted positive found, and a quarter of the likes moved; harms: upper < 0; each
    under every head. Negligible: adds signal and redundant; inconclusive: none of adds signal, redundant and harms.
    Minimum detectable effect ``MDE = 2.49 SE``, SE the largest of the heads'; likes needed
    ``past_likes (MDE / margin)^2``, rounded up.
    Taste is held against the placebo that keeps crowds too, which must have moved as many.

    """
    may_be_redundant = planted_found and moved.habit >= LEAST_MOVED
    by_head = {one.head: _flags(one.value, margin, may_be_redundant) for one in lifts}
    holds = _all(by_head.values())
    least_sure = max(one.value.standard_error for one in lifts)
    detectable = _DETECTABLE * least_sure
    needed = math.ceil(past_likes * (detectable / margin) ** 2) if detectable > margin else None
    taste = None
    if given == "dwell":
        taste_may_be = planted_found and moved.habit_crowd >= LEAST_MOVED
        taste = _all([_flags(one.pieces["taste"], margin, taste_may_be) for one in lifts])
    return Verdict(
        outcome=lifts[0].outcome,
        margin=margin,
        given=given,
        by_head=by_head,
        adds_signal=holds["adds_signal"],
        materially=holds["materially"],
        redundant=holds["redundant"],
        harms=holds["harms"],
        negligible=holds["adds_signal"] and holds["redundant"],
        inconclusive=not (holds["adds_signal"] or holds["redundant"] or holds["harms"]),
        taste=taste,
        minimum_detectable_effect=detectable,
        likes_needed=needed,
    )


def _flags(found: SeededDifference, margin: float, may_be_redundant: bool) -> dict[str, bool]:
    lower, upper = found.bound(_TAIL), found.bound(1 - _TAIL)
    flags = (lower > 0, lower > margin, may_be_redundant and upper < margin, upper < 0)
    return dict(zip(_FLAGS, flags, strict=True))


def _all(found: Iterable[dict[str, bool]]) -> dict[str, bool]:
    flags = list(found)
    return {name: all(one[name] for one in flags) for name in _FLAGS}


def put_in_sentences(
    verdict: Verdict, lifts: Sequence[Lift], moved: Moved, planted_found: bool
) -> tuple[str, ...]:
    """Write every sentence that holds.

    Parameters
    ----------
    verdict : Verdict
    lifts : sequence of Lift
        Of the primary outcome, one a head.
    moved : Moved
    planted_found : bool

    Returns
    -------
    tuple of str

    """
    said = [*_say_verdict(verdict), *(_say_lift(one) for one in lifts)]
    if verdict.inconclusive:
        said.append(_say_what_it_takes(verdict))
    if moved.habit < LEAST_MOVED:
        said.append(
            f"The placebo barely moves ({100 * moved.habit:.0f} % of the likes): the lift is understated, and nothing "
            "can be called redundant."
        )
    if not planted_found:
        said.append(
            "Likes that know the future were not told from placebos: nothing can be called redundant."
        )
    if verdict.given != "dwell":
        said.append(
            f"These figures are given {verdict.given}: whether likes carry taste beyond dwell is not estimable here."
        )
    elif verdict.taste is not None:
        said += _say_taste(verdict.taste, moved.habit_crowd)
    return tuple(said)


def _say_verdict(verdict: Verdict) -> list[str]:
    what = f"predicting {verdict.outcome!r}"
    if verdict.inconclusive:
        return [
            f"Inconclusive: this log cannot say whether past likes help in {what} beyond behaviour and habit."
        ]
    points = f"{100 * verdict.margin:g} NE points"
    said = []
    if verdict.negligible:
        said.append(f"Detectable but negligible: past likes help in {what}, by less than {points}.")
    elif verdict.adds_signal:
        how = "adds signal materially" if verdict.materially else "adds signal"
        beyond = f", by more than {points}" if verdict.materially else ""
        said.append(f"The like button {how}: past likes help in {what} beyond behaviour and habit{beyond}.")
    elif verdict.redundant:
        said.append(
            f"Redundant within the margin: past likes help in {what} by less than {points}, if at all."
        )
    if verdict.harms:
        said.append(f"Past likes do harm in {what}: models that read placebos in their place are better.")
    return said


def _say_lift(one: Lift) -> str:
    ends = one.value.interval
    between = f"95 % interval {100 * ends.low:.2f} to {100 * ends.high:.2f}"
    return (
        f"Under the {one.head} head the lift is {100 * one.value.value:.2f} NE points "
        f"({'no interval' if math.isnan(ends.low) else between}), over likes drawn anew within each user."
    )


def _say_what_it_takes(verdict: Verdict) -> str:
    if math.isnan(verdict.minimum_detectable_effect):
        return (
            "One user's rows are scored: how sure the lift is cannot be said. It takes a log of more users."
        )
    if not verdict.minimum_detectable_effect:
        return "No likes change a forecast: the heads found nothing to learn from in this log."
    effect = f"{100 * verdict.minimum_detectable_effect:.2g} NE points"
    if verdict.likes_needed is None:
        return f"The smallest effect that this log would show in four of five cases is {effect}."
    return (
        f"The smallest effect that this log would show in four of five cases is {effect}; to see "
        f"{100 * verdict.margin:g}, a log like it needs about {_round(verdict.likes_needed):,} past likes."
    )


def _say_taste(taste: dict[str, bool], moved: float) -> list[str]:
    what = "the taste piece alone, who liked what beyond habit and crowd,"
    holds = {
        "adds_signal": "adds signal",
        "harms": "harms",
        "redundant": "is redundant within the margin",
    }
    sure = next((words for name, words in holds.items() if taste[name]), None)
    said = [f"T{what[1:]} {sure}." if sure else f"Whether {what} adds anything is inconclusive."]
    if moved < LEAST_MOVED:
        said.append(
            f"The placebo that keeps the crowd too barely moves ({100 * moved:.0f} % of the likes): the crowd piece "
            "may hold taste, and the taste piece is understated."
        )
    return said


def _round(number: int) -> int:
    digits = max(0, len(str(number)) - 2)
    return round(number, -digits)
