"""The simulator's laws: its truth is true, and a world answers for any pair."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.integrate import quad
from scipy.special import expit, logit
from scipy.stats import chi2, norm
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from threadpoolctl import threadpool_limits

from recsys.errors import InputError, UsageError
from recsys.metrics import log_losses, miscalibration, miscalibration_null_band
from recsys.simulation import EVENTS_SCHEMA, Simulation, World, simulate
from recsys.simulation._outcomes import Exposed, dwell_seconds, p_like_before, p_long_view_before

pytestmark = pytest.mark.slow

SIZE = {"exposures": 40_000, "users": 1_500, "items": 400, "seed": 3}
TINY = World.preset("small", exposures=2_000, users=80, items=40)
#: Every knob is turned, so that the truth must get all of them right at once.
TURNED = {
    "accidental_likes": 0.1,
    "herding": 0.4,
    "position_bias": 0.3,
    "nudge": 0.8,
    "drift": 0.1,
    "spliced_sessions": 0.15,
    "group_share": 0.3,
    "group_noise": 2.0,
    "policy_private": 1.0,
    "feedback": 0.5,
    "epsilon": 0.2,
    "fandoms": 0.3,
    "synthetic_likers": 0.1,
    "synthetic_pattern": "hijacked",
    "camouflage": 1.0,
    "synthetic_creators": 0.2,
    "dwell_noise": 1.3,
    "habit_spread": 1.5,
}
PAIR = {"user_id": [1], "item_id": [1]}
WORLDS = {
    "small": World.preset("small", **SIZE),
    "null": World.preset("null", **SIZE),
    "turned": World.preset("small", **SIZE, **TURNED),
}


@pytest.fixture(scope="module")
def made() -> dict[str, Simulation]:
    return {name: simulate(world) for name, world in WORLDS.items()}


def column(frame: pl.DataFrame, name: str) -> np.ndarray:
    return frame[name].to_numpy().astype(float)


# The truth is true.


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(
    ("outcome", "truth"),
    [("liked", "p_like_before"), ("liked", "p_like_given_dwell"), ("long_view", "p_long_view_before")],
)
def test_outcomes_happen_as_often_as_the_truth_says(world, outcome, truth, made):
    p, y = column(made[world].truth_exposures, truth), column(made[world].events, outcome)
    tenth = np.argsort(np.argsort(p)) * 10 // len(p)
    surplus = np.bincount(tenth, y - p)
    variance = np.bincount(tenth, p * (1 - p))
    assert surplus.sum() ** 2 / variance.sum() < chi2.ppf(0.999, 1)
    assert (surplus**2 / variance).sum() < chi2.ppf(0.999, 10)


@pytest.mark.parametrize("world", ["small", "null"])
@pytest.mark.parametrize("outcome", ["follow", "share", "hide"])
def test_what_follows_happens_as_often_as_pairs_say(world, outcome, made):
    p = column(made[world].truth.probabilities(made[world].events), f"p_{outcome}")
    y = column(made[world].events, outcome)
    assert (y - p).sum() ** 2 / (p * (1 - p)).sum() < chi2.ppf(0.999, 1)


@pytest.mark.parametrize("world", WORLDS)
def test_the_truth_is_calibrated(world, made):
    p, y = column(made[world].truth_exposures, "p_like_before"), made[world].events["liked"].to_numpy()
    band = miscalibration_null_band(p, draws=400, seed=1)
    assert miscalibration(y, p) < band.high
    wrong = expit(1.5 * logit(p))
    assert miscalibration(y, wrong) > miscalibration_null_band(wrong, draws=400, seed=1).high


def gain_over(p: np.ndarray, y: np.ndarray, known: np.ndarray, model: ClassifierMixin) -> float:
    """z of how much lower the log loss of a model is than that of `p`, on rows it did not see."""
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    found = cross_val_predict(model, known, y, cv=folds, method="predict_proba")[:, 1]
    gain = log_losses(y, p) - log_losses(y, found)
    return gain.mean() / gain.std() * len(gain) ** 0.5


def test_no_model_beats_the_truth():
    simulation = simulate(World.preset("small", exposures=100_000, users=1_500, items=500, seed=8))
    events, truth = simulation.events, simulation.truth_exposures
    y, p = events["liked"].to_numpy(), column(truth, "p_like_before")
    habit = simulation.truth.users["habit"].to_numpy()[events["user_id"].to_numpy() - 1]
    known = np.column_stack([logit(p), column(truth, "utility"), habit, column(events, "duration_seconds")])
    logistic = LogisticRegression(C=1e9, tol=1e-8, max_iter=1000)
    boosted = HistGradientBoostingClassifier(max_iter=40, learning_rate=0.08, random_state=0)
    with threadpool_limits(1):  # beside other work, OpenMP threads of a boosted model wait for each other
        assert gain_over(p, y, known, boosted) < 3
    assert gain_over(p, y, known, logistic) < 3
    assert gain_over(expit(0.92 * logit(p)), y, known, logistic) > 3


def likelihood_ratio_of_utility(simulation: Simulation) -> float:
    """Twice the log likelihood that utility adds to habit, dwell and display, for the press."""
    events, truth = simulation.events, simulation.truth_exposures
    habit = simulation.truth.users["habit"].to_numpy()[truth["acting_user_id"].to_numpy() - 1]
    known = np.column_stack(
        [
            habit,
            np.log1p(column(events, "dwell_seconds")),
            np.log1p(column(events, "likes_shown")),
            np.log(column(events, "position")),
            column(events, "is_nudged"),
        ]
    )
    known = known[:, known.std(axis=0) > 0]
    utility, y = column(truth, "utility"), events["liked"].to_numpy()

    def log_likelihood(x):
        p = LogisticRegression(C=1e9, tol=1e-8, max_iter=2000).fit(x, y).predict_proba(x)[:, 1]
        return np.log(np.where(y, p, 1 - p)).sum()

    return 2 * (log_likelihood(np.column_stack([known, utility])) - log_likelihood(known))


@pytest.mark.parametrize(
    "knobs",
    [
        {"name": "null"},
        {"name": "habit"},
        {"name": "crowd"},
        {"name": "feedback"},
        {"name": "null", "nudge": 1.0, "position_bias": 0.5, "policy_private": 2.0, "epsilon": 0.2},
        {"name": "null", "spliced_sessions": 0.3, "drift": 0.1, "group_share": 0.5, "group_noise": 3.0},
    ],
    ids=repr,
)
def test_a_null_press_tells_no_taste_beyond_dwell(knobs):
    assert likelihood_ratio_of_utility(simulate(World.preset(**SIZE, **knobs))) < chi2.ppf(0.999, 1)


def test_a_press_tells_taste_beyond_dwell_where_that_is_planted(made):
    assert likelihood_ratio_of_utility(made["small"]) > 100
    assert likelihood_ratio_of_utility(simulate(World.preset("null", **SIZE, beta_like=0.3))) > 20


@pytest.mark.parametrize("beta_dwell", [0.6, 3.0])
@pytest.mark.parametrize("dwell_noise", [0.05, 1.0, 3.0, 10.0])
def test_dwell_is_integrated_out(dwell_noise, beta_dwell):
    """By the trapezoidal rule, as by an adaptive quadrature of the formula."""
    rng, pairs = np.random.default_rng(0), 20
    utility, log_odds, duration = rng.normal(size=pairs), rng.normal(size=pairs), rng.uniform(5, 60, pairs)
    nobody = np.full(pairs, np.nan)
    exposed = Exposed(utility, duration, np.full(pairs, dwell_noise), log_odds, nobody)
    found = p_like_before(replace(TINY, dwell_noise=dwell_noise, beta_dwell=beta_dwell), -4.0, exposed)

    def integrand(draw, row):
        dwell = duration[row] * expit(utility[row] - 2 + dwell_noise * draw)
        return norm.pdf(draw) * expit(-4 + log_odds[row] + beta_dwell * np.log1p(dwell))

    for row in range(pairs):
        expected, _ = quad(integrand, -9, 9, args=(row,), epsabs=1e-12, epsrel=1e-10, limit=500)
        assert found[row] == pytest.approx(expected, rel=1e-6)


def usual_by_hand(simulation: Simulation, tick: int) -> float:
    """What herding takes for usual: the mean of ln(1 + likes) over published items, by popularity."""
    start = pl.lit(datetime(2026, 1, 5, tzinfo=UTC)) + pl.duration(hours=6 * tick)
    likes = (
        simulation.events.filter(pl.col("timestamp") < start).group_by("item_id").agg(pl.col("liked").sum())
    )
    published = simulation.truth.items.filter(pl.col("item_created_at") < start)
    shown = published.join(likes, on="item_id", how="left").with_columns(pl.col("liked").fill_null(0))
    weight = column(shown, "popularity")
    return (weight * np.log1p(column(shown, "liked"))).sum() / weight.sum()


def test_every_probability_follows_the_formula_of_the_world(made):
    """An oracle that reads the log, the tables of the truth and the docstring of World."""
    simulation = made["turned"]
    users, items = simulation.truth.users, simulation.truth.items
    rows = simulation.events.hstack(simulation.truth_exposures).filter(~pl.col("is_synthetic"))
    acting, item = rows["acting_user_id"].to_numpy() - 1, rows["item_id"].to_numpy() - 1
    day = (rows["timestamp"].dt.epoch("s") // 21_600).to_numpy() / 4
    angle = 0.1 * (day - day.min())[:, None]
    taste = users["taste"].to_numpy()[acting] * np.cos(angle)
    taste = taste + users["taste_later"].to_numpy()[acting] * np.sin(angle)
    utility = (taste * items["direction"].to_numpy()[item]).sum(axis=1) + items["quality"].to_numpy()[item]
    is_fan = users["fan_of"].fill_null(-1).to_numpy()[acting] == items["creator_id"].to_numpy()[item]
    # What is left is the mood: for one category in twelve, 1; and otherwise nothing.
    mood = column(rows, "utility") - utility - 2 * is_fan
    assert np.all((np.abs(mood) < 1e-4) | (np.abs(mood - 1) < 1e-4))
    assert mood[rows["is_random"].to_numpy()].mean() == pytest.approx(1 / 12, abs=0.015)
    tick = rows["timestamp"].dt.truncate("6h").rank("dense").to_numpy() - 1
    usual = np.array([usual_by_hand(simulation, now) for now in range(56)])[tick]
    log_odds = (
        simulation.truth.like_intercept
        + column(users, "habit")[acting]
        + 0.6 * np.log1p(column(rows, "dwell_seconds"))
        + 1.0 * column(rows, "utility")
        + 0.4 * (np.log(1 + column(rows, "likes_shown")) - usual)
        - 0.3 * np.log(column(rows, "position"))
        + 0.8 * column(rows, "is_nudged")
    )
    accident = 0.1 * 0.04
    np.testing.assert_allclose(
        accident + (1 - accident) * expit(log_odds), column(rows, "p_like_given_dwell"), rtol=2e-5
    )


def test_a_long_view_is_as_likely_as_a_draw_that_the_log_would_keep_as_half():
    """The draw from which on twice the recorded dwell reaches the duration, found by bisection."""
    rng, pairs = np.random.default_rng(1), 30
    utility, duration = rng.normal(2.0, 1.0, pairs), rng.integers(5, 61, pairs).astype(float)
    exposed = Exposed(utility, duration, np.full(pairs, 0.7), np.zeros(pairs), np.full(pairs, np.nan))
    low, high = np.full(pairs, -12.0), np.full(pairs, 12.0)
    for _ in range(60):
        middle = (low + high) / 2
        reached = 2 * dwell_seconds(exposed, middle) >= duration
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    np.testing.assert_allclose(p_long_view_before(exposed), norm.sf(high), rtol=1e-5)


def test_what_herding_takes_for_usual_is_kept_for_every_tick(made):
    for name in ("small", "turned"):
        by_hand = [usual_by_hand(made[name], tick) for tick in range(57)]
        np.testing.assert_allclose(made[name].truth.usual_likes, by_hand)


def test_likes_shown_are_those_before_the_refresh(made):
    events = made["turned"].events.with_columns(tick=pl.col("timestamp").dt.truncate("6h"))
    liked = events.group_by("item_id", "tick").agg(pl.col("liked").sum().cast(pl.Int32).alias("likes"))
    before = liked.sort("tick").with_columns(
        expected=pl.col("likes").cum_sum().over("item_id") - pl.col("likes")
    )
    rows = events.join(before, on=["item_id", "tick"], maintain_order="left")
    assert rows["likes_shown"].equals(rows["expected"].rename("likes_shown"))
    total = events.group_by("item_id").agg(pl.col("liked").sum()).sort("item_id")
    kept = made["turned"].truth.items.join(total, on="item_id")
    assert (kept["likes_shown"] == kept["liked"]).all()


# A world answers for any pair.


def test_the_world_answers_for_logged_pairs_as_the_log_does(made):
    simulation = made["small"]
    said = simulation.truth.probabilities(simulation.events)
    names = ["utility", "p_like_before", "p_long_view_before"]
    assert_frame_equal(said.select(names).cast(pl.Float32), simulation.truth_exposures.select(names))
    assert said["user_id"].equals(simulation.events["user_id"])


def test_the_display_of_a_pair_is_taken_into_account(made):
    """Away from moods, guests and orders, pairs with their display are what the log says they are."""
    world = World.preset("small", **SIZE, **{**TURNED, "policy_private": 0.0})
    simulation = simulate(world)
    rows = simulation.events.hstack(simulation.truth_exposures)
    own = rows.filter(~pl.col("is_spliced"), ~pl.col("is_synthetic"))
    said = simulation.truth.probabilities(own.select(*EVENTS_SCHEMA))
    assert_frame_equal(said.select("p_like_before").cast(pl.Float32), own.select("p_like_before"))
    blind = simulation.truth.probabilities(own.select("user_id", "item_id"))
    assert (blind["p_like_before"] - own["p_like_before"]).abs().mean() > 0.001


def test_a_pair_without_display_is_at_the_end_of_the_log(made):
    truth = made["turned"].truth
    pairs = pl.DataFrame({"user_id": [3, 700], "item_id": [400, 7]})
    shown = truth.items["likes_shown"].gather([399, 6])
    end = pl.datetime(2026, 1, 19, time_zone="UTC")
    same = pairs.with_columns(timestamp=end, position=1, likes_shown=shown, is_nudged=False)
    assert_frame_equal(truth.probabilities(pairs), truth.probabilities(same))
    later = truth.probabilities(same.with_columns(is_nudged=True))
    assert (later["p_like_before"] > truth.probabilities(pairs)["p_like_before"]).all()


def test_the_mood_of_a_pair_is_integrated_out(made):
    """Random exposures are in the mood for what they show one time in twelve, as the pair says."""
    simulation = simulate(World.preset("small", **SIZE, policy_private=3.0, epsilon=0.5))
    p = column(simulation.truth.probabilities(simulation.events), "p_like_before")
    random, y = column(simulation.events, "is_random") > 0, column(simulation.events, "liked")
    for rows, least, most in ((random, -3.3, 3.3), (~random, 6.0, np.inf)):
        z = (y - p)[rows].sum() / (p * (1 - p))[rows].sum() ** 0.5
        assert least < z < most


def test_a_world_with_herding_is_not_asked_about_another_time_than_its_likes(made):
    pairs = pl.DataFrame({**PAIR, "timestamp": [datetime(2026, 1, 7)]})
    with pytest.raises(UsageError, match="with timestamp, the table of pairs needs likes_shown too"):
        made["turned"].truth.probabilities(pairs)
    assert made["turned"].truth.probabilities(pairs.with_columns(likes_shown=3)).height == 1
    assert made["small"].truth.probabilities(pairs).height == 1


def test_a_synthetic_account_presses_by_order_whatever_its_taste():
    truth = simulate(World.preset("bots", **SIZE)).truth
    synthetic = truth.users.filter(pl.col("account") == "synthetic").select("user_id", "camouflage")
    both = synthetic.join(truth.items.select("item_id", "is_target"), how="cross")
    expected = pl.when("is_target").then(0.95).otherwise("camouflage").alias("p_like_before")
    said = truth.probabilities(both.select("user_id", "item_id"))
    assert_frame_equal(said.select("p_like_before"), both.select(expected))
    hijacked = simulate(World.preset("bots", **SIZE, synthetic_pattern="hijacked")).truth
    own = hijacked.probabilities(both.select("user_id", "item_id").head(500))["p_like_before"]
    assert own.n_unique() > 400


def test_pairs_in_pandas_are_answered_in_pandas(made):
    pairs = pl.DataFrame({"user_id": [1, 2], "item_id": [7, 7]})
    said = made["null"].truth.probabilities(pairs.to_pandas())
    assert_frame_equal(pl.from_pandas(said), made["null"].truth.probabilities(pairs))


@pytest.mark.parametrize(
    ("pairs", "error", "says"),
    [
        ({"user_id": [0], "item_id": [1]}, UsageError, "user_id runs from 1 to 1500 in this world, got 0"),
        ({"user_id": [1], "item_id": [401]}, UsageError, "item_id runs from 1 to 400 in this world, got 401"),
        ({"user_id": [None], "item_id": [1]}, UsageError, "user_id"),
        ({"user_id": [1.5], "item_id": [1]}, UsageError, "whole numbers"),
        ({"user_id": [1]}, InputError, "no column 'item_id'"),
        ({**PAIR, "position": [0]}, UsageError, "position must be a number of at least 1, .*, got 0"),
        (
            {**PAIR, "position": ["first"]},
            UsageError,
            "position must be a number of at least 1, .*, got 'first'",
        ),
        ({**PAIR, "likes_shown": [-1]}, UsageError, "likes_shown must be a number of at least 0, .*, got -1"),
        ({**PAIR, "is_nudged": [None]}, UsageError, "is_nudged must be a number of at least 0, .*, got None"),
        ({**PAIR, "timestamp": ["now"]}, UsageError, "timestamp must be known instants"),
        ({**PAIR, "timestamp": [17]}, UsageError, "timestamp must be known instants, .*, got Int64"),
        ({**PAIR, "timestamp": [datetime(1990, 1, 1)]}, UsageError, "must lie within the 14 days of the log"),
    ],
)
def test_pairs_that_cannot_be_are_refused(pairs, error, says, made):
    with pytest.raises(error, match=says):
        made["null"].truth.probabilities(pl.DataFrame(pairs))
