"""Differences of losses whose models were drawn too, and the verdict that they carry."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import t as student

from recsys.audit import PIECES, PLACEBOS, Lift
from recsys.audit._audit import _say_missing
from recsys.audit._controls import check_placebos_alike, check_real_not_worse
from recsys.audit._dwell import Given
from recsys.audit._lift import Scored
from recsys.audit._verdict import Moved, judge, put_in_sentences
from recsys.inference import (
    SeededDifference,
    adjust_holm,
    between_seeds,
    seeded_difference,
    two_way_standard_error,
)


def draw(
    seed: int, k: int = 4, n: int = 900, between: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    users, items = rng.integers(60, size=n), rng.integers(25, size=n)
    shared = rng.gamma(2, size=n) + rng.normal(size=60)[users] / 4
    return shared + rng.normal(0, 0.3, size=(k, n)) + rng.normal(0, between, size=(k, 1)), users, items


def test_the_variance_is_that_of_the_formula() -> None:
    first, users, items = draw(1, between=0.2)
    second = draw(1, k=3, between=0.1)[0]
    found = seeded_difference(first, second, users, items, scale=2.0, realised=True)

    def between(losses: np.ndarray) -> tuple[float, float]:
        noise = [two_way_standard_error(a - b, users, items) ** 2 / 2 for a, b in combinations(losses, 2)]
        means = [row.mean() for row in losses]
        s2 = sum((mean - np.mean(means)) ** 2 for mean in means) / (len(means) - 1)
        return s2, max(0.0, s2 - np.mean(noise))

    (s_p, a_p), (s_r, a_r) = between(first), between(second)
    assert a_p > a_r > 0
    clustered = two_way_standard_error(first.mean(axis=0) - second.mean(axis=0), users, items) ** 2
    variance = clustered + a_p / 4 + a_r / 3 + (a_p - a_r)
    parts = [(clustered, 59), (s_p * (1 / 4 + 1), 3), (s_r * (1 / 3 - 1), 2)]
    freedom = max(2, variance**2 / sum(one**2 / free for one, free in parts))
    assert found.standard_error == pytest.approx(math.sqrt(variance) / 2)
    assert found.degrees_of_freedom == pytest.approx(freedom)
    assert found.value == pytest.approx((first.mean() - second.mean()) / 2)
    for tail in (0.025, 0.05, 0.999):
        assert found.bound(tail) == pytest.approx(
            found.value + found.standard_error * student.ppf(tail, freedom)
        )
    assert found.p_value == pytest.approx(student.sf(found.value / found.standard_error, freedom))


def test_without_the_realised_likes_there_is_no_term_for_their_draw() -> None:
    first, users, items = draw(2, between=0.3)
    second = draw(2, k=4)[0]
    plain, realised = (seeded_difference(first, second, users, items, realised=one) for one in (False, True))
    assert realised.standard_error > plain.standard_error
    assert between_seeds(second[:1], users, items) == 0.0


def test_rows_given_twice_do_not_narrow_the_interval() -> None:
    first, users, items = draw(3, between=0.2)
    second = draw(3, k=3)[0]
    once = seeded_difference(first, second, users, items)
    twice = seeded_difference(np.tile(first, 2), np.tile(second, 2), np.tile(users, 2), np.tile(items, 2))
    assert twice.standard_error == pytest.approx(once.standard_error)


def test_the_difference_covers_the_truth_when_seeds_and_users_are_drawn_again() -> None:
    """Two models of equal mean loss, whose seeds differ by more than the rows would make them."""
    covered = 0
    for seed in range(300):
        first, users, items = draw(seed, k=5, n=400, between=0.05)
        rng = np.random.default_rng(1000 + seed)
        second = first.mean(axis=0) + rng.normal(0, 0.3, size=(5, 400)) + rng.normal(0, 0.05, size=(5, 1))
        first = first + rng.normal(0, 0.05, size=(5, 1))
        ends = seeded_difference(first, second, users, items).interval
        covered += ends.low <= 0 <= ends.high
    assert 270 <= covered <= 298


def test_the_difference_covers_the_truth_when_placebo_draws_differ_more_than_seeds() -> None:
    """The real likes are one draw, a_p - a_r of the variance: five draws say little of how much that is."""
    missed, rows = 0, np.arange(80)
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        apart = rng.normal(0, 0.25, size=80)
        first = apart + rng.normal(0, 0.12, size=(5, 1)) + rng.normal(0, 0.5, size=(5, 80))
        realised = rng.normal(0, math.sqrt(0.12**2 - 0.06**2)) - apart
        second = realised + rng.normal(0, 0.06, size=(5, 1)) + rng.normal(0, 0.5, size=(5, 80))
        ends = seeded_difference(first, second, rows, rows, realised=True).interval
        missed += not ends.low <= 0 <= ends.high
    assert missed <= 75


def test_degrees_of_freedom_are_at_least_those_of_the_least_part() -> None:
    """With two seeds an s^2 that is mostly noise made 0.4 of one, and intervals of a thousand errors."""
    rows = np.arange(100)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        first, second = rng.normal(size=(2, 2, 100))
        assert seeded_difference(first, second, rows, rows, realised=True).degrees_of_freedom >= 1


def test_holm_steps_down_and_never_past_one() -> None:
    assert adjust_holm([0.01, 0.04, 0.03, 0.9]).tolist() == pytest.approx([0.04, 0.09, 0.09, 0.9])
    assert adjust_holm([0.6, 0.5]).tolist() == [1.0, 1.0]


def lift(head: str, value: float, error: float, taste: float = 0.0) -> Lift:
    found = SeededDifference(value, error, math.inf)
    piece = SeededDifference(taste, error, math.inf)
    return Lift(
        "long_view",
        head,
        found,
        0.0,
        dict.fromkeys(PLACEBOS, found),
        dict.fromkeys(PIECES, piece),
        1.0,
        None,
        1,
        1,
        1,
    )


DELTA = 0.001
MOVED = Moved(0.8, 0.8)
CASES = {
    "adds_signal": (0.004, 0.002, {"adds_signal"}),
    "materially": (0.004, 0.001, {"adds_signal", "materially"}),
    "redundant": (0.0, 0.0005, {"redundant"}),
    "negligible": (0.0005, 0.0002, {"adds_signal", "redundant", "negligible"}),
    "harms": (-0.003, 0.001, {"harms", "redundant"}),
    "inconclusive": (0.001, 0.001, {"inconclusive"}),
}
FLAGS = ("adds_signal", "materially", "redundant", "negligible", "harms", "inconclusive")


@pytest.mark.parametrize("name", CASES)
def test_every_verdict_holds_where_its_bounds_say_so(name: str) -> None:
    value, error, expected = CASES[name]
    lifts = [lift(head, value, error) for head in ("logistic", "gbm")]
    found = judge(lifts, DELTA, "dwell", planted_found=True, moved=MOVED, past_likes=1000)
    assert {flag for flag in FLAGS if getattr(found, flag)} == expected
    assert found.minimum_detectable_effect == pytest.approx(2.49 * error)
    said = " ".join(put_in_sentences(found, lifts, MOVED, True))
    assert ("Inconclusive" in said) == (name == "inconclusive")


@pytest.mark.parametrize("error", [0.0003, 0.0005, 0.002, 0.0071])
def test_the_likes_needed_are_the_fewest_that_bring_the_detectable_effect_to_the_margin(error: float) -> None:
    found = judge([lift("gbm", 0.0, error)], DELTA, "dwell", planted_found=True, moved=MOVED, past_likes=1000)

    def detectable(likes: int) -> float:
        return found.minimum_detectable_effect * math.sqrt(1000 / likes)

    if found.likes_needed is None:
        assert detectable(1000) <= DELTA
    else:
        assert detectable(found.likes_needed) <= DELTA < detectable(found.likes_needed - 1)


def test_where_heads_disagree_it_is_inconclusive() -> None:
    lifts = [lift("logistic", 0.004, 0.001), lift("gbm", 0.0, 0.001)]
    found = judge(lifts, DELTA, "dwell", planted_found=True, moved=MOVED, past_likes=1000)
    assert found.inconclusive
    assert found.by_head["logistic"]["adds_signal"]
    assert not found.by_head["gbm"]["adds_signal"]


@pytest.mark.parametrize(("planted", "moved"), [(False, 0.9), (True, 0.24)])
def test_nothing_is_redundant_unless_the_placebo_moves_and_the_planted_is_found(
    planted: bool, moved: float
) -> None:
    lifts = [lift("logistic", 0.0, 0.0002)]
    found = judge(lifts, DELTA, "dwell", planted_found=planted, moved=Moved(moved, moved), past_likes=1000)
    assert not found.redundant
    assert found.taste is not None
    assert not found.taste["redundant"]
    assert "nothing can be called redundant" in " ".join(
        put_in_sentences(found, lifts, Moved(moved, moved), planted)
    )


@pytest.mark.parametrize(("crowd", "redundant"), [(0.24, False), (0.26, True)])
def test_taste_is_not_redundant_where_the_placebo_that_keeps_the_crowd_barely_moves(
    crowd: float, redundant: bool
) -> None:
    """Items that few users share leave it no swap: it is then the real likes, and taste is nothing by construction."""
    lifts = [lift("logistic", 0.004, 0.001, taste=0.0)]
    lifts = [replace(lifts[0], pieces=dict.fromkeys(PIECES, SeededDifference(0.0, 1e-5, math.inf)))]
    moved = Moved(0.9, crowd)
    found = judge(lifts, DELTA, "dwell", planted_found=True, moved=moved, past_likes=1000)
    assert found.taste is not None
    assert found.taste["redundant"] == redundant
    said = " ".join(put_in_sentences(found, lifts, moved, True))
    assert ("the crowd piece may hold taste" in said) != redundant


def test_taste_is_the_second_test_and_needs_dwell() -> None:
    lifts = [lift("logistic", 0.0, 0.001, taste=0.004)]
    found = judge(lifts, DELTA, "dwell", planted_found=True, moved=MOVED, past_likes=1000)
    assert found.taste is not None
    assert found.taste["adds_signal"]
    flags = judge(lifts, DELTA, "flags, not dwell", planted_found=True, moved=MOVED, past_likes=1000)
    assert flags.taste is None
    assert "not estimable" in " ".join(put_in_sentences(flags, lifts, MOVED, True))


@pytest.mark.parametrize(("error", "said"), [(math.nan, "more users"), (0.0, "No likes change a forecast")])
def test_an_error_that_says_nothing_is_no_alarm_and_no_sensitivity(error: float, said: str) -> None:
    lifts = [lift("logistic", 0.0, error)]
    assert check_real_not_worse(lifts[0]).passed
    found = judge(lifts, DELTA, "dwell", planted_found=False, moved=MOVED, past_likes=1000)
    assert found.inconclusive
    sentences = " ".join(put_in_sentences(found, lifts, MOVED, False))
    assert said in sentences
    assert "nan" not in sentences
    assert "four of five cases" not in sentences


def test_two_draws_of_a_placebo_over_one_user_are_no_alarm() -> None:
    rng = np.random.default_rng(0)
    losses = {kind: rng.random((2, 60)) for kind in PLACEBOS}
    ones = np.ones(60, np.bool_)
    scored = Scored(
        "z",
        "logistic",
        ones,
        rng.random(60) < 0.5,
        np.zeros(60, np.int32),
        np.arange(60, dtype=np.int32),
        losses,
    )
    assert check_placebos_alike(scored).passed


@pytest.mark.parametrize(
    ("given", "signals", "asked"),
    [("dwell", (), 1), ("dwell", ("follow",), 0), ("nothing", (), 2), ("flags, not dwell", ("follow",), 1)],
)
def test_a_baseline_without_behaviour_is_said_to_be_none(
    given: str, signals: tuple[str, ...], asked: int
) -> None:
    """Dwell that placebos follow is not behaviour that the arm without likes reads."""
    found = _say_missing(Given(given, np.zeros(1)), signals, "follow")
    assert len(found) == asked
    assert any("beyond behaviour" in one.question for one in found) == (not signals)


def test_a_baseline_that_does_not_read_past_outcomes_is_said_to_be_weak() -> None:
    """On one log likes added 6.8 points to follows, and .5 where past follows were among the signals."""
    (found,) = _say_missing(Given("dwell", np.zeros(1)), ("long_view", "dwell_seconds"), "follow")
    assert "beyond past 'follow'" in found.question
    assert found.needs == "events.signals: 'follow'"
