"""The command line through `main`: exit codes, what goes to stdout and what to stderr, what is written."""

from __future__ import annotations

import gzip
import json
import math
import os
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from commands import Call, caller, fill_pages

import recsys
from recsys.schema import Predictions
from recsys.simulation import World, write_simulation
from recsys_cli.app import main

FAST = {
    "RECSYS_MODEL__FACTORS": "8",
    "RECSYS_MODEL__ITERATIONS": "3",
    "RECSYS_MODEL__CUTS": "1",
    "RECSYS_EVALUATION__BOOTSTRAPS": "100",
    "RECSYS_EVALUATION__NULL_DRAWS": "100",
}


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    return caller(capsys, monkeypatch, FAST)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "small"
    write_simulation(World.preset("small", exposures=8_000, users=200, items=200, seed=4), folder)
    return folder


@pytest.fixture(scope="session")
def published(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("published") / "out"
    patch = pytest.MonkeyPatch()
    for name, value in FAST.items():
        patch.setenv(name, value)
    with pytest.raises(SystemExit) as stop:
        main(["run", "-c", str(world), "-o", str(out), "-q"])
    patch.undo()
    assert not stop.value.code
    return out


def test_run_publishes_everything(published: Path, world: Path) -> None:
    assert {path.name for path in published.iterdir() if not path.name.startswith(".")} == {
        "evaluation",
        "models",
        "predictions",
        "runs",
    }
    assert {path.name for path in (published / "evaluation").iterdir()} == {
        "evaluation.json",
        "evaluation.html",
        "losses.parquet",
    }
    manifest = json.loads((published / "runs/000001/manifest.json").read_text())
    assert manifest["inputs"][0]["path"] == str(world / "events.parquet")
    assert {"settings", "versions", "windows", "rows", "metrics", "files", "stages"} <= set(manifest)


def test_predictions_obey_their_contract(published: Path, world: Path) -> None:
    found = recsys.read_predictions(published)
    Predictions.validate(found)
    log = pl.read_parquet(world / "events.parquet")
    assert found.columns == [
        *("user_id", "item_id", "rank", "will_like", "will_like_low", "will_like_high", "score"),
        *("as_of", "model_version"),
    ]
    assert found.schema["user_id"] == log.schema["user_id"]
    assert found.equals(found.sort("user_id", "rank"))
    assert found.join(log, on=["user_id", "item_id"], how="semi").is_empty()
    assert set(found["user_id"]) == set(log["user_id"])
    assert found["will_like"].is_between(0, 1, closed="none").all()
    falls = found.with_columns(pl.col("will_like").diff().over("user_id").alias("step"))
    assert (falls["step"].drop_nulls() <= 0).all()


def test_predictions_scan_as_a_hive_of_days(published: Path) -> None:
    (day,) = (published / "predictions").iterdir()
    assert day.is_symlink()
    scanned = pl.scan_parquet(published / "predictions", hive_partitioning=True).collect()
    assert scanned["as_of"].unique().to_list() == [date.fromisoformat(day.name.removeprefix("as_of="))]
    assert len(scanned) == len(recsys.read_predictions(published))


def test_the_same_command_gives_the_same_bytes_on_any_number_of_threads(
    call: Call, world: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_pages(monkeypatch)
    for threads in (1, 2):
        assert call("run", "-c", world, "-o", tmp_path / str(threads), "-j", threads, "-q").status == 0
    first, *others = (
        {
            str(path.relative_to(out)): path.read_bytes()
            for path in sorted((out / "runs/000001").rglob("*"))
            if path.is_file() and path.parent.name != "000001"
        }
        for out in (published, tmp_path / "1", tmp_path / "2")
    )
    assert len(first) > 10
    for other in others:
        assert other == first


def test_train_then_predict_then_evaluate_publish_each_their_own(
    call: Call, world: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert call("train", "-c", world, "-o", out).status == 0
    assert not (out / "predictions").exists()
    said = call("predict", "-c", world, "-o", out, "--top-n", 3, "--json")
    assert json.loads(said.out)["predictions"] == 600
    assert recsys.read_predictions(out)["rank"].max() == 3
    said = call("evaluate", "-c", world, "-o", out)
    assert said.status == 0
    assert "normalized_entropy" in said.out
    assert said.out.count("\n") < 12
    assert "model_version" in call("models", "list", "-o", out).out
    version = json.loads(call("models", "list", "-o", out, "--json").out)[0]["model_version"]
    assert version in call("models", "show", version, "-o", out).out


def test_predict_takes_users_items_and_pairs(
    call: Call, world: Path, published: Path, tmp_path: Path
) -> None:
    pl.DataFrame({"user_id": [2, 1, 999_999]}).write_csv(tmp_path / "users.csv")
    pl.DataFrame({"item_id": [1, 2, 3, 888_888]}).write_parquet(tmp_path / "items.parquet")
    said = call(
        *("predict", "-c", world, "-o", published, "--users", tmp_path / "users.csv"),
        *("--items", tmp_path / "items.parquet", "--exclude", "none"),
    )
    assert said.status == 0, said.err
    found = recsys.read_predictions(published)
    assert found["user_id"].unique().sort().to_list() == [1, 2, 999_999]
    assert set(found["item_id"]) == {1, 2, 3, 888_888}
    assert (
        found.filter((pl.col("user_id") == 999_999) | (pl.col("item_id") == 888_888))["score"].is_null().all()
    )
    pairs = pl.DataFrame({"user_id": [1, 1, 1, 2], "item_id": [5, 6, 7, 5]})
    pl.concat([pairs, pairs[1:2]]).write_ndjson(tmp_path / "pairs.ndjson")
    assert call("predict", "-c", world, "-o", published, "--pairs", tmp_path / "pairs.ndjson").status == 0
    asked = recsys.read_predictions(published)
    assert asked.select("user_id", "item_id").sort("user_id", "item_id").equals(pairs)
    assert asked["rank"].to_list() == [1, 2, 3, 1]
    assert asked[:3]["will_like"].is_sorted(descending=True)
    assert call("predict", "-c", world, "-o", published).status == 0


def test_explain_says_why_in_numbers_that_add_up(call: Call, world: Path, published: Path) -> None:
    before = sorted(published.rglob("*"))
    shared = ("-c", world, "-o", published, "-q")
    first = recsys.read_predictions(published).filter(user_id=3, rank=1)
    why = json.loads(call("explain", 3, *shared, "--json").out)
    assert (why["user_id"], why["item_id"]) == (3, first["item_id"][0])
    assert why["will_like"] == pytest.approx(first["will_like"][0], rel=1e-6)
    assert why["past"]
    assert (
        call("explain", 3, why["item_id"], *shared, "--json").out == call("explain", 3, *shared, "--json").out
    )
    said = call("explain", 3, *shared)
    assert said.status == 0
    assert said.err == ""
    table = said.out.split("\n\n")[0].splitlines()[2:]
    *moves, total = [float(line.split()[0]) for line in table]
    assert sum(moves) == pytest.approx(total, abs=1e-9)
    odds = why["will_like"] / (1 - why["will_like"])
    assert total == pytest.approx(math.log(odds), abs=0.006)
    assert sorted(published.rglob("*")) == before


def test_explain_answers_for_users_and_items_never_seen(call: Call, world: Path, published: Path) -> None:
    shared = ("-c", world, "-o", published, "-q")
    said = call("explain", 999_999, 888_888, *shared)
    assert said.status == 0, said.err
    assert "this is what a new user gets" in said.out
    assert "this is what a new item gets" in said.out
    assert "will_like" in call("explain", 999_999, *shared).out


def test_explain_needs_something_left_to_recommend(
    call: Call, world: Path, published: Path, tmp_path: Path
) -> None:
    log = pl.read_parquet(world / "events.parquet")
    everything = log.unique("item_id").with_columns(user_id=pl.lit(3, log.schema["user_id"]))
    pl.concat([log, everything]).write_parquet(tmp_path / "all.parquet")
    said = call("explain", 3, "-o", published, "--events", tmp_path / "all.parquet", "-q")
    assert said.status == 2
    assert "name an ITEM" in said.err


def test_check_profiles_and_keeps_refused_rows(call: Call, world: Path, tmp_path: Path) -> None:
    said = call("check", "-c", world)
    assert said.status == 0
    assert "8,000" in said.out
    assert json.loads(call("check", "-c", world, "--json", "-q").out)["rows"]["read"] == 8_000
    broken = pl.read_parquet(world / "events.parquet").with_columns(
        pl.when(pl.int_range(pl.len()) < 400).then(None).otherwise(pl.col("liked")).alias("liked")
    )
    broken.write_parquet(tmp_path / "broken.parquet")
    said = call("check", "-c", world, "--events", tmp_path / "broken.parquet", "-o", tmp_path / "seen")
    assert said.status == 65
    assert "400 of 8,000 rows" in said.err
    refused = pl.read_parquet(tmp_path / "seen/refused.parquet")
    assert refused["reasons"].unique().to_list() == ["liked_missing"]


def test_init_writes_a_config_that_runs(
    call: Call, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("init", world / "events.parquet").status == 0
    assert call("check").status == 0
    said = call("init", world / "events.parquet")
    assert said.status == 73
    assert "--overwrite" in said.err


def test_an_event_log_runs_as_an_exposure_log_does(call: Call, world: Path, tmp_path: Path) -> None:
    log = pl.read_parquet(world / "events.parquet").select("user_id", "item_id", "timestamp", "liked")
    views = log.drop("liked").with_columns(event_type=pl.lit("VIEW"))
    likes = log.filter("liked").drop("liked").with_columns(event_type=pl.lit("LIKE"))
    text = pl.concat([views, likes]).write_csv()
    (tmp_path / "events.csv.gz").write_bytes(gzip.compress(text.encode()))
    log.write_parquet(tmp_path / "exposures.parquet")
    (tmp_path / "recsys.toml").write_text(
        "[events]\npath = 'events.csv.gz'\nlayout = 'event_log'\nevent_types = { view = ['VIEW'], like = ['LIKE'] }\n"
    )
    assert call("run", "-c", tmp_path, "-o", tmp_path / "folded", "-q").status == 0
    exposures = ("--events", tmp_path / "exposures.parquet", "-o", tmp_path / "plain", "-q")
    assert call("run", *exposures).status == 0
    folded, plain = (recsys.read_predictions(tmp_path / name) for name in ("folded", "plain"))
    assert folded.drop("model_version").equals(plain.drop("model_version"))


def test_without_a_config_events_and_default_columns_are_enough(
    call: Call, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("run", "--events", world / "events.parquet", "-q").status == 0
    assert (tmp_path / "out/models/current").is_symlink()


def test_as_of_reads_only_what_lies_before_the_next_midnight(call: Call, world: Path, tmp_path: Path) -> None:
    log = pl.read_parquet(world / "events.parquet")
    day = log["timestamp"].max().date() - (date(2024, 1, 3) - date(2024, 1, 1))
    assert call("run", "-c", world, "-o", tmp_path / "whole", "--as-of", day, "-q").status == 0
    log.filter(pl.col("timestamp").dt.date() <= day).write_parquet(tmp_path / "cut.parquet")
    cut = ("--events", tmp_path / "cut.parquet", "--as-of", day)
    assert call("run", "-c", world, *cut, "-o", tmp_path / "cut", "-q").status == 0
    whole, alone = (recsys.read_predictions(tmp_path / name) for name in ("whole", "cut"))
    assert whole.equals(alone)
    assert whole["as_of"].unique().to_list() == [day]
    assert set(whole["user_id"]) == set(log.filter(pl.col("timestamp").dt.date() <= day)["user_id"])


def test_results_go_to_stdout_and_logs_to_stderr(call: Call, world: Path, tmp_path: Path) -> None:
    said = call("train", "-c", world, "-o", tmp_path, "--json", "--log-format", "json")
    assert set(json.loads(said.out)) >= {"model_version", "run_id", "as_of"}
    events = [json.loads(line) for line in said.err.splitlines()]
    assert [event["stage"] for event in events if event.get("event") == "stage_finished"] == [
        "read",
        "train",
        "publish",
    ]
    assert call("train", "-c", world, "-o", tmp_path, "-q").err == ""


WRONG = {
    "unknown option": (2, ["run", "--nonsense"], "nonsense"),
    "bad day": (2, ["run", "--as-of", "tomorrow", "--events", "EVENTS"], "--as-of must be a day"),
    "pairs and users": (
        2,
        ["predict", "--users", "EVENTS", "--pairs", "EVENTS", "-o", "PUBLISHED", "--events", "EVENTS"],
        "either pairs, or users and items",
    ),
    "threads": (2, ["run", "-j", "-1", "--events", "EVENTS"], "threads"),
    "top-n": (2, ["predict", "--top-n", "0", "--events", "EVENTS"], "top-n"),
    "end of the calendar": (2, ["run", "--as-of", "9999-12-31", "--events", "EVENTS"], "calendar"),
    "pair without an id": (
        65,
        ["predict", "--pairs", "nulls.csv", "-o", "PUBLISHED", "--events", "EVENTS"],
        "1 of 2",
    ),
    "an id of another type": (
        2,
        ["explain", "1", "2.5", "-o", "PUBLISHED", "--events", "EVENTS"],
        "item_id is Int64 in the log, got '2.5'",
    ),
    "no user to explain": (2, ["explain", "--events", "EVENTS"], "Missing argument"),
    "explain without a model": (66, ["explain", "1", "--events", "EVENTS"], "recsys train"),
    "explain before the model": (
        2,
        ["explain", "1", "-o", "PUBLISHED", "--events", "EVENTS", "--as-of", "2026-01-10"],
        "must not lie before",
    ),
    "missing table": (
        66,
        ["predict", "--users", "nowhere.csv", "-o", "PUBLISHED", "--events", "EVENTS"],
        "--users",
    ),
    "no models": (66, ["models", "list", "-o", "nowhere"], "recsys train"),
    "no log": (78, ["run"], "events.path is not set"),
    "missing log": (66, ["run", "--events", "nowhere.parquet"], "there is no log at"),
    "log at a URL": (
        66,
        ["check", "--events", "s3://bucket/log.parquet"],
        "'s3://bucket/log.parquet' is a URL",
    ),
    "missing config": (66, ["run", "-c", "nowhere.toml"], "cannot be read"),
    "missing model": (66, ["predict", "--events", "EVENTS"], "recsys train"),
    "misspelt key": (78, ["run", "-c", "misspelt.toml"], "did you mean 'factors'?"),
    "misspelt column": (78, ["run", "-c", "column.toml"], "did you mean 'user_id'?"),
    "windows in the wrong order": (78, ["run", "-c", "order.toml"], "must lie before"),
    "empty log": (65, ["run", "--events", "empty.parquet"], "no rows"),
    "no like at all": (65, ["run", "--events", "unliked.parquet"], "liked"),
    "no likes to calibrate on": (65, ["run", "--events", "late.parquet"], "calibrate window"),
    "positives only": (65, ["run", "--events", "positives.parquet"], "positives only"),
    "output is a file": (73, ["run", "--events", "EVENTS", "-o", "misspelt.toml"], "misspelt.toml"),
}


@pytest.fixture
def bench(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    log = pl.read_parquet(world / "events.parquet")
    late = log["timestamp"].max() - (pl.Series([date(2024, 1, 4)]) - date(2024, 1, 1))[0]
    logs = {
        "empty": log.clear(),
        "unliked": log.with_columns(pl.lit(False).alias("liked")),
        "late": log.with_columns((pl.col("liked") & (pl.col("timestamp") >= late)).alias("liked")),
        "positives": log.filter("liked"),
    }
    for name, frame in logs.items():
        frame.write_parquet(f"{name}.parquet")
    Path("nulls.csv").write_text("user_id,item_id\n1,2\n,3\n")
    events = f"[events]\npath = '{world / 'events.parquet'}'\n"
    tomls = {
        "misspelt": "[model]\nfactor = 3\n",
        "column": events + "columns = { user = 'user_idd' }\n",
        "order": events
        + "[windows]\ncalibrate_from = 2030-01-02T00:00:00Z\ntest_from = 2030-01-01T00:00:00Z\n",
    }
    for name, text in tomls.items():
        Path(f"{name}.toml").write_text(text)
    return tmp_path


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_gives_one_line_the_right_exit_code_and_writes_nothing(
    call: Call, bench: Path, world: Path, published: Path, case: str
) -> None:
    status, arguments, says = WRONG[case]
    before = {path: path.stat().st_mtime_ns for path in bench.rglob("*")}
    places = {"EVENTS": world / "events.parquet", "PUBLISHED": published}
    said = call(*(places.get(argument, argument) for argument in arguments), *([] if status == 2 else ["-q"]))
    assert said.status == status, said.err
    assert says in said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    if not said.err.startswith("Usage: "):
        assert [line for line in said.err.splitlines() if line.startswith("recsys: ")] == [
            said.err.splitlines()[-1]
        ]
    assert {path: path.stat().st_mtime_ns for path in bench.rglob("*")} == before


def test_positives_only_still_ranks(call: Call, bench: Path) -> None:
    arguments = ("--events", "positives.parquet", "-o", "ranked", "-q")
    assert call("train", *arguments).status == 0
    assert call("predict", *arguments).status == 0
    found = recsys.read_predictions("ranked")
    assert found["will_like"].is_null().all()
    assert len(found) > 0
    said = call("explain", 1, *arguments)
    assert said.status == 65
    assert "positives only" in said.err


def test_a_defect_is_one_line_unless_debug_is_asked_for(
    call: Call, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by hand")

    monkeypatch.setattr("recsys.pipeline.check", broken)
    said = call("check", "-c", world)
    assert said.status == 1
    assert said.err.splitlines()[-1].startswith("recsys: unexpected ZeroDivisionError: by hand")
    assert "Traceback" not in said.err
    assert "Traceback" in call("check", "-c", world, "--debug").err


def test_a_held_lock_says_try_again_later(call: Call, world: Path, tmp_path: Path) -> None:
    from recsys.store import open_run

    with open_run(tmp_path / "out", keep=1):
        said = call("train", "-c", world, "-o", tmp_path / "out", "-q")
    assert said.status == 75


def test_doctor_looks_at_the_machine_and_forecasts(call: Call, world: Path) -> None:
    found = json.loads(call("doctor", "-c", world, "--json").out)
    log = pl.read_parquet(world / "events.parquet")
    assert (found["rows"], found["users"], found["items"]) == (8_000, 200, log["item_id"].n_unique())
    assert found["forecast_mebibytes"] > 0
    assert found["libraries"]["polars"] == pl.__version__
    assert "Java" in found["spark"][0]
    assert "cores" in call("doctor").out


def test_options_can_come_from_the_environment(
    call: Call, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_CONFIG", str(world))
    monkeypatch.setenv("RECSYS_OUTPUT", str(tmp_path / "out"))
    assert call("train", "-q").status == 0
    assert (tmp_path / "out/models/current").exists()


@pytest.mark.parametrize(
    ("name", "usual"),
    [("OMP_WAIT_POLICY", "PASSIVE"), ("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")],
)
@pytest.mark.parametrize("wanted", [None, "another"])
def test_threads_and_the_allocator_are_told_what_to_do_unless_it_is_said_otherwise(
    call: Call, monkeypatch: pytest.MonkeyPatch, name: str, usual: str, wanted: str | None
) -> None:
    monkeypatch.setenv(name, "set back after the test")
    monkeypatch.delenv(name)
    if wanted:
        monkeypatch.setenv(name, wanted)
    assert call("models", "list", "--output", "nowhere").status in (0, 66)
    assert os.environ[name] == (wanted or usual)
