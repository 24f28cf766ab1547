"""The simulator's laws: its truth is true, and its log keeps its contract."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.special import expit, logit
from scipy.stats import chi2
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from recsys.errors import InputError, UsageError
from recsys.metrics import log_losses, miscalibration, miscalibration_null_band
from recsys.simulation import EVENTS_SCHEMA, TRUTH_SCHEMA, Simulation, World, simulate
from recsys.simulation._population import CATEGORIES
from recsys.simulation._press import Exposed, p_like_before

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
    assert miscalibration(y, p) < 1.2 * band.high
    wrong = expit(1.5 * logit(p))
    assert miscalibration(y, wrong) > 1.2 * miscalibration_null_band(wrong, draws=400, seed=1).high


def gain_over(p: np.ndarray, y: np.ndarray, known: np.ndarray, model: ClassifierMixin) -> float:
    """z of how much lower the log loss of a model is than that of `p`, on rows it did not see."""
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    found = cross_val_predict(model, known, y, cv=folds, method="predict_proba")[:, 1]
    gain = log_losses(y, p) - log_losses(y, found)
    return gain.mean() / gain.std() * len(gain) ** 0.5


def test_no_model_beats_the_truth():
    simulation = simulate(World.preset("small", exposures=200_000, users=3_000, items=500, seed=8))
    events, truth = simulation.events, simulation.truth_exposures
    y, p = events["liked"].to_numpy(), column(truth, "p_like_before")
    habit = simulation.truth.users["habit"].to_numpy()[events["user_id"].to_numpy() - 1]
    known = np.column_stack([logit(p), column(truth, "utility"), habit, column(events, "duration_seconds")])
    logistic = LogisticRegression(C=1e9, tol=1e-8, max_iter=1000)
    boosted = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.05, random_state=0)
    assert gain_over(p, y, known, logistic) < 3
    assert gain_over(p, y, known, boosted) < 3
    assert gain_over(expit(0.95 * logit(p)), y, known, logistic) > 3


def likelihood_ratio_of_utility(simulation: Simulation) -> float:
    """Twice the log likelihood that utility adds to habit and dwell, for the press."""
    habit = simulation.truth.users["habit"].to_numpy()[simulation.events["user_id"].to_numpy() - 1]
    known = np.column_stack([habit, np.log1p(simulation.events["dwell_seconds"].to_numpy())])
    utility = simulation.truth_exposures["utility"].to_numpy()
    y = simulation.events["liked"].to_numpy()

    def log_likelihood(x):
        p = LogisticRegression(C=1e9, tol=1e-8, max_iter=1000).fit(x, y).predict_proba(x)[:, 1]
        return np.log(np.where(y, p, 1 - p)).sum()

    return 2 * (log_likelihood(np.column_stack([known, utility])) - log_likelihood(known))


def test_a_press_tells_taste_beyond_dwell_only_when_that_is_planted(made):
    assert likelihood_ratio_of_utility(made["null"]) < chi2.ppf(0.999, 1)
    assert likelihood_ratio_of_utility(made["small"]) > 100
    assert likelihood_ratio_of_utility(simulate(World.preset("null", **SIZE, **{"beta_like": 0.3}))) > 20


@pytest.mark.parametrize("dwell_noise", [0.05, 1.0, 3.0, 10.0])
def test_quadrature_agrees_with_monte_carlo(dwell_noise):
    rng, pairs = np.random.default_rng(0), 40
    utility, habit, duration = rng.normal(size=pairs), rng.normal(size=pairs), rng.integers(5, 61, pairs)
    exposed = Exposed(
        utility=utility,
        duration=duration.astype(float),
        noise=np.full(pairs, dwell_noise),
        log_odds=habit + utility,
        by_order=np.full(pairs, np.nan),
    )
    watched = expit(utility - 2 + dwell_noise * rng.standard_normal((40_000, 1)))
    drawn = expit(-4 + habit + 0.6 * np.log1p((duration * watched).round(3)) + utility)
    world = replace(TINY, dwell_noise=dwell_noise)
    error = np.abs(drawn.mean(axis=0) - p_like_before(world, -4.0, exposed))
    assert np.all(error < 4.5 * drawn.std(axis=0) / 200 + 0.0005 * 0.6 * drawn.mean(axis=0))
    coarse, fine = (p_like_before(world, -4.0, exposed, refine) for refine in (1, 8))
    np.testing.assert_allclose(coarse, fine, rtol=1e-6)


def test_every_probability_follows_the_formula_of_the_world(made):
    """An oracle that reads the log, the tables of the truth and the docstring of World."""
    simulation, world = made["turned"], WORLDS["turned"]
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
    usual = 0.04 * world.exposures / world.items / 2
    log_odds = (
        simulation.truth.like_intercept
        + column(users, "habit")[acting]
        + 0.6 * np.log1p(column(rows, "dwell_seconds"))
        + 1.0 * column(rows, "utility")
        + 0.4 * np.log((1 + column(rows, "likes_shown")) / (1 + usual))
        - 0.3 * np.log(column(rows, "position"))
        + 0.8 * column(rows, "is_nudged")
    )
    accident = 0.1 * 0.04
    np.testing.assert_allclose(
        accident + (1 - accident) * expit(log_odds), column(rows, "p_like_given_dwell"), rtol=2e-5
    )


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


def test_pairs_in_pandas_are_answered_in_pandas(made):
    pairs = pl.DataFrame({"user_id": [1, 2], "item_id": [7, 7]})
    said = made["null"].truth.probabilities(pairs.to_pandas())
    assert_frame_equal(pl.from_pandas(said), made["null"].truth.probabilities(pairs))


@pytest.mark.parametrize(
    ("pairs", "error", "says"),
    [
        ({"user_id": [0], "item_id": [1]}, UsageError, "user ids run from 1 to 1500, got 0"),
        ({"user_id": [1], "item_id": [401]}, UsageError, "item ids run from 1 to 400, got 401"),
        ({"user_id": [None], "item_id": [1]}, UsageError, "user ids"),
        ({"user_id": [1.5], "item_id": [1]}, UsageError, "whole numbers"),
        ({"user_id": [1]}, InputError, "no column 'item_id'"),
        ({"user_id": [1], "item_id": [1], "position": [0]}, UsageError, "position must be at least 1"),
        ({"user_id": [1], "item_id": [1], "likes_shown": [-1]}, UsageError, "likes_shown must be at least 0"),
    ],
)
def test_pairs_that_cannot_be_are_refused(pairs, error, says, made):
    with pytest.raises(error, match=says):
        made["null"].truth.probabilities(pl.DataFrame(pairs))


# The feed says how likely what it shows was.


def test_random_exposures_are_independent_of_taste(made):
    """Their utility is, on average, that of everything published to the same user."""
    simulation = made["turned"]
    rows = simulation.events.hstack(simulation.truth_exposures)
    random = rows.filter("is_random")
    surplus = utility_beyond_the_mean(simulation, random, np.ones(random.height))
    assert abs(surplus.sum() / (surplus**2).sum() ** 0.5) < 4
    policy = rows.filter(~pl.col("is_random"), pl.col("propensity").is_not_null())
    chosen = utility_beyond_the_mean(simulation, policy, np.ones(policy.height))
    assert chosen.sum() / (chosen**2).sum() ** 0.5 > 20


def utility_beyond_the_mean(simulation: Simulation, rows: pl.DataFrame, weight: np.ndarray) -> np.ndarray:
    """Weighted utility of what was shown less the mean over what was published, by row; drift left out."""
    users, items = simulation.truth.users, simulation.truth.items
    tick = rows["timestamp"].dt.truncate("6h")
    published = (items["item_created_at"].sort().search_sorted(tick, side="left")).to_numpy()
    direction, quality = items["direction"].to_numpy().astype(float), column(items, "quality")
    mean = np.cumsum(direction, axis=0)[published - 1] / published[:, None]
    taste = users["taste"].to_numpy().astype(float)[rows["user_id"].to_numpy() - 1]
    item = rows["item_id"].to_numpy() - 1
    assert np.all(item < published)
    shown = (taste * direction[item]).sum(axis=1) + quality[item]
    expected = (taste * mean).sum(axis=1) + np.cumsum(quality)[published - 1] / published
    return weight * (shown - expected)


def test_weights_by_propensity_undo_the_policy(made):
    """Over exposures of the feed, ``E[(u - mean u) / propensity] = 0`` for every user and tick."""
    simulation = made["turned"]
    rows = simulation.events.filter(pl.col("propensity").is_not_null())
    ordinary = ~simulation.truth_exposures["is_synthetic"].to_numpy()
    assert ordinary.any()
    tick = rows["timestamp"].dt.truncate("6h")
    created = simulation.truth.items["item_created_at"].sort()
    published = created.search_sorted(tick, side="left").to_numpy()
    weight = 1 / (column(rows, "propensity") * published)
    surplus = utility_beyond_the_mean(simulation, rows, weight)
    assert abs(surplus.sum() / (surplus**2).sum() ** 0.5) < 4
    assert weight.max() <= 5 + 1e-4  # at least epsilon, spread over what is published
    assert weight.mean() == pytest.approx(1, abs=4 * weight.std() / len(weight) ** 0.5)
    unweighted = utility_beyond_the_mean(simulation, rows, np.ones(rows.height))
    assert unweighted.sum() / (unweighted**2).sum() ** 0.5 > 20


def test_rates_are_those_of_a_feed(made):
    simulation = made["small"]
    assert simulation.truth_exposures["p_like_given_dwell"].mean() == pytest.approx(0.04, rel=0.05)
    assert 0.30 < simulation.events["long_view"].mean() < 0.45
    for outcome in ("follow", "share", "hide"):
        assert 0.005 < simulation.events[outcome].mean() < 0.05
    busiest = simulation.events["user_id"].value_counts()["count"].sort(descending=True)
    assert busiest[:150].sum() > 0.3 * len(simulation.events)
    shown = simulation.events["item_id"].value_counts()["count"].sort(descending=True)
    assert shown[:40].sum() > 0.25 * len(simulation.events)


def test_taste_can_be_learned_from_what_people_watched(made):
    """What somebody watched of a category early orders its utility to them late, beyond both means."""
    rows = made["small"].events.with_columns(utility=made["small"].truth_exposures["utility"])
    early, late = (
        half.group_by("user_id", "category").agg(pl.col("long_view", "utility").mean())
        for half in (rows[:20_000], rows[20_000:])
    )
    both = early.join(late, on=["user_id", "category"], suffix="_late").select(
        pl.col(name) - pl.col(name).mean().over("user_id") for name in ("long_view", "utility_late")
    )
    assert both.select(pl.corr("long_view", "utility_late")).item() > 0.2


def test_the_feed_avoids_what_an_account_had_seen_at_the_refresh(made):
    shown = made["small"].events.group_by("user_id", "item_id", pl.col("timestamp").dt.truncate("6h")).len()
    repeats = len(shown) - shown.select("user_id", "item_id").n_unique()
    assert 0 < repeats < 0.05 * len(shown)


# The log keeps its contract.


@pytest.mark.parametrize(
    "world",
    [
        *WORLDS,
        TINY,
        World(exposures=1, users=1, items=1, days=1),
        World(exposures=300, users=2, items=1, days=2),
        World(exposures=1_100, users=1, items=9, days=1),
        World(exposures=50, users=500, items=3, taste_dims=1),
        World.preset("null", exposures=500, taste_spread=0, quality_spread=0, habit_spread=0),
        World.preset("bots", exposures=900, users=20, items=10, synthetic_likers=1.0, epsilon=1.0),
        World.preset("small", exposures=900, policy_taste=1e4, feedback=1e4, policy_private=1e4),
    ],
    ids=repr,
)
def test_a_log_keeps_its_contract(world, made):
    simulation = made[world] if isinstance(world, str) else simulate(world)
    world, events = simulation.truth.world, simulation.events
    assert events.schema == EVENTS_SCHEMA
    assert simulation.truth_exposures.schema == TRUTH_SCHEMA
    assert events.height == simulation.truth_exposures.height == world.exposures
    past_the_feed = (events["surface"] == "creator").sum()
    assert events.null_count().sum_horizontal().item() == 2 * past_the_feed
    assert events["propensity"].null_count() == events["policy_score"].null_count() == past_the_feed
    assert simulation.truth_exposures.null_count().sum_horizontal().item() == 0
    assert events["propensity"].drop_nulls().is_between(0, 1 + 1e-6).all()
    for name in ("p_like_before", "p_like_given_dwell", "p_long_view_before"):
        assert simulation.truth_exposures[name].is_between(0, 1).all()
    assert events["timestamp"].is_sorted()
    assert not events.select("user_id", "timestamp").is_duplicated().any()
    start = events["timestamp"].dt.truncate("1d").min().replace(year=2026, month=1, day=5)
    elapsed = (events["timestamp"] - start).dt.total_seconds()
    assert 0 < elapsed.min() <= elapsed.max() < world.days * 86_400
    assert (events["item_created_at"] < events["timestamp"]).all()
    assert events["user_id"].is_between(1, world.users).all()
    assert events["item_id"].is_between(1, world.items).all()
    assert set(events["category"]) <= set(CATEGORIES)


@pytest.mark.parametrize("world", ["small", "turned"])
def test_sessions_belong_to_one_account_and_never_overlap(world, made):
    sessions = (
        made[world]
        .events.group_by("session_id", maintain_order=True)
        .agg(
            pl.col("user_id").n_unique().alias("users"),
            pl.col("user_id").first(),
            (pl.col("position") == pl.int_range(1, pl.len() + 1)).all().alias("in order"),
            pl.col("timestamp").min().alias("first"),
            pl.col("timestamp").max().alias("last"),
            (pl.col("timestamp").diff().dt.total_seconds() > 60).all().alias("apart"),
        )
    )
    assert (sessions["users"] == 1).all()
    assert sessions["in order"].all()
    assert sessions["apart"].all()
    assert sorted(sessions["session_id"]) == [*range(1, len(sessions) + 1)]
    ordered = sessions.sort("user_id", "first")
    overlap = pl.col("first") <= pl.col("last").shift().over("user_id")
    assert not ordered.select(overlap.fill_null(value=False)).to_series().any()


def test_a_long_view_is_half_of_the_item(made):
    events = made["turned"].events
    beyond = events["dwell_seconds"] - events["duration_seconds"] / 2
    assert (events["long_view"] == (beyond > 0)).filter(beyond.abs() > 0.001).all()
    assert events["dwell_seconds"].is_between(0, events["duration_seconds"]).all()
    named = events.join(made["turned"].truth.items, on="item_id", maintain_order="left")
    for name in ("creator_id", "category", "item_created_at", "provenance", "duration_seconds"):
        assert named[name].equals(named[f"{name}_right"].rename(name))


def test_one_session_in_five_explores_and_nothing_follows_from_it(made):
    events = made["small"].events
    by_session = events.group_by("session_id").agg(pl.col("surface").unique())
    assert (by_session["surface"].list.len() == 1).all()
    explores = by_session["surface"].list.first() == "explore"
    assert explores.mean() == pytest.approx(0.2, abs=0.02)
    rates = events.group_by("surface").agg(pl.col("liked", "long_view").mean())
    assert rates["long_view"].max() - rates["long_view"].min() < 0.03


def test_a_log_too_short_for_its_users_is_refused():
    with pytest.raises(UsageError, match=r"the busiest user would watch .* of 1 days"):
        simulate(World(exposures=5_000, users=1, items=9, days=1))
