"""One knob at a time: neutral it moves nothing, turned it moves its own columns and plants what it says."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import polars as pl
import pytest
from scipy.special import logit
from scipy.stats import binomtest, chi2

from recsys.errors import UsageError
from recsys.simulation import EVENTS_SCHEMA, PRESETS, Simulation, World, simulate

pytestmark = pytest.mark.slow

TINY = World.preset("small", exposures=4_000, users=100, items=80)
MIDDLE = World.preset("small", exposures=40_000, users=1_000, items=300, seed=5)
LIKES = {"liked", "likes_shown"}
WATCHED = {"dwell_seconds", "long_view"}
AFTER = {"follow", "share", "hide"}
WHEN = {"user_id", "timestamp", "session_id", "position", "is_nudged", "group_cohort"}
SHOWN = set(EVENTS_SCHEMA) - WHEN


def in_order(value: object) -> str:
    """Name a case alike in every process: the order of a set is not."""
    return repr(sorted(value) if isinstance(value, set) else value)


@pytest.fixture(scope="module")
def before() -> pl.DataFrame:
    return simulate(TINY).events


@pytest.fixture(scope="module")
def middle() -> Simulation:
    return simulate(MIDDLE)


def turn(**knobs) -> Simulation:
    return simulate(replace(MIDDLE, **knobs))


def moved(before: pl.DataFrame, **knobs) -> set[str]:
    after = simulate(replace(TINY, **knobs)).events
    return {name for name in before.columns if not before[name].equals(after[name])}


NEUTRAL = [
    ({"accidental_likes": 1e-12}, set()),
    ({"herding": 1e-12}, set()),
    ({"position_bias": 1e-12}, set()),
    ({"nudge": 1e-12}, {"is_nudged"}),
    ({"drift": 1e-15}, set()),
    ({"spliced_sessions": 1e-12}, set()),
    ({"group_share": 1e-12, "group_noise": 5.0}, set()),
    ({"group_noise": 5.0}, set()),
    ({"group_share": 0.5}, {"group_cohort"}),
    ({"policy_private": 1e-12}, set()),
    ({"feedback": 1e-12}, set()),
    ({"epsilon": 1e-12}, set()),
    ({"fandoms": 1e-12}, set()),
    ({"synthetic_likers": 1e-12, "synthetic_pattern": "burst"}, set()),
    ({"synthetic_pattern": "hijacked", "camouflage": 3.0}, set()),
    ({"synthetic_creators": 1e-12}, set()),
    ({"beta_like": 1 + 1e-12, "beta_dwell": 0.6 + 1e-12, "habit_spread": 1 + 1e-12}, set()),
    ({"dwell_noise": 1 + 1e-12, "policy_taste": 0.5 + 1e-12}, set()),
]


@pytest.mark.parametrize(("knobs", "may_move"), NEUTRAL, ids=in_order)
def test_a_knob_at_its_neutral_value_moves_nothing(knobs, may_move, before):
    """Or so close to it that what is planted cannot matter: only a stream drawn again would."""
    assert moved(before, **knobs) == may_move


TURNED = [
    ({"beta_like": 0.0}, LIKES),
    ({"beta_dwell": 0.0}, LIKES),
    ({"like_rate": 0.2}, LIKES),
    ({"habit_spread": 0.1}, LIKES),
    ({"accidental_likes": 0.5}, LIKES),
    ({"herding": 1.0}, LIKES),
    ({"position_bias": 1.0}, LIKES),
    ({"nudge": 1.0}, LIKES | {"is_nudged"}),
    ({"dwell_noise": 2.0}, LIKES | WATCHED),
    ({"group_share": 0.5, "group_noise": 3.0}, LIKES | WATCHED | {"group_cohort"}),
    ({"quality_spread": 1.0}, LIKES | WATCHED | AFTER),
    ({"spliced_sessions": 0.5}, LIKES | WATCHED | AFTER),
    ({"synthetic_creators": 0.5}, LIKES | WATCHED | AFTER | {"provenance"}),
    ({"policy_taste": 2.0}, SHOWN - {"provenance", "surface", "is_random"}),
    ({"policy_private": 2.0}, SHOWN - {"provenance", "surface", "is_random"}),
    ({"drift": 0.3}, SHOWN - {"provenance", "surface", "is_random"}),
    ({"feedback": 1.0}, SHOWN - {"provenance", "surface", "is_random"}),
    ({"epsilon": 0.5}, SHOWN - {"provenance", "surface"}),
    ({"fandoms": 0.5}, SHOWN - {"provenance", "is_random"}),
    ({"synthetic_likers": 0.5}, SHOWN - {"provenance", "is_random"}),
    ({"taste_spread": 1.0}, SHOWN - {"provenance", "surface", "is_random"}),
]


@pytest.mark.parametrize(("knobs", "owns"), TURNED, ids=in_order)
def test_a_knob_redraws_nothing_but_its_own(knobs, owns, before):
    assert moved(before, **knobs) == owns


def test_every_knob_is_tried_above():
    tried = {name for knobs, _ in (*NEUTRAL, *TURNED) for name in knobs}
    sizes = {"exposures", "users", "items", "days", "seed", "taste_dims", "activity_spread"}
    assert tried | sizes == {knob.name for knob in fields(World)}


def test_another_seed_is_another_log(before):
    others = simulate(replace(TINY, seed=1)).events
    still = {"is_nudged", "is_random", "group_cohort", "provenance"}
    assert {name for name in before.columns if before[name].equals(others[name])} == still


@pytest.mark.parametrize("other", ["long_view", "follow", "share", "hide", "dwell_seconds"])
def test_a_press_is_drawn_apart_from_what_else_happens(other, middle):
    """Given its probability a press owes nothing to the other outcomes: their products with its surplus cancel."""
    p = middle.truth_exposures["p_like_given_dwell"].to_numpy().astype(float)
    weight = middle.events[other].to_numpy().astype(float)
    surplus = ((middle.events["liked"].to_numpy() - p) * weight).sum()
    assert surplus**2 / (weight**2 * p * (1 - p)).sum() < chi2.ppf(0.999, 1)


# What each knob plants.


@pytest.mark.parametrize(
    "knobs", [{}, {"accidental_likes": 0.5}, {"herding": 0.3}, {"nudge": 2.0}, {"like_rate": 0.3}]
)
def test_people_press_at_the_like_rate(knobs):
    simulation = turn(**knobs)
    said = simulation.truth.world.like_rate
    assert simulation.truth_exposures["p_like_given_dwell"].mean() == pytest.approx(said, rel=0.12)


def test_accidents_hit_anything(middle):
    likeliest = middle.truth_exposures["p_like_before"].sort(descending=True)[:4_000].sum()
    with_accidents = turn(accidental_likes=0.5).truth_exposures["p_like_before"]
    assert with_accidents.min() >= 0.5 * 0.04
    share = with_accidents.sort(descending=True)[:4_000].sum() / with_accidents.sum()
    assert share < 0.75 * likeliest / middle.truth_exposures["p_like_before"].sum()


def test_herding_makes_likes_draw_likes(middle):
    def concentration(simulation):
        likes = simulation.truth.items["likes_shown"].sort(descending=True)
        return likes[:15].sum() / likes.sum()

    assert concentration(turn(herding=0.8)) > 1.5 * concentration(middle)


def test_a_prompt_and_the_first_position_draw_presses():
    simulation = turn(nudge=1.0, position_bias=0.8, beta_like=0.0, like_rate=0.1)
    rows = simulation.events.hstack(simulation.truth_exposures)
    odds = rows.group_by("is_nudged").agg(
        logit=pl.col("p_like_before").log() - (-pl.col("p_like_before")).log1p()
    )
    means = odds.select("is_nudged", pl.col("logit").list.mean()).sort("is_nudged")["logit"]
    assert means[1] - means[0] == pytest.approx(1.0, abs=0.06)
    assert binomtest(int(rows["is_nudged"].sum()), rows.height, 0.5).pvalue > 0.001
    first, later = (rows.filter(pl.col("position") == at)["liked"].mean() for at in (1, 8))
    assert first > 1.5 * later


def test_drift_turns_taste_and_keeps_its_spread(middle):
    drifted = turn(drift=0.1)
    assert drifted.truth_exposures["utility"].std() == pytest.approx(
        middle.truth_exposures["utility"].std(), rel=0.05
    )
    both = pl.DataFrame({"user_id": range(1, 1001), "item_id": [7] * 1000})
    start = both.with_columns(timestamp=pl.datetime(2026, 1, 5, time_zone="UTC"))
    then, now = (drifted.truth.probabilities(pairs)["utility"].to_numpy() for pairs in (start, both))
    assert np.corrcoef(then, now)[0, 1] == pytest.approx(np.cos(1.4), abs=0.1)
    users = drifted.truth.users
    taste, later = users["taste"].to_numpy(), users["taste_later"].to_numpy()
    np.testing.assert_allclose((taste * later).sum(axis=1), 0, atol=2e-5)
    np.testing.assert_allclose((taste**2).sum(axis=1), (later**2).sum(axis=1), rtol=1e-5)
    still = middle.truth.probabilities(both)["utility"].to_numpy()
    np.testing.assert_allclose(still, middle.truth.probabilities(start)["utility"])


def test_spliced_sessions_are_another_users(middle):
    simulation = turn(spliced_sessions=0.3)
    rows = simulation.events.hstack(simulation.truth_exposures)
    by_session = rows.group_by("session_id").agg(
        pl.col("is_spliced").first(), pl.col("acting_user_id").n_unique()
    )
    assert (by_session["acting_user_id"] == 1).all()
    assert by_session["is_spliced"].mean() == pytest.approx(0.3, abs=0.03)
    assert (rows["is_spliced"] == (rows["acting_user_id"] != rows["user_id"])).all()
    # Their outcomes are the guest's: the account's own probabilities say nothing of them.
    spliced = rows.filter("is_spliced")
    account, guest = (
        simulation.truth.probabilities(spliced.select(pl.col(who).alias("user_id"), "item_id"))[
            "p_long_view_before"
        ]
        for who in ("user_id", "acting_user_id")
    )
    y = spliced["long_view"].to_numpy()
    assert np.corrcoef(guest, y)[0, 1] > 0.5 > 0.2 > np.corrcoef(account, y)[0, 1]
    assert not middle.truth_exposures["is_spliced"].any()
    ordered = turn(spliced_sessions=0.9, synthetic_likers=0.5).truth_exposures
    assert not (ordered["is_spliced"] & ordered["is_synthetic"]).any()
    assert ordered["is_spliced"].any()


def test_groups_differ_in_how_well_dwell_reads_utility():
    simulation = turn(group_share=0.4, group_noise=2.5)
    rows = simulation.events.hstack(simulation.truth_exposures).filter(pl.col("duration_seconds") > 20)
    watched = (rows["dwell_seconds"].cast(pl.Float64) / rows["duration_seconds"]).to_numpy()
    inside = (watched > 0.001) & (watched < 0.999)
    noise = logit(watched[inside]) - (rows["utility"].to_numpy()[inside] - 2.0)
    in_b = (rows["group_cohort"] == "b").to_numpy()[inside]
    assert noise[~in_b].std() == pytest.approx(1.0, rel=0.05)
    assert noise[in_b].std() == pytest.approx(2.5, rel=0.08)
    users = simulation.truth.users["group_cohort"].value_counts(normalize=True)
    assert users.filter(pl.col("group_cohort") == "b")["proportion"].item() == pytest.approx(0.4, abs=0.06)


def test_feedback_adds_what_it_says_to_the_score(middle):
    simulation = turn(feedback=0.7)
    neutral = middle.events.group_by("user_id", "category").agg(
        pl.col("policy_score").first().alias("without")
    )
    tick = pl.col("timestamp").dt.truncate("6h").alias("tick")
    likes = simulation.events.group_by("user_id", "category", tick).agg(pl.col("liked").sum()).sort("tick")
    seen = likes.with_columns(before=pl.col("liked").cum_sum().over("user_id", "category") - pl.col("liked"))
    rows = simulation.events.with_columns(tick).join(seen, on=["user_id", "category", "tick"])
    rows = rows.join(neutral, on=["user_id", "category"])
    added = (rows["policy_score"] - rows["without"]).to_numpy()
    np.testing.assert_allclose(added, 0.7 * np.log1p(rows["before"].to_numpy()), atol=2e-5)
    assert (added > 0.4).any()


@pytest.mark.parametrize("epsilon", [0.0, 0.25, 1.0])
def test_epsilon_is_the_share_of_random_exposures(epsilon):
    random = turn(epsilon=epsilon).events["is_random"]
    assert binomtest(int(random.sum()), len(random), epsilon).pvalue > 0.001


def test_fans_open_premieres_within_a_day(middle):
    simulation = turn(fandoms=0.5)
    fans = simulation.truth.users.filter(pl.col("fan_of").is_not_null())
    assert 0.4 < len(fans) / 1000 < 0.6
    opened = simulation.events.filter(pl.col("surface") == "creator").join(fans, on="user_id")
    assert opened.height == simulation.events["propensity"].null_count() > 20
    assert (opened["creator_id"] == opened["fan_of"]).all()
    assert (opened["position"] == 1).all()
    age = opened["timestamp"] - opened["item_created_at"]
    assert age.is_between(pl.duration(hours=0), pl.duration(hours=25)).all()
    first_seen = opened.group_by("user_id", "item_id").agg(pl.col("timestamp").dt.truncate("6h").n_unique())
    assert (first_seen["timestamp"] == 1).all()
    bond = simulation.truth.probabilities(opened)["utility"] - middle.truth.probabilities(opened)["utility"]
    np.testing.assert_allclose(bond, 2.0)


def test_guests_and_accounts_under_control_open_premieres_as_themselves():
    simulation = turn(fandoms=0.7, spliced_sessions=0.5, synthetic_likers=0.3)
    rows = simulation.events.hstack(simulation.truth_exposures).filter(pl.col("surface") == "creator")
    fans = simulation.truth.users.select(acting_user_id="user_id", fan_of="fan_of")
    opened = rows.join(fans, on="acting_user_id").filter(~pl.col("is_synthetic"))
    assert opened["is_spliced"].any()
    assert (opened["creator_id"] == opened["fan_of"]).all()
    ordered = simulation.truth.items.filter("is_target")["item_id"]
    assert rows.filter("is_synthetic")["item_id"].is_in(ordered.implode()).all()


@pytest.mark.parametrize("pattern", ["burst", "drip", "sparse", "hijacked"])
@pytest.mark.parametrize("camouflage", [0.0, 2.0])
def test_synthetic_likers_press_by_order(pattern, camouflage):
    simulation = turn(synthetic_likers=0.2, synthetic_pattern=pattern, camouflage=camouflage)
    rows = simulation.events.hstack(simulation.truth_exposures).join(
        simulation.truth.users.select("user_id", "account"), on="user_id", maintain_order="left"
    )
    taken = "hijacked" if pattern == "hijacked" else "synthetic"
    assert set(rows["account"]) == {"person", taken}
    by_order = rows.filter("is_synthetic")
    assert set(by_order["account"]) == {taken}
    targets = simulation.truth.items.filter("is_target")
    assert targets.height == 3
    assert (targets["item_created_at"] < rows["timestamp"].min()).all()
    visits = by_order.filter(pl.col("surface") == "creator")
    assert visits["item_id"].is_in(targets["item_id"].implode()).all()
    assert binomtest(int(visits["liked"].sum()), visits.height, 0.95).pvalue > 0.001
    others = by_order.filter(~pl.col("item_id").is_in(targets["item_id"].implode()))
    presses = others["liked"].sum() / (0.95 * visits.height)
    assert presses == pytest.approx(camouflage, rel=0.25)
    if pattern == "burst":
        assert (visits.group_by("user_id").agg(pl.col("session_id").n_unique())["session_id"] == 1).all()
        away = (visits["timestamp"] - visits["timestamp"].median()).dt.total_hours().abs()
        others = (by_order["timestamp"] - visits["timestamp"].median()).dt.total_hours().abs()
        assert away.median() < 0.6 * others.median()
        assert visits["user_id"].n_unique() == by_order["user_id"].n_unique()
    if pattern == "sparse":
        assert (visits.group_by("user_id").len()["len"] == 1).all()
        assert visits.height == visits["user_id"].n_unique() == by_order["user_id"].n_unique()
    if pattern == "drip":
        assert visits["timestamp"].dt.date().n_unique() == 14
        assert visits.height / by_order.height == pytest.approx((1 + 0.1 * 7) / 8, abs=0.03)
    if pattern == "hijacked":
        sessions = (
            rows.filter(pl.col("account") == taken).group_by("session_id").agg(pl.col("is_synthetic").first())
        )
        assert sessions["is_synthetic"].mean() == pytest.approx(0.2, abs=0.05)


def test_machine_made_items_are_duller(middle):
    simulation = turn(synthetic_creators=0.3)
    items = simulation.truth.items
    assert items.group_by("creator_id").agg(pl.col("provenance").n_unique())["provenance"].max() == 1
    change = items["quality"] - middle.truth.items["quality"]
    dull = items["provenance"] == "synthetic"
    assert 0.1 < dull.mean() < 0.5
    np.testing.assert_allclose(change.filter(dull), -0.5, atol=1e-6)
    np.testing.assert_allclose(change.filter(~dull), 0.0, atol=1e-6)
    assert set(middle.events["provenance"]) == {"human"}


# Presets, and what makes no sense.


def press_rates(simulation: Simulation) -> pl.Series:
    rates = (
        simulation.events.group_by("user_id").agg(pl.col("liked").mean(), pl.len()).filter(pl.col("len") > 20)
    )
    return rates["liked"]


def test_presets_plant_what_their_names_say():
    made = {name: simulate(World.preset(name, exposures=20_000, seed=3)) for name in PRESETS}
    for name in ("null", "habit", "crowd", "feedback"):
        assert made[name].truth.world.beta_like == 0
    small, truth = made["small"], {name: one.truth_exposures for name, one in made.items()}
    beta = {name: one.truth.world.beta_like for name, one in made.items()}
    assert beta["null"] < beta["small"] < beta["large"]
    assert made["large"].events["liked"].sum() > 3 * small.events["liked"].sum()
    assert press_rates(made["habit"]).std() > 1.5 * press_rates(made["null"]).std()
    assert (
        made["crowd"].truth.items["likes_shown"].max() > 1.5 * made["null"].truth.items["likes_shown"].max()
    )
    assert made["feedback"].events["policy_score"].mean() > 0.5 + made["null"].events["policy_score"].mean()
    assert truth["bots"]["is_synthetic"].any()
    assert set(made["bots"].events["surface"]) > {"creator"}
    assert truth["shift"]["is_spliced"].any()
    assert made["groups"].events["group_cohort"].n_unique() == 2
    assert PRESETS["bench"]["exposures"] == 10_000_000
    assert made["bench"].events.equals(small.events)


def test_presets_derive_users_and_items():
    assert {name: (World.preset(name).users, World.preset(name).items) for name in ("small", "bench")} == {
        "small": (1_000, 250),
        "bench": (200_000, 50_000),
    }
    assert World.preset("small", exposures=7).items == 1
    assert World.preset("null").beta_like == 0 < World.preset("small", seed=None).beta_like


NUMBERS = {name: knob for name, knob in World.knobs().items() if knob.kind is float}


@pytest.mark.parametrize("bound", ["low", "high"])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_knob_works_up_to_its_bounds_and_no_further(name, bound):
    value = getattr(NUMBERS[name], bound)
    beside = {"group_share": 0.5} if name == "group_noise" else {}
    truth = simulate(World.preset("small", exposures=300, users=10, items=8, **{name: value, **beside}))
    assert truth.truth_exposures.null_count().sum_horizontal().item() == 0
    assert truth.truth_exposures["p_like_before"].is_between(0, 1).all()
    beyond = float(np.nextafter(value, np.inf if bound == "high" else -np.inf))
    with pytest.raises(UsageError, match=f"{name} must be a number from"):
        World.preset("small", **{name: beyond})


def test_sizes_plant_what_they_say():
    worlds = [
        World.preset("small", **{**{"exposures": 4_000}, **turned})
        for turned in ({}, {"days": 3}, {"taste_dims": 2}, {"activity_spread": 0.0})
    ]
    usual, short, flat, equal = (simulate(world) for world in worlds)
    assert (
        usual.events["timestamp"].dt.date().n_unique(),
        short.events["timestamp"].dt.date().n_unique(),
    ) == (14, 3)
    assert flat.truth.users["taste"].to_numpy().shape == (80, 2)
    busiest, even = (one.events["user_id"].value_counts()["count"].max() for one in (usual, equal))
    assert even < 150 < 250 < busiest


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"users": 0}, "users must be a whole number from 1 to 2,147,483,647, got 0"),
        ({"items": -3}, "items must be a whole number from 1 to .*, got -3"),
        ({"exposures": 10.5}, "exposures must be a whole number from 1 to 2,000,000,000, got 10.5"),
        ({"days": True}, "days must be a whole number"),
        ({"seed": -1}, "seed must be a whole number from 0 to 9,223,372,036,854,775,807, got -1"),
        ({"beta_like": -0.1}, "beta_like must be a number from 0 to 20, got -0.1"),
        ({"beta_like": float("nan")}, "beta_like must be a number from 0 to 20, got nan"),
        ({"habit_spread": "wide"}, "habit_spread must be a number from 0 to 20, got 'wide'"),
        ({"dwell_noise": 0}, "dwell_noise must be a number from 0.01 to 10, got 0"),
        ({"like_rate": 1}, "like_rate must be a number from 0.0001 to 0.9999, got 1"),
        ({"epsilon": 1.5}, "epsilon must be a number from 0 to 1, got 1.5"),
        ({"synthetic_likers": -0.1}, "synthetic_likers must be a number from 0 to 1, got -0.1"),
        ({"camouflage": 4}, "camouflage must be a number from 0 to 3, got 4"),
        ({"nudge": float("inf")}, "nudge must be a number from -20 to 20, got inf"),
        ({"nudge": 10**400}, "nudge must be a number from -20 to 20, got 1000"),
        ({"drift": 0.1, "taste_dims": 1}, "drift needs at least 2 taste_dims to turn in, got 1"),
        ({"synthetic_pattern": "bursty"}, "synthetic_pattern cannot be 'bursty': did you mean 'burst'"),
        ({"beta_lik": 1}, "no knob 'beta_lik': did you mean 'beta_like'"),
        ({"name": "smal"}, "no preset 'smal': did you mean 'small'"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs, says):
    with pytest.raises(UsageError, match=says) as caught:
        World.preset(**knobs)
    assert "\n" not in str(caught.value)
