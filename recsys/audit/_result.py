"""What an audit found."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import polars as pl

from recsys.inference import Estimate, SeededDifference
from recsys.split import Windows

#: Of what the lift consists, in the order in which the pieces telescope; placebos are named after what they keep.
PIECES = ("capacity", "dwell_echo", "habit", "crowd", "taste")
#: From the one that keeps least to the one that keeps most; the lift of the verdict is over `habit`.
PLACEBOS = ("global", "dwell", "habit", "habit_crowd")
PRIMARY_PLACEBO = "habit"


@dataclass(frozen=True)
class Missing:
    """What this log cannot answer.

    Attributes
    ----------
    question : str
        As a person would ask it.
    why : str
    needs : str
        The column, or how many more rows, that would answer it.

    """

    question: str
    why: str
    needs: str


@dataclass(frozen=True)
class Rung:
    """A rung of the ladder.

    Attributes
    ----------
    name : str
        R0 to R5, or R4°.
    inputs : str
        In words.
    explained : Estimate
        Share of the entropy of a like that is gone, ``1 - NE``; higher is better.
    increment : Estimate or None
        Beyond the rung below (R4°: beyond R4), paired on the same rows.

    """

    name: str
    inputs: str
    explained: Estimate
    increment: Estimate | None


@dataclass(frozen=True)
class KnownBefore:
    """How much of a like was known before the press.

    Attributes
    ----------
    ladder : tuple of Rung
    bits_of_a_press : float
        Mean ``-log2 pi`` over presses: what a press tells someone who knows the like rate only.
    bits_left : dict of str to float
        By rung: mean ``-log2 p`` over presses.

    """

    ladder: tuple[Rung, ...]
    bits_of_a_press: float
    bits_left: dict[str, float]

    def rung(self, name: str) -> Rung:
        """Find a rung by its name."""
        return next(rung for rung in self.ladder if rung.name == name)


@dataclass(frozen=True)
class Lift:
    """What past likes add to the prediction of one outcome by one head, in shares of its entropy.

    Attributes
    ----------
    outcome, head : str
    value : SeededDifference
        Over the mean habit placebo; above 0 likes help.
    bits_per_like : float
        ``value H(z) rows / past likes``, H(z) the entropy of the outcome in bits.
    by_placebo : dict of str to SeededDifference
        Over each of `PLACEBOS`.
    pieces : dict of str to SeededDifference
        Of `PIECES`; they add up to the difference between behaviour only and the real likes.
    rank_p : float
        ``(1 + #{placebo loss <= real}) / (R + 1)`` over the draws of the habit placebo.
    p_holm : float or None
        One-sided, after Holm over the secondary outcomes under the first head; None for the primary outcome, and
        under other heads.
    rows, events, users : int
        Scored exposures in which the outcome is known, how often it came about, whose.

    """

    outcome: str
    head: str
    value: SeededDifference
    bits_per_like: float
    by_placebo: dict[str, SeededDifference]
    pieces: dict[str, SeededDifference]
    rank_p: float
    p_holm: float | None
    rows: int
    events: int
    users: int


@dataclass(frozen=True)
class PlaceboCheck:
    """How a kind of placebo came out.

    Attributes
    ----------
    kind : str
    moved : float
        Mean share of the likes that stand elsewhere than in the log.
    overlap_halfway, overlap : float
        Share of the likes that two draws have in common, after half of the steps and after all: chains that have
        mixed no longer move apart.

    """

    kind: str
    moved: float
    overlap_halfway: float
    overlap: float


@dataclass(frozen=True)
class Control:
    """A check that the audit holds itself to.

    Attributes
    ----------
    name : str
    passed : bool
    stops : bool
        A failure stops the audit.
    said : str
        One sentence with its figures.

    """

    name: str
    passed: bool
    stops: bool
    said: str


@dataclass(frozen=True)
class Verdict:
    """What may be said, on the primary outcome, against the habit placebo.

    Attributes
    ----------
    outcome : str
    margin : float
        In shares of entropy, set before looking.
    given : str
        What placebos hold fixed: `dwell`; `flags, not dwell`; or `nothing`.
    by_head : dict of str to dict of str to bool
        What holds under each head: `adds_signal`, `materially`, `redundant`, `harms`.
    adds_signal, materially, redundant, negligible, harms, inconclusive : bool
        What holds under all heads.
    taste : dict of str to bool or None
        The same of the taste piece, the named second test; None where it is not estimable.
    minimum_detectable_effect : float
        At 80 % power: ``2.49 SE``, of the head that is less sure.
    likes_needed : int or None
        Past likes of a log like this one at which the margin could be detected; None where it already can be.
    sentences : tuple of str
        The first is the verdict; then what a person can repeat.

    """

    outcome: str
    margin: float
    given: str
    by_head: dict[str, dict[str, bool]]
    adds_signal: bool
    materially: bool
    redundant: bool
    negligible: bool
    harms: bool
    inconclusive: bool
    taste: dict[str, bool] | None
    minimum_detectable_effect: float
    likes_needed: int | None
    sentences: tuple[str, ...] = ()

    def with_sentences(self, sentences: tuple[str, ...]) -> Verdict:
        """Say it in words."""
        return replace(self, sentences=sentences)


@dataclass(frozen=True)
class Dose:
    """What a number of likes is worth, by one head, on the primary outcome.

    Attributes
    ----------
    kind : str
        `first`: the users' first k likes and no other of theirs; `share`: a random share of all likes.
    dose : float
        k, or the share.
    lift : Estimate
        On the same rows, in shares of entropy: `first` over none of these users' likes, `share` over behaviour only.
    users, likes : int
        Whose rows were scored; likes that were left.

    """

    kind: str
    dose: float
    lift: Estimate
    users: int
    likes: int


@dataclass(frozen=True)
class ExchangeRate:
    """How many exposures do the work of one like.

    Attributes
    ----------
    exposures_per_like : Estimate or None
        ``(1 - f) N_exposures / N_likes``; None where the curve does not cross.
    why : str
        Why there is none; empty where there is.
    curve : polars.DataFrame
        One row a share of the behaviour: `share`, `with_likes` (NE with all likes), and `without_likes` (NE of all
        behaviour, no likes), the same in every row.

    """

    exposures_per_like: Estimate | None
    why: str
    curve: pl.DataFrame


@dataclass(frozen=True)
class ResidualPress:
    """Whether a press informs what follows beyond dwell, on randomly exposed items.

    Attributes
    ----------
    effect : Estimate
        Difference of the rate of the outcome after a press, all behaviour up to and including the exposure held
        fixed; in shares (0.01 is one percentage point).
    statistic, p_value : float
        Of the generalised covariance measure, two-sided.
    exposures, presses, users : int

    """

    effect: Estimate
    statistic: float
    p_value: float
    exposures: int
    presses: int
    users: int


@dataclass(frozen=True)
class Audit:
    """The like-button audit of one log.

    Attributes
    ----------
    verdict : Verdict
    known : KnownBefore
    lifts : tuple of Lift
        The primary outcome first, then the likes to come, then the other declared outcomes; heads within.
    placebos : tuple of PlaceboCheck
    exchange : ExchangeRate or None
    dose : tuple of Dose
    residual : ResidualPress or None
    segments : polars.DataFrame
        Exploratory: one row a `kind` and `segment` with `exposures`, `users`, `lift`, `low`, `high`, `shrunk`,
        `p_value`, `marked`; of the primary outcome, first head.
    controls : tuple of Control
    missing : tuple of Missing
    windows : Windows
    rows : dict of str to int
        `known`, `past_likes`, `likes_without_view` (left out), `learned_from`, `scored`, `scored_likes`, `users`.
    settings : dict
        Everything that was fixed before scoring, as plain values.
    settings_sha256 : str
    losses : polars.DataFrame
        One row a scored exposure: ids, time, `liked`, the primary outcome, and mean losses of each arm under each head.

    """

    verdict: Verdict
    known: KnownBefore
    lifts: tuple[Lift, ...]
    placebos: tuple[PlaceboCheck, ...]
    exchange: ExchangeRate | None
    dose: tuple[Dose, ...]
    residual: ResidualPress | None
    segments: pl.DataFrame
    controls: tuple[Control, ...]
    missing: tuple[Missing, ...]
    windows: Windows
    rows: dict[str, int]
    settings: dict[str, Any]
    settings_sha256: str
    losses: pl.DataFrame

    def lift(self, outcome: str, head: str) -> Lift:
        """Find the lift of an outcome under a head."""
        return next(one for one in self.lifts if (one.outcome, one.head) == (outcome, head))

    def as_dict(self) -> dict[str, Any]:
        """Give what `audit.json` holds: plain fractions, null where something cannot be estimated."""
        known = self.known
        found = {
            "verdict": {**asdict(self.verdict), "sentences": list(self.verdict.sentences)},
            "known_before_press": {
                **known.rung("R1").explained.as_dict(),
                "ladder": [_rung_dict(rung) for rung in known.ladder],
                "bits_of_a_press": known.bits_of_a_press,
                "bits_left": known.bits_left,
            },
            "like_lift": self._lift_dicts(),
            "placebos": [asdict(one) for one in self.placebos],
            "exchange_rate": None if self.exchange is None else _exchange_dict(self.exchange),
            "dose": [{**asdict(one), "lift": one.lift.as_dict()} for one in self.dose],
            "residual_press": None
            if self.residual is None
            else {**asdict(self.residual), "effect": self.residual.effect.as_dict()},
            "segments": self.segments.to_dicts(),
            "controls": {
                one.name: {"passed": one.passed, "stops": one.stops, "said": one.said}
                for one in self.controls
            },
            "not_estimable": [asdict(one) for one in self.missing],
            "windows": {name: _window_dict(window) for name, window in vars(self.windows).items()},
            "rows": self.rows,
            "settings": self.settings,
            "settings_sha256": self.settings_sha256,
        }
        return {name: _finite(one) for name, one in found.items()}

    def _lift_dicts(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for one in self.lifts:
            found.setdefault(one.outcome, {})[one.head] = {
                **one.value.as_dict(),
                "bits_per_like": one.bits_per_like,
                "by_placebo": {name: each.as_dict() for name, each in one.by_placebo.items()},
                "pieces": {name: each.as_dict() for name, each in one.pieces.items()},
                "rank_p": one.rank_p,
                "p_holm": one.p_holm,
                "rows": one.rows,
                "events": one.events,
                "users": one.users,
            }
        return found


def _finite(value: Any) -> Any:
    """Turn what JSON cannot hold, NaN and infinity, into None, however deep."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rung_dict(rung: Rung) -> dict[str, Any]:
    increment = None if rung.increment is None else rung.increment.as_dict()
    return {"rung": rung.name, "inputs": rung.inputs, **rung.explained.as_dict(), "increment": increment}


def _exchange_dict(found: ExchangeRate) -> dict[str, Any]:
    rate = None if found.exposures_per_like is None else found.exposures_per_like.as_dict()
    return {"exposures_per_like": rate, "why": found.why, "curve": found.curve.to_dicts()}


def _window_dict(window: Any) -> dict[str, str]:
    ends = {"known_before": window.cut, "from": window.start, "until": window.end}
    return {name: instant.isoformat() for name, instant in ends.items()}
