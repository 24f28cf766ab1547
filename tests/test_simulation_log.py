"""The simulated log: what the feed shows and how likely it was, sessions, and the contract of the columns."""

from __future__ import annotations

from itertools import islice

import numpy as np
import polars as pl
import pytest
from scipy.stats import chi2

from recsys.errors import UsageError
from recsys.simulation import EVENTS_SCHEMA, TRUTH_SCHEMA, Simulation, World, simulate
from recsys.simulation._calendar import rows_by_tick
from recsys.simulation._feed import draw_feed
from recsys.simulation._history import empty_history, extend_history
from recsys.simulation._pilot import run_pilot
from recsys.simulation._population import CATEGORIES, taste_at
from recsys.simulation._scene import set_scene

SIZE = {"exposures": 40_000, "users": 1_500, "items": 400, "seed": 3}
TINY = World.preset("small", exposures=2_000, users=80, items=40)
WORLDS = {
    "small": World.preset("small", **SIZE),
    "turned": World.preset(
        "bots", **SIZE, epsilon=0.2, policy_private=1.0, feedback=0.5, herding=0.4, spliced_sessions=0.1
    ),
}


@pytest.fixture(scope="module")
def made() -> dict[str, Simulation]:
    return {name: simulate(world) for name, world in WORLDS.items()}


def column(frame: pl.DataFrame, name: str) -> np.ndarray:
    return frame[name].to_numpy().astype(float)


# The feed says how likely what it shows was.


def count_published(simulation: Simulation, rows: pl.DataFrame) -> np.ndarray:
    """Count the items that were published when the feed was last refreshed, by row."""
    created = simulation.truth.items["item_created_at"].sort()
    return created.search_sorted(rows["timestamp"].dt.truncate("6h"), side="left").to_numpy()


def z_by_user(rows: pl.DataFrame, surplus: np.ndarray) -> float:
    """Standardise a sum whose terms are independent between users only."""
    of_user = rows.with_columns(surplus=pl.Series(surplus)).group_by("user_id").agg(pl.col("surplus").sum())
    return of_user["surplus"].sum() / (of_user["surplus"] ** 2).sum() ** 0.5


def utility_beyond_the_mean(simulation: Simulation, rows: pl.DataFrame) -> np.ndarray:
    """Utility of what was shown less the mean over what was published, by row; drift left out."""
    users, items = simulation.truth.users, simulation.truth.items
    published = count_published(simulation, rows)
    direction, quality = items["direction"].to_numpy().astype(float), column(items, "quality")
    mean = np.cumsum(direction, axis=0)[published - 1] / published[:, None]
    taste = users["taste"].to_numpy().astype(float)[rows["user_id"].to_numpy() - 1]
    item = rows["item_id"].to_numpy() - 1
    assert np.all(item < published)
    shown = (taste * direction[item]).sum(axis=1) + quality[item]
    expected = (taste * mean).sum(axis=1) + np.cumsum(quality)[published - 1] / published
    return shown - expected


def test_random_exposures_are_independent_of_taste(made):
    """Their utility is, on average, that of everything published to the same user."""
    rows = made["turned"].events
    random = rows.filter("is_random")
    assert abs(z_by_user(random, utility_beyond_the_mean(made["turned"], random))) < 3.5
    policy = rows.filter(~pl.col("is_random"), pl.col("propensity").is_not_null())
    assert z_by_user(policy, utility_beyond_the_mean(made["turned"], policy)) > 10


def test_weights_by_propensity_undo_the_policy(made):
    """Over exposures of the feed, ``E[(u - mean u) / propensity] = 0`` for every user and tick."""
    rows = made["turned"].events.filter(pl.col("propensity").is_not_null())
    surplus = utility_beyond_the_mean(made["turned"], rows)
    weight = 1 / (column(rows, "propensity") * count_published(made["turned"], rows))
    assert abs(z_by_user(rows, weight * surplus)) < 3.5
    assert z_by_user(rows, surplus) > 10
    assert weight.max() <= 5 + 1e-4  # at least epsilon, spread over what is published
    assert abs(z_by_user(rows, weight - 1)) < 3.5


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_items_are_shown_as_often_as_their_propensity_says(epsilon):
    """One account with a history is shown items many times over at one tick, whatever it has seen."""
    world = World.preset("small", exposures=3_000, users=3, items=60, epsilon=epsilon, seed=2)
    scene = run_pilot(set_scene(world))
    history, tick, taste = empty_history(world), 40, taste_at(world, scene.population.users, 40)
    for rows in islice(rows_by_tick(world, scene.calendar), tick):
        shown = draw_feed(scene, history, 0, rows.session, taste)
        account = scene.calendar.user[rows.session]
        history = extend_history(history, scene.catalogue, account, shown.item, shown.item > 0)
    session = np.zeros(100_000, dtype=np.int64)
    assert 5 < (history.seen // world.items == scene.calendar.user[0]).sum() < 55
    shown = draw_feed(scene, history, tick, session, taste)
    counts = np.bincount(shown.item, minlength=world.items)
    expected = np.zeros(world.items)
    expected[shown.item] = shown.propensity * len(session)
    assert expected.sum() == pytest.approx(len(session), rel=0.001)
    often = expected > 5
    assert ((counts - expected)[often] ** 2 / expected[often]).sum() < chi2.ppf(0.999, often.sum())


def test_a_history_holds_every_pair_once():
    world = World.preset("small", exposures=3_000, users=30, items=60, feedback=1.0)
    simulation, catalogue = simulate(world), set_scene(world).catalogue
    history, half = empty_history(world), len(simulation.events) // 2
    for rows in (simulation.events[:half], simulation.events[half:]):
        account, item = (rows[name].to_numpy() - 1 for name in ("user_id", "item_id"))
        history = extend_history(history, catalogue, account, item, rows["liked"].to_numpy())
    pairs = simulation.events.select(pl.col("user_id") - 1, pl.col("item_id") - 1).unique().sort(pl.all())
    assert history.seen.tolist() == (pairs["user_id"] * 60 + pairs["item_id"]).to_list()
    account, item = pairs["user_id"].to_numpy(), pairs["item_id"].to_numpy()
    assert history.has_seen(account, item).all()
    popularity = np.zeros((30, len(CATEGORIES)))
    for one, other in zip(account, item, strict=True):
        popularity[one, catalogue.category[other]] += catalogue.popularity[other]
    np.testing.assert_allclose(history.seen_popularity, popularity)
    assert history.likes_of_item.sum() == history.likes_in_category.sum() == simulation.events["liked"].sum()


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
        World.preset("small", exposures=900, policy_taste=100, feedback=100, policy_private=20),
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
    assert (
        events["long_view"] == (events["dwell_seconds"].cast(pl.Float64) >= events["duration_seconds"] / 2)
    ).all()
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
