"""The nightly job through `main`: repeated, backfilled, waited for, rolled back, compared, killed."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import attacks
import numpy as np
import polars as pl
import pytest
from commands import Call, Said, caller, fill_pages, leave_pages_empty

import recsys
from recsys import store
from recsys.simulation import World, write_simulation
from recsys_cli.app import main

DAYS = ("2026-01-16", "2026-01-17", "2026-01-18")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    return caller(capsys, monkeypatch, attacks.SMALLEST)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "log"
    write_simulation(World.preset("small", **attacks.WORLD), folder)
    return folder


@pytest.fixture
def night(call: Call, log: Path, tmp_path: Path) -> Call:
    """Do `recsys run` into tmp_path/out."""

    def run(*more: object) -> Said:
        return call("run", "-c", log, "-o", tmp_path / "out", "-j", 1, "--json", *more)

    return run


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(scope="module")
def backfilled(log: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Do the three days once."""
    folder, said = tmp_path_factory.mktemp("backfilled") / "out", io.StringIO()
    patch = pytest.MonkeyPatch()
    for name, value in attacks.SMALLEST.items():
        patch.setenv(name, value)
    leave_pages_empty(patch)
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        main(["run", "-c", str(log), "-o", str(folder), "-q", "--json", "--as-of", f"{DAYS[0]}..{DAYS[2]}"])
    patch.undo()
    return folder, [json.loads(line) for line in said.getvalue().splitlines()]


@pytest.fixture
def days(backfilled: tuple[Path, list[dict[str, Any]]], out: Path) -> list[dict[str, Any]]:
    """Three days are published in `out`; what `run` printed of each."""
    shutil.copytree(backfilled[0], out, symlinks=True)
    return backfilled[1]


def touched(out: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in out.rglob("*/*") if path.name != ".lock"}


def current(out: Path) -> str:
    return str(store.describe_model(out)["model_version"])


def manifest(out: Path, run_id: str) -> dict[str, Any]:
    return store.read_manifest(store.find_run(out, run_id))


def test_a_backfill_commits_each_day_on_its_own_as_a_run_of_that_day_would(
    days: list[dict[str, Any]], call: Call, log: Path, out: Path, tmp_path: Path
) -> None:
    assert [one["outcome"] for one in days] == ["published"] * 3
    assert [one["run_id"] for one in days] == ["000001", "000002", "000003"]
    assert {path.name for path in (out / "predictions").iterdir()} == {f"as_of={day}" for day in DAYS}
    assert current(out) == days[2]["model_version"]
    assert call("run", "-c", log, "-o", tmp_path / "alone", "--as-of", DAYS[1], "-q").status == 0
    assert recsys.read_predictions(out, DAYS[1]).equals(recsys.read_predictions(tmp_path / "alone"))
    assert manifest(out, "2")["rows"]["read"] < manifest(out, "3")["rows"]["read"]
    assert call("verify", out).out.startswith("whole: 3 runs")


def test_nothing_at_or_after_as_of_is_read(night: Call, log: Path, out: Path, tmp_path: Path) -> None:
    events = pl.read_parquet(log / "events.parquet")
    before = events.filter(pl.col("timestamp").dt.date() <= date.fromisoformat(DAYS[1]))
    before.write_parquet(tmp_path / "before.parquet")
    assert night("--as-of", DAYS[1], "--events", tmp_path / "before.parquet").status == 0
    first = recsys.read_predictions(out)
    (said,) = night("--as-of", DAYS[1]).results
    assert recsys.read_predictions(out).equals(first)
    assert manifest(out, said["run_id"])["rows"]["read"] == len(before)


@pytest.mark.usefixtures("days")
def test_the_same_date_again_changes_nothing_or_replaces_that_date_alone(night: Call, out: Path) -> None:
    before = touched(out)
    (said,) = night("--as-of", DAYS[2]).results
    assert (said["outcome"], said["run_id"]) == ("unchanged", "000003")
    assert touched(out) == before
    old = [recsys.read_predictions(out, day) for day in DAYS]
    (said,) = night("--as-of", DAYS[2], "--seed", 3).results
    assert said["outcome"] == "published"
    assert [recsys.read_predictions(out, day).equals(was) for day, was in zip(DAYS, old, strict=True)] == [
        *(True, True, False)
    ]


def test_if_missing_reads_no_log_for_a_day_that_is_there(
    days: list[dict[str, Any]], night: Call, call: Call, log: Path, out: Path
) -> None:
    before = touched(out)
    (said,) = night("--as-of", DAYS[1], "--if-missing", "--events", "nowhere.parquet").results
    assert [said[name] for name in ("outcome", "run_id", "predictions", "model_version")] == [
        *("present", "000002", days[1]["predictions"], days[1]["model_version"])
    ]
    predict = ("predict", "-c", log, "-o", out, "--as-of", DAYS[2], "--json")
    (said,) = call(*predict, "--if-missing", "--events", "nowhere.parquet").results
    assert said["outcome"] == "present"
    assert touched(out) == before
    (out / "predictions" / f"as_of={DAYS[2]}").unlink()
    outcomes = [one["outcome"] for one in night("--as-of", f"{DAYS[1]}..{DAYS[2]}", "--if-missing").results]
    assert outcomes == ["present", "published"]
    assert call(*predict, "--top-n", 2).results[0]["outcome"] == "published"


def test_if_missing_without_a_date_means_the_end_of_the_log(night: Call) -> None:
    assert night().results[0]["outcome"] == "published"
    assert night("--if-missing", "--seed", 5).results[0]["outcome"] == "present"


@pytest.mark.usefixtures("days")
def test_an_older_date_moves_neither_the_current_version_nor_the_evaluation(night: Call, out: Path) -> None:
    before = current(out), (out / "evaluation").readlink()
    said = night("--as-of", DAYS[1], "--seed", 3)
    assert "models/current stays at run 000003" in said.err
    assert (current(out), (out / "evaluation").readlink()) == before
    version = said.results[0]["model_version"]
    assert version in store.list_models(out)["model_version"].to_list()
    assert set(recsys.read_predictions(out, DAYS[1])["model_version"]) == {version}


def test_a_night_whose_ids_changed_their_type_does_not_stand_beside_the_others(
    night: Call, call: Call, log: Path, out: Path, tmp_path: Path
) -> None:
    night("--as-of", DAYS[0])
    as_text = pl.read_parquet(log / "events.parquet").with_columns(pl.col("item_id").cast(pl.String))
    as_text.write_parquet(tmp_path / "text.parquet")
    before = touched(out)
    refused = night("--events", tmp_path / "text.parquet", "--as-of", DAYS[1])
    assert refused.status == 65
    assert refused.err.splitlines()[-1] == (
        f"recsys: item_id is String and was Int64 in the days that {out} holds: "
        "make it Int64 in the log, or publish into another folder"
    )
    assert touched(out) == before
    # The only day there is may be replaced, and of one that is damaged nothing is asked.
    assert set(store.published_types(out, but=date(2026, 1, 17))) >= {"user_id", "item_id"}
    assert store.published_types(out, but=date(2026, 1, 16)) == {}
    shutil.copytree(out, tmp_path / "damaged", symlinks=True)
    for file in (tmp_path / "damaged").glob("predictions/*/*.parquet"):
        file.write_bytes(b"PAR1" + b"\xff" * 64 + b"PAR1")
    assert store.published_types(tmp_path / "damaged", but=date(2026, 1, 17)) == {}
    assert night("--events", tmp_path / "text.parquet", "--as-of", DAYS[0]).status == 0
    assert pl.scan_parquet(out / "predictions").collect_schema()["item_id"] == pl.String


def test_a_range_stops_at_the_day_that_fails_and_names_it(night: Call, out: Path) -> None:
    said = night("--as-of", "2026-01-18..2026-01-20", "--events", "nowhere.parquet")
    assert said.status == 66
    assert "recsys: 2026-01-18: there is no log at" in said.err
    said = night("--as-of", "2026-01-04..2026-01-18", "-q")
    assert said.status == 65
    assert said.err.startswith("recsys: 2026-01-04: ")
    assert not out.exists()


@pytest.mark.parametrize(
    ("days", "says"),
    [
        ("2026-01-18..2026-01-16", "must not end before it begins"),
        ("2026-01-16..", "must be days such as"),
        ("2026-01-16..2026-01-17..2026-01-18", "must be days such as"),
        ("2026-01-01..2026-01-18", "2026-01-01 is older than the 3 days"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(
    night: Call, out: Path, monkeypatch: pytest.MonkeyPatch, days: str, says: str
) -> None:
    monkeypatch.setenv("RECSYS_OUTPUT__KEEP_DAYS", "3")
    said = night("--as-of", days, "-q")
    assert said.status == 2
    assert says in said.err
    assert not out.exists()


@pytest.mark.usefixtures("days")
def test_keep_days_refuses_a_day_that_it_would_delete_at_once(
    night: Call, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_OUTPUT__KEEP_DAYS", "3")
    before = touched(out)
    said = night("--as-of", "2026-01-15")
    assert said.status == 2
    assert "raise it, or choose later days" in said.err
    assert touched(out) == before


def test_a_second_run_is_told_at_once_before_it_reads_anything(night: Call, out: Path) -> None:
    with store.open_run(out, keep=1):
        said = night("--events", "nowhere.parquet", "-q")
        assert said.status == 75
        assert said.err.count("\n") == 1
        assert "try again later, or --wait SECONDS" in said.err
        assert "still after 0.1 s" in night("--events", "nowhere.parquet", "--wait", 0.1).err


def test_rollback_serves_what_the_next_predict_publishes(
    days: list[dict[str, Any]], call: Call, log: Path, out: Path
) -> None:
    first, second, third = (one["model_version"] for one in days)
    said = call("models", "rollback", "-o", out, "--json")
    assert said.results == [{"before": third, "current": second}]
    assert call("predict", "-c", log, "-o", out, "--as-of", DAYS[2], "-q").status == 0
    assert set(recsys.read_predictions(out, DAYS[2])["model_version"]) == {second}
    said = call("models", "rollback", "nothing", "-o", out)
    assert said.status == 66
    assert third in said.err
    assert call("models", "rollback", first, "-o", out).out.startswith(f"models/current leads to {first}")


def test_prune_says_what_went(days: list[dict[str, Any]], call: Call, out: Path) -> None:
    said = call("models", "prune", "--keep", 2, "--keep-days", 2, "-o", out)
    assert said.out.splitlines() == [f"models: {days[0]['model_version']}", f"days: {DAYS[0]}", "runs: none"]
    assert call("models", "prune", "--keep", 2, "-o", out, "--json").results[0]["runs"] == ["000001"]
    assert call("verify", "-o", out).status == 0


def test_verify_prints_a_line_a_damage_and_exits_as_predict_would(
    night: Call, call: Call, log: Path, out: Path
) -> None:
    assert call("verify", out).status == 66
    assert night().status == 0
    assert re.fullmatch(r"whole: 1 run, \d+ files, 4 links\n", call("verify", out).out)
    (out / "runs/000001/model/head.json").write_bytes(b"{}")
    (out / "runs/000001/refused.parquet").unlink()
    said = call("verify", out)
    assert said.status == 66
    assert len(said.out.splitlines()) == 2
    assert said.err == f"recsys: {out} is damaged in 2 places: publish those days and versions again\n"
    assert call("predict", "-c", log, "-o", out, "-q").status == 66
    assert len(call("verify", out, "--json").results[0]["damages"]) == 2
    assert night("--seed", 1, "-q").status == 0
    assert night("--seed", 2, "-q").status == 0
    assert call("models", "prune", "--keep", 1, "-o", out).status == 0
    assert call("models", "prune", "--keep", 1, "-o", out).status == 0
    assert call("verify", out).status == 0


def test_the_manifest_says_what_was_read_done_and_written(night: Call, log: Path, out: Path) -> None:
    assert night().status == 0
    found = manifest(out, "1")
    (read,) = found["inputs"]
    about = (log / "events.parquet").stat()
    assert read == {
        "path": str(log / "events.parquet"),
        "bytes": about.st_size,
        "mtime": about.st_mtime,
        "sha256": store.sha256_of(log / "events.parquet"),
    }
    assert set(found["versions"]) == {
        *("python", "recsys", "implicit", "lightgbm", "numba", "numpy", "polars", "scipy"),
    }
    assert set(found["windows"]) == {"calibrate", "test", "fit"}
    assert found["windows"]["fit"]["until"] == found["as_of"] == found["windows"]["test"]["until"]
    rows = found["rows"]
    assert rows["read"] == rows["accepted"] + rows["refused"] + rows["duplicates"] == 4000
    assert rows["predicted"] == len(recsys.read_predictions(out))
    assert rows["scored"] == len(pl.read_parquet(out / "evaluation/losses.parquet"))
    assert [one["stage"] for one in found["stages"]] == ["read", "evaluate", "train", "predict"]
    assert all(one["seconds"] >= 0 and one["peak_mebibytes"] > 10 for one in found["stages"])
    assert found["started"] < found["committed"]
    assert found["settings"]["model"]["factors"] == 2
    assert len(found["settings_sha256"]) == 64
    for name, entry in found["files"].items():
        path = out / "runs/000001" / name
        assert entry == {"sha256": store.sha256_of(path), "bytes": path.stat().st_size}


def test_a_model_trained_alone_says_its_window(call: Call, log: Path, out: Path) -> None:
    assert call("train", "-c", log, "-o", out, "--as-of", DAYS[1], "-q").status == 0
    assert manifest(out, "1")["windows"] == {
        "fit": {
            "known_before": "2026-01-15T00:00:00+00:00",
            "from": "2026-01-15T00:00:00+00:00",
            "until": "2026-01-18T00:00:00+00:00",
        }
    }


def test_clock_paths_and_durations_are_in_the_manifest_alone(
    night: Call, call: Call, log: Path, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_pages(monkeypatch)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in log.glob("*.*"):
        (moved / path.name).write_bytes(path.read_bytes())
    assert night().status == 0
    assert call("run", "-c", moved, "-o", tmp_path / "other", "-q").status == 0
    one, other = manifest(out, "1"), manifest(tmp_path / "other", "1")
    assert one["files"] == other["files"]
    assert one["model_version"] == other["model_version"]
    assert one["inputs"][0]["path"] != other["inputs"][0]["path"]


@pytest.mark.usefixtures("days")
def test_compare_says_what_changed_and_pairs_what_both_scored(night: Call, call: Call, out: Path) -> None:
    assert night("--as-of", DAYS[2], "--seed", 9).status == 0
    (found,) = call("runs", "compare", "2", "000004", "-o", out, "--json").results
    assert found["settings"] == {"model.seed": {"before": 0, "after": 9}}
    assert (found["versions"], found["inputs"]) == ({}, {})
    assert found["before"]["run_id"] == "000002"
    old, new = (pl.read_parquet(out / f"runs/00000{run}/evaluation/losses.parquet") for run in (2, 4))
    both = new.join(old, on=["user_id", "item_id", "timestamp"], suffix="_old")
    assert 0 < found["paired"]["rows"] == len(both) < len(new) == found["paired"]["rows_after"]
    difference = found["paired"]["differences"]["log_loss"]
    assert difference["value"] == pytest.approx(float((both["log_loss"] - both["log_loss_old"]).mean()))
    assert difference["low"] < difference["value"] < difference["high"]
    rate = float(both["liked"].mean())
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert found["paired"]["differences"]["normalized_entropy"]["value"] == pytest.approx(
        difference["value"] / entropy
    )
    served = [recsys.read_predictions(out, day)["will_like"].cast(pl.Float64).mean() for day in DAYS[1:]]
    assert [found["drift"]["served"][f"mean_{when}"] for when in ("before", "after")] == pytest.approx(served)
    text = call("runs", "compare", "2", "4", "-o", out).out
    assert "model.seed  0       9" in text
    assert f"paired on the {len(both):,} exposures" in text
    assert "versions: the same" in text


def test_a_run_compared_with_itself_has_no_difference(night: Call, call: Call, log: Path, out: Path) -> None:
    assert night().status == 0
    (found,) = call("runs", "compare", "1", "1", "-o", out, "--json").results
    assert {tuple(one.values()) for one in found["paired"]["differences"].values()} == {(0, 0, 0)}
    assert [one["stability"] for one in found["drift"].values()] == [0, 0]
    assert call("predict", "-c", log, "-o", out, "--top-n", 2, "-q").status == 0
    (found,) = call("runs", "compare", "1", "2", "-o", out, "--json").results
    assert (found["paired"], set(found["drift"])) == (None, {"served"})
    assert "not estimable, no exposure was scored by both" in call("runs", "compare", "1", "2", "-o", out).out
    assert [line.split()[1] for line in call("runs", "list", "-o", out).out.splitlines()[1:]] == [
        "run",
        "predict",
    ]
    said = call("runs", "compare", "1", "9", "-o", out)
    assert said.status == 66
    assert "no run '9': choose from 000001, 000002" in said.err


def test_a_damaged_run_is_not_compared(night: Call, call: Call, out: Path) -> None:
    assert night().status == 0
    path = out / "runs/000001/evaluation/losses.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    said = call("runs", "compare", "1", "1", "-o", out)
    assert said.status == 66
    assert "losses.parquet is damaged" in said.err


@pytest.mark.slow
def test_a_run_killed_at_any_moment_is_made_good_by_the_next(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in attacks.SMALLEST.items():
        monkeypatch.setenv(name, value)
    folder = attacks.Folder(attacks.prepare(), log, tmp_path / "out")
    toll, seen = attacks.kill_runs(folder, kills=2, seed=11)
    assert 0 < toll.kills <= 2
    assert not toll.wrong, toll.wrong
    assert seen.scans > 0
