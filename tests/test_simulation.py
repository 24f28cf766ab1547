"""The simulator's laws: its truth is true, its streams are apart, its bytes are its seed's."""

import itertools
import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from polars.testing import assert_frame_equal
from scipy.special import expit
from scipy.stats import chi2
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from recsys.config import load_settings
from recsys.errors import OutputError, UsageError
from recsys.simulation import (
    EVENTS_SCHEMA,
    PRESETS,
    Simulation,
    World,
    simulate,
    true_probabilities,
    write_simulation,
)
from recsys.simulation._truth import look_up, p_like_before
from recsys_cli.options import with_options
from recsys_cli.simulate import simulate as simulate_command

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "data" / "sample"
TINY = World.preset("small", exposures=2_000, users=80, items=40)
FILES = ["README.md", "events.parquet", "recsys.toml"]
TRUTH = ["exposures.parquet", "items.parquet", "users.parquet", "world.json"]


@pytest.fixture(scope="module")
def planted() -> Simulation:
    return simulate(World.preset("small", exposures=40_000, users=1_500, items=400, seed=3))


@pytest.fixture(scope="module")
def null() -> Simulation:
    return simulate(World.preset("null", exposures=40_000, users=1_500, items=400, seed=3))


# The truth is true.


@pytest.mark.parametrize("world", ["planted", "null"])
@pytest.mark.parametrize(
    ("outcome", "truth"),
    [("liked", "p_like_before"), ("liked", "p_like_given_dwell"), ("long_view", "p_long_view_before")],
)
def test_outcomes_happen_as_often_as_the_truth_says(world, outcome, truth, request):
    simulation = request.getfixturevalue(world)
    p = simulation.truth_exposures[truth].to_numpy().astype(float)
    y = simulation.events[outcome].to_numpy()
    tenth = np.argsort(np.argsort(p)) * 10 // len(p)
    surplus = np.bincount(tenth, y - p)
    variance = np.bincount(tenth, p * (1 - p))
    assert surplus.sum() ** 2 / variance.sum() < chi2.ppf(0.999, 1)
    assert (surplus**2 / variance).sum() < chi2.ppf(0.999, 10)


def likelihood_ratio_of_utility(simulation: Simulation) -> float:
    """Twice the log likelihood that utility adds to habit and dwell, for the press."""
    habit = simulation.truth_users["habit"].to_numpy()[simulation.events["user_id"].to_numpy() - 1]
    known = np.column_stack([habit, np.log1p(simulation.events["dwell_seconds"].to_numpy())])
    utility = simulation.truth_exposures["utility"].to_numpy()
    y = simulation.events["liked"].to_numpy()

    def log_likelihood(x):
        p = LogisticRegression(C=1e9, tol=1e-8, max_iter=1000).fit(x, y).predict_proba(x)[:, 1]
        return np.log(np.where(y, p, 1 - p)).sum()

    return 2 * (log_likelihood(np.column_stack([known, utility])) - log_likelihood(known))


def test_a_press_tells_taste_beyond_dwell_only_when_that_is_planted(planted, null):
    assert likelihood_ratio_of_utility(null) < chi2.ppf(0.999, 1)
    assert likelihood_ratio_of_utility(planted) > 100
    assert likelihood_ratio_of_utility(simulate(replace(null.world, beta_like=0.3))) > 20


@pytest.mark.parametrize("dwell_noise", [0.05, 1.0, 3.0])
def test_quadrature_agrees_with_monte_carlo(dwell_noise):
    simulation = simulate(replace(TINY, dwell_noise=dwell_noise))
    row = np.arange(40)
    taste, habit = (simulation.truth_users[name].to_numpy()[row] for name in ("taste", "habit"))
    direction, quality, duration = (
        simulation.truth_items[name].to_numpy()[row] for name in ("direction", "quality", "duration_seconds")
    )
    utility = np.einsum("nd,nd->n", taste, direction) + quality
    watched = expit(utility - 1.8 + dwell_noise * np.random.default_rng(0).standard_normal((40_000, 1)))
    exact = true_probabilities(simulation, row + 1, row + 1)
    for dwell, rounding in ((duration * watched, 0.0), ((duration * watched).round(1), 0.05 * 0.6)):
        drawn = expit(simulation.like_intercept + habit + 0.6 * np.log1p(dwell) + 1.0 * utility)
        error = np.abs(drawn.mean(axis=0) - exact["p_like_before"].to_numpy())
        assert np.all(error < 4.5 * drawn.std(axis=0) / 200 + rounding * drawn.mean(axis=0))
    assert np.allclose((watched >= 0.5).mean(axis=0), exact["p_long_view_before"], atol=4.5 * 0.5 / 200)
    np.testing.assert_allclose(exact["utility"], utility, rtol=1e-4, atol=1e-5)


def test_more_nodes_do_not_move_the_quadrature(planted):
    pairs = look_up(planted.truth_users, planted.truth_items, np.arange(400), np.arange(400))
    few, many = (p_like_before(planted.world, planted.like_intercept, pairs, nodes) for nodes in (32, 96))
    np.testing.assert_allclose(few, many, rtol=1e-7)


def test_the_world_answers_for_logged_pairs_as_the_log_does(planted):
    logged = true_probabilities(planted, planted.events["user_id"], planted.events["item_id"])
    names = ["utility", "p_like_before", "p_long_view_before"]
    assert_frame_equal(logged.select(names).cast(pl.Float32), planted.truth_exposures.select(names))
    assert logged["user_id"].equals(planted.events["user_id"])


@pytest.mark.parametrize(("users", "items"), [([0], [1]), ([1], [41]), ([1.5], [1]), ([1, 2], [1])])
def test_pairs_that_are_not_of_the_world_are_refused(users, items):
    with pytest.raises(UsageError, match=r"ids run from 1 to|whole numbers|as many user_ids"):
        true_probabilities(simulate(TINY), users, items)


def test_rates_are_those_of_a_feed(planted):
    assert planted.truth_exposures["p_like_given_dwell"].mean() == pytest.approx(0.04, abs=1e-6)
    assert 0.30 < planted.events["long_view"].mean() < 0.40
    assert 0.005 < planted.events["follow"].mean() < planted.events["share"].mean() < 0.05
    busiest = planted.events["user_id"].value_counts()["count"].sort(descending=True)
    assert busiest[:150].sum() > 0.3 * len(planted.events)


def test_taste_can_be_learned_from_what_people_watched(planted):
    """What somebody watched of a category early orders its utility to them late, beyond both means."""
    rows = planted.events.with_columns(utility=planted.truth_exposures["utility"])
    early, late = (
        half.group_by("user_id", "category").agg(pl.col("long_view", "utility").mean())
        for half in (rows[:20_000], rows[20_000:])
    )
    both = early.join(late, on=["user_id", "category"], suffix="_late").select(
        pl.col(name) - pl.col(name).mean().over("user_id") for name in ("long_view", "utility_late")
    )
    assert both.select(pl.corr("long_view", "utility_late")).item() > 0.2


# The streams are apart.


@pytest.mark.parametrize("other", ["long_view", "follow", "share", "dwell_seconds"])
def test_a_press_is_drawn_apart_from_what_else_happens(other, planted):
    """Given its probability a press owes nothing to the other outcomes: their products with its surplus cancel."""
    p = planted.truth_exposures["p_like_given_dwell"].to_numpy().astype(float)
    weight = planted.events[other].to_numpy().astype(float)
    surplus = ((planted.events["liked"].to_numpy() - p) * weight).sum()
    assert surplus**2 / (weight**2 * p * (1 - p)).sum() < chi2.ppf(0.999, 1)


@pytest.mark.parametrize(
    ("knob", "value", "may_move"),
    [
        ("beta_like", 0.0, {"liked"}),
        ("beta_dwell", 0.0, {"liked"}),
        ("like_rate", 0.2, {"liked"}),
        ("habit_spread", 0.1, {"liked"}),
        ("dwell_noise", 2.0, {"liked", "dwell_seconds", "long_view"}),
        ("quality_spread", 1.0, {"liked", "dwell_seconds", "long_view", "follow", "share"}),
        ("policy_taste", 2.0, set(EVENTS_SCHEMA) - {"user_id", "timestamp", "session_id", "position"}),
    ],
)
def test_a_knob_redraws_nothing_but_its_own(knob, value, may_move):
    before, after = simulate(TINY).events, simulate(replace(TINY, **{knob: value})).events
    moved = {name for name in before.columns if not before[name].equals(after[name])}
    assert moved == may_move


def test_another_seed_is_another_log():
    events, others = simulate(TINY).events, simulate(replace(TINY, seed=1)).events
    assert not any(events[name].equals(others[name]) for name in events.columns)


def test_same_world_same_bytes_on_one_thread_or_many(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_simulation(simulate(TINY), "log")
    many = contents(tmp_path / "log")
    code = f"from recsys.simulation import *; write_simulation(simulate({TINY!r}), 'log', overwrite=True)"
    environ = {**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for path in (tmp_path / "log").rglob("*.*"):
        path.write_bytes(b"")
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)
    assert sorted(many) == sorted([*FILES, *(f"truth/{name}" for name in TRUTH)])
    assert contents(tmp_path / "log") == many


# The log keeps its contract.


@pytest.mark.parametrize(
    "world",
    [
        None,
        TINY,
        World(exposures=1, users=1, items=1, days=1),
        World(exposures=300, users=2, items=1, days=2),
        World(exposures=1_100, users=1, items=9, days=1),
        World(exposures=50, users=500, items=3, taste_dims=1),
        World.preset("null", exposures=500, taste_spread=0, quality_spread=0, habit_spread=0),
    ],
    ids=repr,
)
def test_a_log_keeps_its_contract(world, planted):
    simulation = simulate(world) if world else planted
    world, events = simulation.world, simulation.events
    assert events.schema == EVENTS_SCHEMA
    assert events.height == simulation.truth_exposures.height == world.exposures
    assert sum(events.null_count().row(0)) == 0
    assert events["timestamp"].is_sorted()
    assert not events.select("user_id", "timestamp").is_duplicated().any()
    start = events["timestamp"].dt.truncate("1d").min().replace(year=2026, month=1, day=5)
    elapsed = (events["timestamp"] - start).dt.total_seconds()
    assert 0 < elapsed.min() <= elapsed.max() < world.days * 86_400
    assert (events["item_created_at"] < events["timestamp"]).all()
    assert events["user_id"].is_between(1, world.users).all()
    assert events["item_id"].is_between(1, world.items).all()


def test_sessions_belong_to_one_user_and_never_overlap(planted):
    sessions = planted.events.group_by("session_id").agg(
        pl.col("user_id").n_unique().alias("users"),
        pl.col("user_id").first(),
        (pl.col("position") == pl.int_range(1, pl.len() + 1)).all().alias("in order"),
        pl.col("timestamp").min().alias("first"),
        pl.col("timestamp").max().alias("last"),
    )
    assert (sessions["users"] == 1).all()
    assert sessions["in order"].all()
    ordered = sessions.sort("user_id", "first")
    overlap = pl.col("first") <= pl.col("last").shift().over("user_id")
    assert not ordered.select(overlap.fill_null(value=False)).to_series().any()


def test_a_long_view_is_half_of_the_item(planted):
    watched = planted.events.join(planted.truth_items, on="item_id", maintain_order="left")
    beyond = watched["dwell_seconds"] - watched["duration_seconds"] / 2
    assert (watched["long_view"] == (beyond > 0)).filter(beyond.abs() > 0.06).all()
    assert watched["dwell_seconds"].is_between(0, watched["duration_seconds"]).all()
    for name in ("creator_id", "category", "item_created_at"):
        assert watched[name].equals(watched[f"{name}_right"])


def test_pairs_rarely_come_back(planted):
    pairs = planted.events.select("user_id", "item_id")
    assert pairs.n_unique() > 0.95 * len(pairs)


# What makes no sense is refused in one line.


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"users": 0}, "users must be a whole number of at least 1, got 0"),
        ({"items": -3}, "items must be a whole number of at least 1, got -3"),
        ({"exposures": 10.5}, "exposures must be a whole number of at least 1, got 10.5"),
        ({"days": True}, "days must be a whole number"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"beta_like": -0.1}, "beta_like must not be negative, got -0.1"),
        ({"beta_like": float("nan")}, "beta_like must be a finite number, got nan"),
        ({"habit_spread": "wide"}, "habit_spread must be a finite number, got 'wide'"),
        ({"dwell_noise": 0}, "dwell_noise must be positive, got 0"),
        ({"like_rate": 1}, "like_rate must lie strictly between 0 and 1, got 1"),
        ({"beta_lik": 1}, "no knob 'beta_lik': did you mean 'beta_like'"),
        ({"name": "smal"}, "no preset 'smal': did you mean 'small'"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs, says):
    with pytest.raises(UsageError, match=says) as caught:
        World.preset(**knobs)
    assert "\n" not in str(caught.value)


def test_a_log_too_short_for_its_users_is_refused():
    with pytest.raises(UsageError, match=r"the busiest user would watch .* of 1 days"):
        simulate(World(exposures=5_000, users=1, items=9, days=1))


def test_presets_derive_users_and_items():
    assert {name: World.preset(name).users for name in PRESETS} == {
        "small": 1000,
        "null": 1000,
        "large": 100_000,
    }
    assert World.preset("small", exposures=7).items == 1
    assert World.preset("null").beta_like == 0 < World.preset("small", seed=None).beta_like


# The folder.


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path):
    simulation = simulate(TINY)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty"):
        write_simulation(simulation, tmp_path)
    assert list(contents(tmp_path)) == ["mine.txt"]
    write_simulation(simulation, tmp_path, overwrite=True)
    assert len(contents(tmp_path)) == 1 + len(FILES) + len(TRUTH)
    with pytest.raises(OutputError, match="cannot be written"):
        write_simulation(simulation, tmp_path / "mine.txt")


@pytest.mark.parametrize(("days", "window_hours"), [(14, 72), (30, 144), (1, 5)])
def test_the_settings_read_the_log(days, window_hours, tmp_path):
    write_simulation(simulate(replace(TINY, days=days)), tmp_path / "new" / "log")
    settings = load_settings(tmp_path / "new" / "log", environ={})
    columns = pl.read_parquet_schema(settings.events.path)
    roles = settings.events.columns.model_dump(exclude={"history_only", "event_type"})
    assert set(roles.values()) | {*settings.events.signals, *settings.events.outcomes} <= set(columns)
    assert settings.windows.test.total_seconds() == settings.windows.calibrate.total_seconds()
    assert settings.windows.test.total_seconds() == window_hours * 3600


def test_the_page_says_which_command_made_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    worlds = [TINY, replace(TINY, days=3, beta_like=0.0, seed=5), replace(TINY, dwell_noise=0.5)]
    for world, number in zip(worlds, itertools.count()):
        folder = f"a log {number}"
        write_simulation(simulate(world), folder)
        made = contents(Path(folder))
        command = next(line for line in made["README.md"].decode().splitlines() if line.startswith("    "))
        if "write_simulation" in command:
            assert repr(world) in command
            continue
        assert run(*shlex.split(command)[2:]).exit_code == 0
        assert contents(Path(folder)) == made


def run(*arguments: str):
    app = typer.Typer()
    app.command()(with_options(simulate_command))
    return CliRunner().invoke(app, [*arguments])


def test_the_command_prints_one_line(tmp_path):
    done = run(str(tmp_path / "log"), "--exposures", "2000", "--preset", "null", "--beta-like", "0.5")
    assert done.exit_code == 0
    assert "2,000 exposures of 10 items to 40 users over 14 days" in done.stdout
    assert done.stdout.count("\n") == 1
    assert json.loads((tmp_path / "log/truth/world.json").read_text())["world"]["beta_like"] == 0.5
    assert isinstance(run(str(tmp_path / "log")).exception, OutputError)


def test_the_committed_sample_is_what_its_command_makes(tmp_path, monkeypatch):
    said = json.loads((SAMPLE / "truth/world.json").read_text())
    made = simulate(World(**said["world"]))
    assert made.like_intercept == pytest.approx(said["like_intercept"], rel=1e-12)
    monkeypatch.chdir(tmp_path)
    write_simulation(made, "data/sample")
    for name in ("README.md", "recsys.toml"):
        assert (SAMPLE / name).read_text() == Path("data/sample", name).read_text()
    # Compared as values: libraries may compress differently, and round the last bit of a float.
    for name in ("events", "truth/exposures", "truth/users", "truth/items"):
        assert_frame_equal(
            pl.read_parquet(SAMPLE / f"{name}.parquet"), pl.read_parquet(f"data/sample/{name}.parquet")
        )


def test_the_sample_is_small_and_has_likes_in_both_windows():
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) < 1_500_000
    days = pl.read_parquet(SAMPLE / "events.parquet").select(
        "liked", day=pl.col("timestamp").dt.ordinal_day() - 4
    )
    assert days.filter(pl.col("day").is_between(9, 11))["liked"].sum() > 300
    assert days.filter(pl.col("day").is_between(12, 14))["liked"].sum() > 300
