"""Laws of the store: all or nothing, one at a time, nothing lost, nothing let in."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from recsys import store
from recsys.errors import InputError, LockedError, OutputError, UsageError
from recsys.store._files import write_rows

DAY = "2022-04-30"
CRASHES = Path(__file__).with_name("store_crashes.py")
MODEL = {"factors.safetensors": b"\x00\x01", "head.json": b"{}"}

READER = """
import sys
from pathlib import Path
import polars as pl

out, whole, missing = Path(sys.argv[1]), 0, 0
print("ready", flush=True)
stopped = False
while not stopped:
    stopped = (out / "stop").exists()
    try:
        frame = pl.scan_parquet(out / "predictions", hive_partitioning=True).collect()
    except FileNotFoundError:
        missing += 1
        continue
    assert len(frame) == 2000 and frame["mark"].n_unique() == 1, frame
    whole += 1
print(whole, missing)
"""

HOLDER = """
import sys, time
from recsys import store
with store.open_run(sys.argv[1], keep=1):
    print("held", flush=True)
    time.sleep(60)
"""

SMALL_DISK = """
import resource, sys
from recsys import store
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with store.open_run(sys.argv[1], keep=1) as run:
    run.write_bytes("predictions/x", b"x" * 2000)
"""


@contextmanager
def started(code: str | Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, *([code] if isinstance(code, Path) else ["-c", code]), *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def await_line(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{line}\n"


def day(mark: int, rows: int = 3) -> pl.DataFrame:
    as_of = dt.date.fromisoformat(DAY)
    return pl.DataFrame({"user_id": range(rows), "mark": mark}).with_columns(as_of=pl.lit(as_of))


def publish(out: Path, mark: int = 0, keep: int = 3, date: str = DAY, **manifest: Any) -> str:
    with store.open_run(out, keep) as run:
        run.write_table("predictions", day(mark))
        version = run.write_model({**MODEL, "mark": b"%d" % mark})
        pointers = {f"predictions/as_of={date}": "predictions"}
        run.publish({**pointers, f"models/{version}": "model", "models/current": "model"}, manifest)
    return version


def publish_pointers(out: Path, pointers: Mapping[str, str], **manifest: Any) -> None:
    with store.open_run(out, keep=1) as run:
        run.write_bytes("p/x", run.run_id.encode())
        run.publish(pointers, manifest)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ids(out: Path) -> list[int]:
    return [int(run.name) for run in store.list_runs(out)]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out [1]=*"


@pytest.mark.parametrize("action", ["kill", "fail"])
@pytest.mark.slow
def test_a_crash_at_any_step_ends_as_all_old_or_all_new(action: str) -> None:
    with started(CRASHES, action) as process:
        printed, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint
    steps = {begun: (int(old), int(new)) for begun, old, new in map(str.split, printed.splitlines())}
    assert min(old for begun, (old, _) in steps.items() if begun != "committed") >= 20
    assert steps["committed"][0] == 0
    assert min(new for _, new in steps.values()) >= 8


def test_nothing_is_visible_before_the_manifest(out: Path) -> None:
    with store.open_run(out, keep=1) as run:
        run.write_table("predictions", day(0))
        assert not run.committed
        assert names(out) == [".lock", "runs"]
        run.publish({f"predictions/as_of={DAY}": "predictions"}, {"as_of": DAY})
        assert run.committed
    manifest = store.read_manifest(run.folder)
    assert (manifest["run_id"], manifest["as_of"]) == ("000001", DAY)
    assert store.verify_files(run.folder) == len(manifest["files"]) == 1
    with pytest.raises(UsageError, match="comes too late"):
        run.write_bytes("late", b"")
    with pytest.raises(UsageError, match="committed already"):
        run.publish({}, {})


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to name what was synced")
def test_every_byte_is_on_the_disk_before_the_commit(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    fsync, replace = os.fsync, os.replace

    def logged_fsync(descriptor: int) -> None:
        fsync(descriptor)
        log.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    def logged_replace(old: Path, new: Path) -> None:
        replace(old, new)
        log.append(f"-> {new}")

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(os, "replace", logged_replace)
    publish(out)
    run = out / "runs/000001"
    commit = log.index(f"-> {run / 'manifest.json'}")
    written = [run / name for name in store.read_manifest(run)["files"]]
    needed = {*written, *(file.parent for file in written), run, run.parent, out}
    assert {str(path) for path in needed} <= set(log[:commit])
    assert log[commit - 1].startswith(f"{run}/.")
    assert log[commit + 1] == str(run)
    assert {str(out / "models"), str(out / "predictions")} <= set(log[commit:])


def test_a_concurrent_reader_sees_whole_days(tmp_path: Path) -> None:
    out = tmp_path / "out"
    publish_two_files(out, mark=0)
    with started(READER, out) as process:
        await_line(process, "ready")
        for mark in range(1, 50):
            publish_two_files(out, mark)
        (out / "stop").touch()
        printed, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint
    assert int(printed.split()[0]) >= 1


def publish_two_files(out: Path, mark: int) -> None:
    with store.open_run(out, keep=1) as run:
        run.write_table("predictions", day(mark, 1000))
        run.write_table("predictions", day(mark, 1000).reverse())
        run.publish({f"predictions/as_of={DAY}": "predictions"}, {})


def test_the_lock_admits_one_and_dies_with_its_process(out: Path) -> None:
    with started(HOLDER, out) as process:
        await_line(process, "held")
        with pytest.raises(LockedError, match=r"another run holds the lock on .*out"), store.open_run(out, 1):
            pass
        assert names(out / "runs") == ["000001"]
    with store.open_run(out, keep=1) as run, pytest.raises(LockedError), store.open_run(out, keep=1):
        pass
    assert run.run_id == "000001"


def test_retention_is_bounded_and_spares_the_superseded_run_until_the_next_publish(out: Path) -> None:
    for count in range(1, 31):
        publish(out, mark=count, keep=3)
        assert ids(out) == list(range(max(1, count - 3), count + 1))
        assert store.list_models(out)["run_id"].cast(int).to_list() == list(
            range(count, max(0, count - 3), -1)
        )


def test_a_restart_alone_deletes_no_committed_run(out: Path) -> None:
    publish(out, 1, keep=1)
    publish(out, 2, keep=1)
    with store.open_run(out, keep=1):
        pass
    assert ids(out) == [1, 2]


def test_a_start_that_finishes_flips_spares_both_the_old_run_and_the_finished_one(out: Path) -> None:
    publish_pointers(out, {"evaluation": "p"})
    publish_pointers(out, {"evaluation": "p"})
    (out / "evaluation").unlink()
    (out / "evaluation").symlink_to("runs/000001/p")
    (out / "runs/000002/unfinished").touch()
    publish_pointers(out, {"evaluation": "p"})
    assert ids(out) == [1, 2, 3]
    publish_pointers(out, {"evaluation": "p"})
    assert ids(out) == [3, 4]


def test_days_and_the_current_version_keep_their_runs(out: Path) -> None:
    first = publish(out, mark=0, date="2022-04-01")
    for mark in range(1, 6):
        with store.open_run(out, keep=1) as run:
            version = run.write_model({"mark": b"%d" % mark})
            run.publish({f"models/{version}": "model"}, {})
    assert ids(out) == [1, 5, 6]
    assert store.list_models(out).filter("current")["model_version"].to_list() == [first]
    assert store.read_model_files(out)["mark"] == b"0"
    assert len(store.read_predictions(out, "2022-04-01")) == 3


def test_a_new_run_never_appears_behind_an_old_link(out: Path) -> None:
    for mark in range(3):
        publish(out, mark)
    shutil.rmtree(out / "runs")
    with store.open_run(out, keep=1) as run:
        assert run.run_id == "000004"
    with pytest.raises(InputError, match="leads to a run that is gone"):
        store.read_predictions(out)


def test_what_others_keep_in_the_folder_is_left_alone(out: Path) -> None:
    (out / "runs/20220430").mkdir(parents=True)
    (out / "runs/20220430/precious").touch()
    (out / "runs/20220501").mkdir()
    (out / "runs/20220501/manifest.json").write_text("{}")
    for mark in range(3):
        publish(out, mark, keep=1)
    assert (out / "runs/20220430/precious").exists()
    assert (out / "runs/20220501/manifest.json").exists()


@pytest.mark.parametrize("existed", [False, True])
def test_a_failed_first_run_leaves_nothing(tmp_path: Path, existed: bool) -> None:
    out = tmp_path / "a/b"
    if existed:
        out.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ZeroDivisionError), store.open_run(out, keep=1) as run:
        run.write_bytes("predictions/x", b"%d" % (1 // 0))
    assert sorted(tmp_path.rglob("*")) == before


def test_equal_bytes_have_equal_names(out: Path) -> None:
    assert publish(out, 1) == publish(out, 1) != publish(out, 2)
    frame = pl.DataFrame({"a": range(300_000), "b": [None, "x", "y"] * 100_000})
    pieces = pl.concat([frame[:7], frame[7:200_001], frame[200_001:]], rechunk=False)
    with store.open_run(out, keep=1) as run:
        assert run.write_table("p", frame) == run.write_table("p", pieces)
        assert run.write_table("p", frame) == run.write_table("p", frame.lazy())


def test_a_table_that_does_not_fit_the_disk_says_so() -> None:
    rows = pl.DataFrame({"a": range(300_000)}).lazy()
    with pytest.raises(OutputError, match="No space left on device"):
        write_rows(Path("/dev/full"), rows)


def test_models_are_listed_newest_first_with_what_their_runs_say(out: Path) -> None:
    with pytest.raises(InputError, match="has no models: run `recsys train` first"):
        store.list_models(out)
    versions = [publish(out, 0, as_of=DAY, metrics={"auc": {"value": 0.5, "low": 0.4}})]
    versions.append(publish(out, 1, as_of="2022-05-01"))
    expected = {"model_version": versions[::-1], "run_id": ["000002", "000001"], "as_of": ["2022-05-01", DAY]}
    expected |= {"current": [True, False], "auc": [None, 0.5]}
    assert store.list_models(out).to_dict(as_series=False) == expected
    with pytest.raises(InputError, match=f"no model 'zz': choose from {versions[1]}, {versions[0]}"):
        store.read_model_files(out, "zz")


def test_predictions_are_read_whole_by_store_polars_and_pandas(out: Path) -> None:
    with pytest.raises(InputError, match="no predictions: run `recsys predict` first"):
        store.read_predictions(out)
    publish(out, 1, date="2022-04-29")
    publish(out, 2)
    for date in (None, DAY, dt.date.fromisoformat(DAY), dt.datetime.fromisoformat(DAY)):
        assert store.read_predictions(out, date).equals(day(2))
    with pytest.raises(InputError, match="'2022-05-01': choose from 2022-04-29, 2022-04-30"):
        store.read_predictions(out, "2022-05-01")
    plain = out.rename(out.with_name("out"))  # readers who glob cannot have a star in the path
    scanned = pl.scan_parquet(plain / "predictions", hive_partitioning=True)
    assert scanned.collect().shape == (6, 3)
    assert pl.read_parquet(plain / f"predictions/as_of={DAY}").equals(day(2))
    assert pd.read_parquet(plain / f"predictions/as_of={DAY}").shape == (3, 3)
    assert pd.read_parquet(plain / "predictions", partitioning=None).shape == (6, 3)


def flip_bit(model: Path) -> None:
    (model / "head.json").write_bytes(b"{|")


def add_file(model: Path) -> None:
    (model / "extra.pkl").touch()


def remove_file(model: Path) -> None:
    (model / "head.json").unlink()


def link_file(model: Path) -> None:
    (model / "head.json").rename(model.parent / "elsewhere")
    (model / "head.json").symlink_to("../elsewhere")


def link_outside(model: Path) -> None:
    away = model.rename(model.parents[3] / "away")
    model.symlink_to(away)


def forge(model: Path) -> None:
    flip_bit(model)
    (model / "manifest.json").write_text(json.dumps(store.model_manifest({**MODEL, "head.json": b"{|"})))


def nest(model: Path) -> None:
    (model / "manifest.json").write_text("[" * 100_000)


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (flip_bit, "head.json is damaged"),
    (add_file, "extra.pkl is not in the manifest"),
    (remove_file, "head.json is missing"),
    (link_file, "head.json must be a regular file"),
    (link_outside, "must lead into .*, leads to .*away"),
    (forge, "model/manifest.json is damaged"),
    (nest, "model/manifest.json is damaged"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_a_model_that_was_touched_is_refused(out: Path, damage: Callable[[Path], None], message: str) -> None:
    version = publish(out)
    assert store.read_model_files(out, version) == {**MODEL, "mark": b"0"}
    damage(out / "runs/000001/model")
    for name in (version, "current"):
        with pytest.raises(InputError, match=message):
            store.read_model_files(out, name)
    with pytest.raises(InputError):
        store.verify_files(out / "runs/000001")


def test_versions_cannot_be_swapped(out: Path) -> None:
    first, second = publish(out, 1), publish(out, 2)
    (out / "models" / first).unlink()
    (out / "models" / second).rename(out / "models" / first)
    with pytest.raises(InputError, match=f"must lead to the version it names, leads to {second}"):
        store.read_model_files(out, first)


BAD_NAMES = ["../x", "/x", "a/../b", ".hidden", "a/.b", "", "a//b", "a\nb", "manifest.json", "unfinished"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_lead_elsewhere_are_refused(out: Path, name: str) -> None:
    with store.open_run(out, keep=1) as run, pytest.raises(UsageError, match="relative, visible"):
        run.write_bytes(name, b"")


@pytest.mark.parametrize(
    ("pointers", "message"),
    [
        ({"../x": "p"}, "a link is NAME"),
        ({"runs": "p"}, "a link is NAME"),
        ({"predictions": "p"}, "a link is NAME"),
        ({"predictions/latest": "p"}, "a link is NAME"),
        ({"models/a/b": "p"}, "a link is NAME"),
        ({"elsewhere/x": "p"}, "a link is NAME"),
        ({"x": "../p"}, "must lead to a folder of the run"),
        ({"x": "q"}, "must lead to a folder of the run"),
    ],
)
def test_pointers_that_lead_elsewhere_are_refused(
    out: Path, pointers: Mapping[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        publish_pointers(out, pointers)
    assert not out.exists()


@pytest.mark.parametrize("foreign", ["evaluation/", "models"])
def test_what_stands_where_a_link_belongs_is_refused_before_the_commit(out: Path, foreign: str) -> None:
    out.mkdir()
    (out / foreign).mkdir() if foreign.endswith("/") else (out / foreign).touch()
    with pytest.raises(OutputError, match="move it away"):
        publish_pointers(out, {"evaluation": "p", "models/current": "p"})
    assert names(out) == [foreign.rstrip("/")]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_has_no_nan(out: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        publish_pointers(out, {}, metrics=value)
    assert not out.exists()


@pytest.mark.parametrize(("below", "reason"), [("", "must be a folder"), ("x/y", "Not a directory")])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, below: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=f"file.*{reason}"), store.open_run(tmp_path / "file" / below, 1):
        pass
    with pytest.raises(OutputError, match="file/x cannot be written: Not a directory"):
        store.write_file(tmp_path / "file/x", b"")


def test_a_full_disk_is_named_and_leaves_nothing(out: Path) -> None:
    with started(SMALL_DISK, out) as process:
        _, complaint = process.communicate(timeout=60)
    assert "OutputError" in complaint
    assert "predictions/x cannot be written: File too large" in complaint
    assert not out.exists()


def test_one_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    store.write_file(tmp_path / "x", b"old")
    store.write_file(tmp_path / "x", b"new")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder cannot be written"):
        store.write_file(tmp_path / "folder", b"")
    assert names(tmp_path) == ["folder", "x"]
    assert (tmp_path / "x").read_bytes() == b"new"
