"""What an audit found, part by part."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from recsys.errors import UsageError, nearest
from recsys.inference import Estimate, SeededDifference

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
        """Find a rung by its name.

        Parameters
        ----------
        name : str

        Returns
        -------
        Rung

        Raises
        ------
        UsageError
            When the ladder has no such rung.

        """
        found = {rung.name: rung for rung in self.ladder}
        if name not in found:
            raise UsageError(f"the ladder has no rung {name!r}: {nearest(name, found)}")
        return found[name]


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
    head : str
    dose : float
        k, or the share.
    lift : Estimate
        On the same rows, in shares of entropy: `first` over none of these users' likes, `share` over behaviour only.
    users, likes : int
        Whose rows were scored; likes that were left.

    """

    kind: str
    head: str
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
    link : str
        What follows is counted on the same `creator_id` or `category`, or on `any` item.
    statistic, p_value : float
        Of the generalised covariance measure, two-sided.
    exposures, presses, users : int

    """

    effect: Estimate
    link: str
    statistic: float
    p_value: float
    exposures: int
    presses: int
    users: int
