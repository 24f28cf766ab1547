"""Gates through `main`: each lets a good night through, stops a bad one, and then nothing of yesterday's has moved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import attacks
import numpy as np
import polars as pl
import pytest
from commands import Call, Said, caller, leave_pages_empty

from recsys import store
from recsys.config import Settings
from recsys.errors import ConfigError, OutputError
from recsys.simulation import World, write_simulation
from recsys_cli.app import main

pytestmark = pytest.mark.slow

YESTERDAY, TODAY = "2026-01-17", "2026-01-18"
#: Bounds that two nights of the simulated log meet.
ALL = {
    "MAX_AGE": "6h",
    "MIN_VOLUME": "0.8",
    "MAX_VOLUME": "1.3",
    "MAX_LIKE_RATE_SHIFT": "0.5",
    "MAX_ENTROPY_RISE": "0.5",
    "MAX_BIAS": "5",
    "MAX_POPULATION_DRIFT": "0.5",
    "MIN_LIKES": "2",
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "log"
    write_simulation(World.preset("small", **attacks.WORLD), folder)
    return folder


@pytest.fixture
def night(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, log: Path, tmp_path: Path
) -> Call:
    """Do `recsys run` into tmp_path/out, with bounds by their keys."""
    call = caller(capsys, monkeypatch, attacks.SMALLEST)

    def run(*more: object, events: Path | None = None, **bounds: str) -> Said:
        with monkeypatch.context() as patch:
            for name, value in bounds.items():
                patch.setenv(f"RECSYS_GATES__{name}", value)
            where = ("-c", log, "-o", tmp_path / "out", "-j", 1, "--events", events or log / "events.parquet")
            return call("run", *where, *more)

    return run


@pytest.fixture(scope="module")
def first_night(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first") / "out"
    patch = pytest.MonkeyPatch()
    for name, value in attacks.SMALLEST.items():
        patch.setenv(name, value)
    leave_pages_empty(patch)
    with pytest.raises(SystemExit) as stop:
        main(["run", "-c", str(log), "-o", str(folder), "-q", "--as-of", YESTERDAY])
    patch.undo()
    assert not stop.value.code
    return folder


@pytest.fixture
def out(first_night: Path, tmp_path: Path) -> Path:
    """Yesterday is published."""
    shutil.copytree(first_night, tmp_path / "out", symlinks=True)
    return tmp_path / "out"


@pytest.fixture
def changed(log: Path, tmp_path: Path) -> Callable[[Callable[[pl.DataFrame], pl.DataFrame]], Path]:
    """Write the log anew, changed."""

    def change(how: Callable[[pl.DataFrame], pl.DataFrame]) -> Path:
        path = tmp_path / "changed.parquet"
        how(pl.read_parquet(log / "events.parquet")).write_parquet(path)
        return path

    return change


def standing(out: Path) -> dict[str, Any]:
    """Read all but what a gate may leave."""
    return {name: one for name, one in attacks.tree(out).items() if not name.startswith("rejected")}


def gates_of(folder: Path) -> dict[str, dict[str, Any]]:
    found = json.loads((folder / "gates.json").read_text())
    return {one["name"]: one for one in found["gates"]}


def last_days(events: pl.DataFrame, days: float) -> pl.Expr:
    newest: datetime = events.select(pl.col("timestamp").max()).item()
    return pl.col("timestamp") > newest - timedelta(days=days)


def press_all(events: pl.DataFrame) -> pl.DataFrame:
    """Like nearly all that was shown in the test window."""
    pressed = last_days(events, 3) & (pl.int_range(pl.len()) % 5 > 0)
    return events.with_columns(pl.col("liked") | pressed)


def lose_test_rows(events: pl.DataFrame) -> pl.DataFrame:
    return events.filter(~last_days(events, 2.5) | (pl.int_range(pl.len()) % 2 == 0))


def lose_history(events: pl.DataFrame) -> pl.DataFrame:
    return events.filter(last_days(events, 8))


def repeat_test_rows(events: pl.DataFrame) -> pl.DataFrame:
    again = events.filter(last_days(events, 3)).with_columns(pl.col("timestamp") - timedelta(microseconds=1))
    return pl.concat([events, again])


def stale(events: pl.DataFrame) -> pl.DataFrame:
    return events.filter(~last_days(events, 0.6))


def keep(events: pl.DataFrame) -> pl.DataFrame:
    return events


FAILING: dict[str, tuple[str, Callable[[pl.DataFrame], pl.DataFrame], str]] = {
    "MAX_AGE": ("6h", stale, "h older than as_of, above gates.max_age = 6 h"),
    "MIN_VOLUME": ("0.8", lose_test_rows, "below gates.min_volume = 0.8"),
    "MAX_VOLUME": ("1.3", repeat_test_rows, "above gates.max_volume = 1.3"),
    "MAX_LIKE_RATE_SHIFT": ("0.5", press_all, "beyond gates.max_like_rate_shift = 0.5"),
    "MAX_NORMALIZED_ENTROPY": ("0.2", keep, "above gates.max_normalized_entropy = 0.2"),
    "MAX_BIAS": ("0.5", press_all, "beyond gates.max_bias = 0.5"),
    "MAX_POPULATION_DRIFT": ("0.001", keep, "above gates.max_population_drift = 0.001"),
}


def test_a_good_night_passes_every_gate_and_the_manifest_says_by_how_much(night: Call, out: Path) -> None:
    said = night("--as-of", TODAY, **ALL)
    assert said.status == 0, said.err
    gates = {one["name"]: one for one in store.read_manifest(out / "runs/000002")["gates"]}
    assert list(gates) == [
        *("max_age", "min_volume", "max_volume", "max_like_rate_shift", "max_normalized_entropy"),
        *("max_entropy_rise", "max_bias", "max_population_drift"),
    ]
    assert all(one["passed"] and one["figure"] is not None for one in gates.values())
    assert all("in the last run, " in gates[name]["said"] for name in ("min_volume", "max_like_rate_shift"))
    assert not (out / "rejected").exists()


def test_the_figures_are_those_of_the_tables(night: Call, out: Path, log: Path) -> None:
    assert night("--as-of", TODAY, **ALL).status == 0
    old, new = (store.read_manifest(out / f"runs/00000{run}") for run in (1, 2))
    gates = {one["name"]: one["figure"] for one in new["gates"]}
    events, losses = (
        pl.read_parquet(log / "events.parquet"),
        pl.read_parquet(out / "evaluation/losses.parquet"),
    )
    before = pl.read_parquet(out / "runs/000001/evaluation/losses.parquet")
    newest = events.select(pl.col("timestamp").max()).item()
    age = datetime.fromisoformat(new["as_of"]) - newest.replace(tzinfo=None).astimezone(newest.tzinfo)
    assert gates["max_age"] == pytest.approx(age.total_seconds() / 3600)
    ratios = [len(events) / old["rows"]["accepted"], len(losses) / len(before)]
    assert (gates["min_volume"], gates["max_volume"]) == pytest.approx((min(ratios), max(ratios)))
    assert gates["max_like_rate_shift"] == pytest.approx(losses["liked"].mean() / before["liked"].mean() - 1)
    excess = losses["will_like"].sum() - losses["liked"].sum()
    assert gates["max_bias"] == pytest.approx(excess / losses["liked"].sum())
    edges = np.quantile(before["will_like"], np.arange(1, 10) / 10)
    shares = [np.histogram(one["will_like"], [-1, *edges, 2])[0] + 0.5 for one in (before, losses)]
    was, now = (one / one.sum() for one in shares)
    assert gates["max_population_drift"] == pytest.approx(((now - was) * np.log(now / was)).sum(), rel=0.02)


def test_the_version_that_serves_is_held_against_on_what_neither_has_seen(
    night: Call, out: Path, log: Path
) -> None:
    assert night("--as-of", TODAY, **ALL).status == 0
    gates = {one["name"]: one for one in store.read_manifest(out / "runs/000002")["gates"]}
    after = pl.read_parquet(out / "evaluation/losses.parquet").filter(
        pl.col("timestamp").dt.date() == datetime.fromisoformat(TODAY).date()
    )
    (link,) = [path for path in (out / "models").iterdir() if "000001" in str(path.readlink())]
    from recsys.pipeline import load_model

    theirs = load_model(out, link.name).predict_proba(after.select("user_id", "item_id"))["will_like"]
    p, y, q = after["will_like"], after["liked"].cast(pl.Float64), theirs.cast(pl.Float64)
    ours, served = (-(y * one.log() + (1 - y) * (1 - one).log()).mean() for one in (p, q))
    rate = y.mean()
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert gates["max_entropy_rise"]["figure"] == pytest.approx((ours - served) / entropy, abs=1e-4)
    assert f"on {len(after):,} exposures" in gates["max_entropy_rise"]["said"]


@pytest.mark.parametrize("gate", FAILING)
def test_a_bad_night_is_stopped_by_its_gate_and_changes_nothing(
    night: Call, out: Path, changed: Callable[..., Path], gate: str
) -> None:
    bound, damage, says = FAILING[gate]
    before = standing(out)
    said = night(
        "--as-of",
        TODAY,
        "-q",
        events=changed(damage),
        **{"MAX_NORMALIZED_ENTROPY": "99"} | {gate: bound},
    )
    assert said.status == 79, said
    assert says in said.err
    assert said.err.count("\n") == 1
    assert f"nothing was published, look into {out / 'rejected'}" in said.err
    assert standing(out) == before
    found = gates_of(out / "rejected")
    assert [name for name, one in found.items() if not one["passed"]] == [gate.lower()]
    assert json.loads((out / "rejected/evaluation.json").read_text())["rows"]["exposures"] > 0
    assert {"evaluation.html", "losses.parquet", "refused.parquet"} <= {
        path.name for path in (out / "rejected").iterdir()
    }
    assert store.verify(out).damages == ()


def test_a_run_that_is_much_worse_than_what_serves_is_stopped(
    night: Call, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recsys.pipeline._gates.log_losses", lambda liked, _: np.zeros(len(liked)))
    said = night("--as-of", TODAY, "-q", MAX_ENTROPY_RISE="0.3", MIN_LIKES="2")
    assert said.status == 79
    assert "above gates.max_entropy_rise = 0.3" in said.err


def test_all_that_fail_are_named_in_one_line(night: Call, out: Path, changed: Callable[..., Path]) -> None:
    said = night(
        *("--as-of", TODAY, "-q"),
        events=changed(press_all),
        **ALL | {"MAX_LIKE_RATE_SHIFT": "0.1", "MAX_BIAS": "0.1", "MAX_NORMALIZED_ENTROPY": "0.01"},
    )
    assert said.status == 79
    assert said.err.count("\n") == 1
    for name in ("max_like_rate_shift", "max_bias", "max_normalized_entropy"):
        assert f"gates.{name} = " in said.err
    assert "max_age" not in said.err


def test_a_first_night_has_nothing_to_be_held_against_and_passes(night: Call, tmp_path: Path) -> None:
    said = night("--as-of", TODAY, **ALL)
    assert said.status == 0, said.err
    gates = {one["name"]: one for one in store.read_manifest(tmp_path / "out/runs/000001")["gates"]}
    for name in (
        "min_volume",
        "max_volume",
        "max_like_rate_shift",
        "max_entropy_rise",
        "max_population_drift",
    ):
        assert (gates[name]["figure"], gates[name]["passed"]) == (None, True)
        assert gates[name]["said"].startswith("no ")


@pytest.mark.usefixtures("out")
def test_too_few_likes_since_hold_nothing_against_anybody(night: Call) -> None:
    said = night("--as-of", TODAY, MAX_ENTROPY_RISE="0", MIN_LIKES="100000")
    assert said.status == 0
    assert "too few to hold it against: gates.min_likes = 100000" in said.err


def test_a_damaged_past_stops_no_night(night: Call, out: Path) -> None:
    for name in ("evaluation/losses.parquet", "model/head.json"):
        (out / "runs/000001" / name).write_bytes(b"x")
    said = night("--as-of", TODAY, **ALL)
    assert said.status == 0, said.err
    assert "the last evaluation is passed over" in said.err
    assert "no version to hold normalized_entropy against" in said.err


def test_the_same_day_again_and_a_backfill_are_held_against_what_lies_before_them(
    night: Call, out: Path
) -> None:
    assert night("--as-of", TODAY, "-q", **ALL).status == 0
    # Another seed of so small a model moves its probabilities far.
    bounds = {**ALL, "MAX_POPULATION_DRIFT": "99"}
    for seed, day in enumerate((TODAY, YESTERDAY), 2):
        assert night("--as-of", day, "--seed", seed, "-q", **bounds).status == 0
    first, again, back = (store.read_manifest(run) for run in store.list_runs(out)[-3:])
    volumes = [
        {one["name"]: one["figure"] for one in run["gates"]}["min_volume"] for run in (first, again, back)
    ]
    assert volumes[0] == volumes[1] is not None
    assert volumes[2] is None


def test_what_a_gate_stopped_lies_there_until_the_next_and_nothing_else_does(
    night: Call, out: Path, tmp_path: Path
) -> None:
    for seed in ("1", "2"):
        assert night("--as-of", TODAY, "-q", "--seed", seed, MAX_NORMALIZED_ENTROPY="0.2").status == 79
    assert [path.name for path in (out / "runs").iterdir()] == ["000001"]
    assert night("--as-of", TODAY, "-q").status == 0
    shutil.rmtree(out / "rejected")
    (out / "rejected").mkdir()
    (out / "rejected/mine.txt").write_text("mine")
    said = night("--as-of", TODAY, "-q", MAX_NORMALIZED_ENTROPY="0.2")
    assert said.status == 79
    assert "was not put there by recsys: move it away" in said.err
    assert (out / "rejected/mine.txt").read_text() == "mine"


def test_a_log_so_stale_that_nothing_can_be_evaluated_is_stopped_for_its_age(night: Call, out: Path) -> None:
    before = standing(out)
    said = night("--as-of", "2026-02-18", "-q", MAX_AGE="1d")
    assert said.status == 79
    assert "above gates.max_age = 24 h; no evaluation: " in said.err
    assert standing(out) == before
    assert {"gates.json", "refused.parquet"} <= {path.name for path in (out / "rejected").iterdir()}
    assert night("--as-of", "2026-02-18", "-q").status == 65


def test_where_nothing_can_be_left_the_gate_is_told_all_the_same(
    night: Call, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OutputError("no space left")

    monkeypatch.setattr("recsys.store.Run.set_aside", full)
    before = standing(out)
    said = night("--as-of", TODAY, "-q", MAX_NORMALIZED_ENTROPY="0.2")
    assert said.status == 79
    assert "nor could the evaluation be kept, no space left" in said.err
    assert attacks.tree(out) == before


@pytest.mark.parametrize("bounds", [{"min_volume": 2}, {"max_volume": 0.5}, {"max_bias": 0}, {"max_age": 3}])
def test_bounds_that_make_no_sense_are_refused(bounds: dict[str, Any]) -> None:
    from recsys.config import build_settings

    with pytest.raises(ConfigError, match=f"gates.{next(iter(bounds))}"):
        build_settings({"gates": bounds})


def test_unless_told_otherwise_a_model_must_know_more_than_the_like_rate() -> None:
    assert Settings().gates.max_normalized_entropy == 1
