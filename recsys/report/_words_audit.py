"""What the page of the audit says in words."""

from __future__ import annotations

import math
from collections.abc import Iterable

from recsys.audit import Audit, Lift, Missing, PlaceboCheck
from recsys.inference import Estimate
from recsys.report._format import UNKNOWN, format_probability, format_share, format_short
from recsys.report._names_audit import lifts_of, name_placebo
from recsys.report._words import name_kind

_BARELY_MOVED = 0.25
#: In the order of a decision: what holds, and how it is said of the primary outcome.
_HOLDS = {
    "adds_signal": "past likes add signal",
    "redundant": "past likes are redundant within the margin",
    "negligible": "what they add is detectable but negligible",
    "harms": "past likes harm the prediction",
    "inconclusive": "the result is inconclusive",
}
CANNOT_CLAIM = (
    "What would happen if the button were shown, hidden or removed. Nobody's button was changed in this log.",
    "That likes cause anything, or that anything here causes a like.",
    "That people would watch as long as they do if there were no button: dwell is taken as it is.",
    "What a like means to the person who pressed it. A like stands in for something, as dwell does.",
    "Anything about exposures that the logging policy did not make. Its propensities are not known, and weighting by "
    "guessed ones would only decorate the figures.",
    "That what is not explained cannot be predicted: an explained share is what these models reach, and others may "
    "reach more.",
)


def headline_audit(audit: Audit) -> str:
    """Say the verdict in one sentence: the audit's own, or what its marks say.

    Parameters
    ----------
    audit : Audit

    Returns
    -------
    str

    """
    verdict = audit.verdict
    if verdict.sentences:
        return verdict.sentences[0]
    holds = [said for name, said in _HOLDS.items() if getattr(verdict, name)]
    return f"On {verdict.outcome}, {'; '.join(holds) or _HOLDS['inconclusive']}."


def sentences_to_repeat(audit: Audit) -> list[str]:
    """Say the three results that a person can repeat.

    Parameters
    ----------
    audit : Audit

    Returns
    -------
    list of str
        What was known before the press; what past likes add; how many exposures one is worth.

    """
    return [_say_known(audit), _say_lift(audit), _say_worth(audit)]


def explained(audit: Audit, rung: str) -> Estimate:
    """Find the explained share of a rung; not estimable where there is no such rung."""
    unknown = Estimate(math.nan, math.nan, math.nan)
    return next((one.explained for one in audit.known.ladder if one.name == rung), unknown)


def _say_known(audit: Audit) -> str:
    before, after = explained(audit, "R1"), explained(audit, "R4")
    if not math.isfinite(before.value):
        return "How much of a like was known before the press is not estimable from this log."
    gone = "of the uncertainty about a like was gone before the person saw the item"
    alone = "without ever having seen them like anything"
    said = f"{_percent(before)} {gone}, {alone}"
    if before.value <= 0:
        said = f"None {gone}, {alone} (the explained share is {_percent(before)})"
    if math.isfinite(after.value):
        said += f"; with all past likes, theirs and everybody else's, {_percent(after)}"
    return f"{said}.{_say_bits(audit)}"


def _say_bits(audit: Audit) -> str:
    whole, left = audit.known.bits_of_a_press, audit.known.bits_left
    if not math.isfinite(whole) or not math.isfinite(left.get("R1", math.nan)):
        return ""
    after = left.get("R4", math.nan)
    also = f", and {after:.2f} to someone who knows all past likes, too" if math.isfinite(after) else ""
    return (
        f" In bits: a press tells {whole:.2f} to someone who knows only the like rate, {left['R1']:.2f} to someone "
        f"who knows the behaviour before it{also}."
    )


def _say_lift(audit: Audit) -> str:
    lifts = lifts_of(audit, audit.verdict.outcome)
    known = [one for one in lifts if math.isfinite(one.value.value)]
    if not known:
        return f"What past likes add to the prediction of {audit.verdict.outcome} is not estimable from this log."
    first, pieces = known[0].head, _say_pieces(known[0])
    heads = "; ".join(f"{_points(one.value.interval)} under {one.head}" for one in known)
    return (
        f"The like lift on {audit.verdict.outcome}, over placebo likes that keep every user's count and how presses "
        f"follow {_kept(audit)}, is {heads}. In NE points, its pieces under {first} are {pieces}."
    )


def _kept(audit: Audit) -> str:
    given = audit.verdict.given
    return given if given == "dwell" else f"what stands for dwell (given {given})"


def _say_pieces(lift: Lift) -> str:
    """Tell the lift (crowd and taste) from habit, which the placebo keeps."""
    said = {}
    for name in ("habit", "crowd", "taste"):
        value = lift.pieces[name].value if name in lift.pieces else math.nan
        said[name] = f"{name} {100 * value:+.2f}" if math.isfinite(value) else f"{name} {UNKNOWN}"
    return (
        f"{said['crowd']} and {said['taste']}, which are the lift, and {said['habit']}, which it leaves out"
    )


def _say_worth(audit: Audit) -> str:
    found, outcome = audit.exchange, audit.verdict.outcome
    if found is None:
        return "How many exposures do the work of one like is not estimable from this log: there is no exchange curve."
    rate = found.exposures_per_like
    if rate is None or not math.isfinite(rate.value):
        why = f": {found.why.rstrip('.')}" if found.why else ""
        return f"How many exposures do the work of one like is not estimable{why}."
    many = _with_interval(f"{rate.value:.1f}", rate, 1, "")
    return f"To predict {outcome}, one like does the work of {many} exposures."


def say_verdict(audit: Audit) -> list[str]:
    """Say what stands around the verdict: what else holds, what could have been seen, what would decide.

    Parameters
    ----------
    audit : Audit

    Returns
    -------
    list of str

    """
    margin = 100 * audit.verdict.margin
    fixed = f"The margin, {margin:g} NE points, and the outcome were fixed before anything was scored."
    return [*audit.verdict.sentences[1:], fixed]


def say_controls(audit: Audit) -> str:
    """Count the controls that passed, and name the others."""
    if not audit.controls:
        return "No control was run: read nothing above as confirmed."
    failed = [_plain(one.name) for one in audit.controls if not one.passed]
    passed = len(audit.controls) - len(failed)
    also = f" Failed: {', '.join(failed)}." if failed else ""
    return f"{passed} of {len(audit.controls)} controls passed.{also}"


def say_placebos(placebos: Iterable[PlaceboCheck], given: str) -> list[str]:
    """Name the placebos that barely move.

    Parameters
    ----------
    placebos : iterable of PlaceboCheck
    given : str
        As in the verdict.

    Returns
    -------
    list of str
        One sentence each.

    """
    return [
        f"Where it keeps {name_placebo(one.kind, given).strip('+ *')}, the placebo barely moves: lift understated "
        f"({format_share(one.moved)} of the likes moved)."
        for one in placebos
        if one.moved < _BARELY_MOVED
    ]


def say_residual(audit: Audit) -> str:
    """Say whether a press informs what follows beyond dwell."""
    found = audit.residual
    if found is None or not math.isfinite(found.effect.value):
        return (
            "Not estimable from this log. It needs items shown at random, with dwell, and presses among them: where "
            "the policy chooses what is shown again, the test finds effects that are not there."
        )
    whose = {"creator_id": "of the same creator, ", "category": "of the same category, "}.get(found.link, "")
    between = _with_interval(f"{100 * found.effect.value:+.2f}", found.effect, 2, "", 100, sign=True)
    return (
        f"After a press, {audit.verdict.outcome} in later sessions, {whose}differs by {between} percentage points from "
        f"what all behaviour up to and including the exposure would have said (T = {format_short(found.statistic)}, "
        f"two-sided p {_equals(found.p_value)}; {found.exposures:,} randomly shown exposures, {found.presses:,} "
        f"presses, {found.users:,} users)."
    )


def say_doses(audit: Audit) -> list[str]:
    """Say which dose curves there are not."""
    kinds = {one.kind for one in audit.dose if math.isfinite(one.lift.value)}
    absent = {
        "first": "What a user's first likes are worth is not estimable from this log.",
        "share": "What a share of all likes is worth is not estimable from this log.",
    }
    return [said for kind, said in absent.items() if kind not in kinds]


def say_segments(audit: Audit) -> list[str]:
    """Name the segments that are marked, or say that there is none.

    Parameters
    ----------
    audit : Audit

    Returns
    -------
    list of str

    """
    found = audit.segments
    if found.is_empty():
        return ["There is no segment whose lift could be estimated."]
    marked = found.filter("marked").to_dicts()
    said = [f"{len(marked)} of {len(found)} segments are marked."]
    return said + [
        f"{name_kind(row['kind'])}, {row['segment']}: {100 * row['lift']:+.2f} NE points." for row in marked
    ]


def say_missing(missing: Iterable[Missing]) -> list[tuple[str, str, str]]:
    """Write each question, why it has no answer and what would give one, as sentences."""
    return [(one.question, f"{_capital(one.why)}.", f"Needs: {one.needs.rstrip('.')}.") for one in missing]


def _capital(said: str) -> str:
    return said[:1].upper() + said[1:].rstrip(".")


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _percent(share: Estimate) -> str:
    return _with_interval(f"{100 * share.value:.1f}", share, 1, " %", 100)


def _points(lift: Estimate) -> str:
    return _with_interval(f"{100 * lift.value:+.2f} NE points", lift, 2, "", 100, sign=True)


def _with_interval(
    said: str, figure: Estimate, digits: int, unit: str, scale: float = 1, sign: bool = False
) -> str:
    """Put the two-sided 95 % interval behind a figure; nothing where there is none."""
    if not (math.isfinite(figure.low) and math.isfinite(figure.high)):
        return f"{said}{unit}"
    low, high = (f"{scale * end:{'+' if sign else ''}.{digits}f}" for end in (figure.low, figure.high))
    return f"{said}{unit} ({low} to {high}{unit})"


def _equals(p_value: float) -> str:
    said = format_probability(p_value)
    return said if said.startswith("<") else f"= {said}"
