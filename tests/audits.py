"""Audits made by hand: one in which everything could be estimated, and one in which little could."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl

from recsys.audit import (
    PIECES,
    PLACEBOS,
    Audit,
    Control,
    Dose,
    ExchangeRate,
    KnownBefore,
    Lift,
    Missing,
    PlaceboCheck,
    ResidualPress,
    Rung,
    Verdict,
)
from recsys.inference import Estimate, SeededDifference
from recsys.split import Window, Windows

AWKWARD = "<b>$x$</b>"
UNKNOWN = Estimate(math.nan, math.nan, math.nan)
UNSURE = SeededDifference(math.nan, math.nan, math.nan)
DAY = timedelta(days=1)
START = datetime(2026, 3, 1, tzinfo=UTC)
WINDOWS = Windows(
    calibrate=Window(START, START, START + 3 * DAY),
    test=Window(START + 3 * DAY, START + 3 * DAY, START + 6 * DAY),
)
ROWS = {
    "known": 1_234_567,
    "past_likes": 20_480,
    "likes_without_view": 31,
    "learned_from": 180_000,
    "scored": 96_500,
    "scored_likes": 1_640,
    "users": 7_321,
}


def around(value: float, half: float) -> Estimate:
    return Estimate(value, value - half, value + half)


def difference(value: float, error: float = 0.0008) -> SeededDifference:
    return SeededDifference(value, error, 12.5)


LADDER = (
    Rung("R0", "base rate", around(0.0, 0.0), None),
    Rung("R1", "behaviour only", around(0.0712, 0.006), around(0.0712, 0.006)),
    Rung("R2", "+ how often this user presses", around(0.1834, 0.008), around(0.1122, 0.005)),
    Rung("R3", "+ how often this item is liked", around(0.1815, 0.008), around(-0.0019, 0.0012)),
    Rung("R4", "+ who liked what", around(0.2105, 0.009), around(0.0290, 0.003)),
    Rung("R4°", "R4 with placebo likes", around(0.1802, 0.009), around(-0.0303, 0.003)),
    Rung("R5", "+ what happened in the same exposure", around(0.2961, 0.010), around(0.0856, 0.004)),
)


def lift(outcome: str, head: str, value: float, p_holm: float | None) -> Lift:
    """Make a lift whose pieces add up and whose placebos differ by them."""
    pieces = dict(zip(PIECES, (0.0002, 0.0011, 0.0040, 0.1 * value, 0.9 * value), strict=True))
    over = (value + 0.0051, value + 0.0040, value, 0.9 * value)
    return Lift(
        outcome=outcome,
        head=head,
        value=difference(value),
        bits_per_like=0.0173,
        by_placebo={name: difference(one) for name, one in zip(PLACEBOS, over, strict=True)},
        pieces={name: difference(one) for name, one in pieces.items()},
        rank_p=1 / 6,
        p_holm=p_holm,
        rows=96_500,
        events=30_122,
        users=7_321,
    )


LIFTS = (
    lift("long_view", "logistic", 0.0120, None),
    lift("long_view", "gbm", 0.0105, None),
    lift("liked", "logistic", 0.0316, 0.0004),
    lift("liked", "gbm", 0.0288, 0.0006),
    lift(AWKWARD, "logistic", 0.0003, 0.41),
    lift(AWKWARD, "gbm", -0.0004, 0.62),
)
HOLDS = {"adds_signal": True, "materially": True, "redundant": False, "harms": False}
VERDICT = Verdict(
    outcome="long_view",
    margin=0.001,
    given="dwell",
    by_head={"logistic": HOLDS, "gbm": HOLDS},
    adds_signal=True,
    materially=True,
    redundant=False,
    negligible=False,
    harms=False,
    inconclusive=False,
    taste=HOLDS,
    minimum_detectable_effect=0.00199,
    likes_needed=None,
    sentences=(
        "Likes add signal to the prediction of long_view, materially: under both heads.",
        "So it says.",
    ),
)
EXCHANGE = ExchangeRate(
    around(3.2, 1.1),
    "",
    pl.DataFrame(
        {
            "share": [0.5, 0.7, 0.8, 0.9, 1.0],
            "with_likes": [0.834, 0.829, 0.826, 0.824, 0.823],
            "without_likes": [0.828] * 5,
        }
    ),
)
DOSES = (
    *(
        Dose("first", "logistic", k, around(lift, 0.003), 900, int(900 * k))
        for k, lift in ((1, 0.001), (3, 0.003), (10, 0.006), (30, 0.009))
    ),
    *(
        Dose("share", "logistic", share, around(0.012 * share, 0.002), 7_321, int(20_480 * share))
        for share in (0.1, 0.25, 0.5, 1.0)
    ),
)
SEGMENTS = pl.DataFrame(
    [
        (
            "activity",
            f"tenth {number}",
            9_650,
            732,
            0.004 * number,
            -0.002,
            0.004 * number + 0.01,
            0.003 * number,
        )
        for number in range(1, 6)
    ]
    + [
        ("warmth", "warm", 90_000, 7_000, 0.013, 0.010, 0.016, 0.0128),
        ("warmth", "cold item", 6_500, 2_000, 0.001, -0.01, 0.012, 0.002),
        ("group_cohort", AWKWARD, 50_000, 3_000, 0.013, 0.010, 0.016, 0.0128),
        ("group_cohort", "a", 46_500, 4_321, 0.011, None, None, 0.0115),
        ("group_app", "only", 96_500, 7_321, 0.012, 0.010, 0.014, 0.012),
    ],
    schema=["kind", "segment", "exposures", "users", "lift", "low", "high", "shrunk"],
    orient="row",
).with_columns(p_value=0.04, marked=pl.col("segment") == "warm")
CONTROLS = (
    Control(
        "cut_invariance",
        True,
        True,
        "4 features of both arms are byte-identical without the rows after the cut.",
    ),
    Control(
        "planted_positive", True, False, "A planted lift of 0.50 NE points was found: 0.47 (0.31 to 0.63)."
    ),
    Control("a_a", False, True, f"Two placebo draws differ on {AWKWARD} by 0.31 NE points at 99.9 %."),
)
MISSING = (
    Missing(f"What of {AWKWARD} after a year?", "the log ends first", "a log of a year"),
    Missing("Which likes would have been pressed?", "they were not", "an experiment"),
)
COMPLETE = Audit(
    verdict=VERDICT,
    known=KnownBefore(
        LADDER, 5.88, {"R0": 5.88, "R1": 5.12, "R2": 4.31, "R3": 4.33, "R4": 4.08, "R4°": 4.34, "R5": 3.62}
    ),
    lifts=LIFTS,
    placebos=(
        PlaceboCheck("global", 0.98, 0.02, 0.02),
        PlaceboCheck("dwell", 0.91, 0.09, 0.09),
        PlaceboCheck("habit", 0.74, 0.27, 0.26),
        PlaceboCheck("habit_crowd", 0.19, 0.84, 0.81),
    ),
    exchange=EXCHANGE,
    dose=DOSES,
    residual=ResidualPress(around(0.0132, 0.0050), "creator_id", 5.17, 2.3e-7, 41_000, 690, 5_100),
    segments=SEGMENTS,
    controls=CONTROLS,
    missing=MISSING,
    windows=WINDOWS,
    rows=ROWS,
    settings={
        "primary_outcome": "long_view",
        "margin": 0.001,
        "seeds": 5,
        "note": AWKWARD,
        "als": {"factors": 64},
    },
    settings_sha256="ab" * 32,
    losses=pl.DataFrame({"user_id": [1], "liked": [True]}),
)
NOTHING = {"adds_signal": False, "materially": False, "redundant": False, "harms": False}
SPARSE = replace(
    COMPLETE,
    verdict=replace(
        VERDICT,
        given="flags, not dwell",
        by_head={"logistic": NOTHING, "gbm": NOTHING},
        adds_signal=False,
        materially=False,
        inconclusive=True,
        taste=None,
        minimum_detectable_effect=math.inf,
        likes_needed=48_000,
        sentences=(),
    ),
    known=KnownBefore(
        tuple(Rung(one.name, one.inputs, UNKNOWN, None) for one in LADDER[:5]),
        math.nan,
        {one.name: math.nan for one in LADDER[:5]},
    ),
    lifts=tuple(
        replace(
            one,
            value=UNSURE,
            bits_per_like=math.nan,
            by_placebo=dict.fromkeys(PLACEBOS, UNSURE),
            pieces=dict.fromkeys(PIECES, UNSURE),
            rank_p=math.nan,
            p_holm=None if one.p_holm is None else math.nan,
        )
        for one in LIFTS[:4]
    ),
    placebos=(PlaceboCheck("habit", math.nan, math.nan, math.nan),),
    exchange=None,
    dose=(),
    residual=None,
    segments=SEGMENTS.clear(),
    controls=(),
    missing=MISSING[:1],
    settings={},
)
