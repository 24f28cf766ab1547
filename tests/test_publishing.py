"""Laws of what is published: verified, repeated without change, rolled back, kept for as long as was said."""

from __future__ import annotations

import datetime as dt
import json
import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attacks
import polars as pl
import pytest

from recsys import store
from recsys.errors import InputError, LockedError, OutputError, UsageError

DAYS = [f"2022-04-{day:02d}" for day in range(1, 31)]


def publish(out: Path, mark: int = 0, date: str = DAYS[-1], keep: int = 3, **more: Any) -> str | None:
    """Publish a version and a day; None when nothing changed."""
    with store.open_run(out, keep, more.pop("keep_days", None)) as run:
        run.write_table("predictions", pl.DataFrame({"user_id": [1, 2], "mark": mark}))
        run.write_json("evaluation/evaluation.json", mark)
        version = run.write_model({"head.json": b"%d" % mark, "rates.parquet": b"rates"})
        links = {f"predictions/as_of={date}": "predictions", f"models/{version}": "model"}
        links |= {"models/current": "model", "evaluation": "evaluation"}
        for link in more.pop("without", ()):
            del links[link]
        done = run.publish(links, {"as_of": date, "metrics": {"auc": 0.5 + mark / 1000}, **more})
    return version if done else None


def look(out: Path) -> dict[str, tuple[int, int]]:
    """Tell any touch of any file or link."""
    found = {str(path): path.lstat() for path in out.rglob("*") if path.name != ".lock"}
    return {name: (about.st_ino, about.st_mtime_ns) for name, about in found.items() if "runs" not in name}


def marks(out: Path) -> dict[str, int]:
    links = sorted((out / "predictions").iterdir())
    return {link.name[6:]: store.read_predictions(out, link.name[6:])["mark"][0] for link in links}


@pytest.fixture(scope="module")
def context() -> Any:
    """Start processes from one that has loaded what they need."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["recsys.store", "filelock", "attacks", "pytest"])
    return found


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_identical_bytes_flip_nothing_and_leave_no_run(out: Path) -> None:
    publish(out, 1)
    before = look(out)
    assert publish(out, 1, command="another") is None
    assert look(out) == before
    assert [run.name for run in store.list_runs(out)] == ["000001"]
    assert publish(out, 2) is not None
    assert look(out) != before


@pytest.mark.parametrize("name", ["predictions", "model/head.json", "evaluation/evaluation.json"])
def test_identical_bytes_mend_what_is_damaged(out: Path, name: str) -> None:
    publish(out, 1)
    place = out / "runs/000001" / name
    place = next(place.glob("*.parquet")) if place.is_dir() else place
    place.write_bytes(place.read_bytes()[:-1] + b"!")
    assert store.verify(out).damages
    assert publish(out, 1) is not None
    publish(out, 2)
    publish(out, 3, keep=1)
    assert not store.verify(out).damages


def publish_report(out: Path, content: bytes) -> bool:
    with store.open_run(out, keep=1) as run:
        run.write_bytes("evaluation/evaluation.json", content)
        return run.publish({"evaluation": "evaluation"}, {})


def test_other_bytes_of_the_same_name_and_size_are_other_bytes(out: Path) -> None:
    assert [publish_report(out, content) for content in (b"1", b"1", b"2")] == [True, False, True]
    assert (out / "evaluation/evaluation.json").read_bytes() == b"2"


def test_a_link_that_leads_elsewhere_is_flipped_back(out: Path) -> None:
    first = publish(out, 1, date=DAYS[0])
    publish(out, 2, date=DAYS[1])
    assert first is not None
    store.rollback(out, first)
    assert publish(out, 2, date=DAYS[1]) is not None
    assert store.read_model_files(out)["head.json"] == b"2"


def test_a_version_that_retention_took_is_not_missed(out: Path) -> None:
    publish(out, 9, date=DAYS[9])
    kept = ("models/current", "evaluation")
    publish(out, 1, date=DAYS[1], keep=1, without=kept)
    assert publish(out, 1, date=DAYS[1], keep=1, without=kept) is None
    assert marks(out) == {DAYS[1]: 1, DAYS[9]: 9}


def test_what_is_whole_is_counted(out: Path) -> None:
    with pytest.raises(InputError, match="has no runs"):
        store.verify(out)
    publish(out, 1, date=DAYS[0])
    publish(out, 2, date=DAYS[1])
    found = store.verify(out)
    assert (found.runs, found.files, found.links) == (2, 10, 6)
    assert (found.damages, found.notes) == ((), ())


def test_parts_are_kept_in_the_order_asked_for_and_what_else_was_written_is_not(out: Path) -> None:
    frames = [pl.DataFrame({"mark": [mark, mark]}) for mark in range(3)]
    with store.open_run(out, keep=1) as run:
        write = store.PartWriter(str(run.open_parts("predictions")))
        first, again, last = (write(iter([frames[mark]])) for mark in (1, 1, 0))
        assert first is not None
        assert again is not None
        assert last is not None
        assert write(iter([])) is None
        (Path(write.folder) / "half.parquet").write_bytes(b"half")
        run.keep_parts("predictions", [last, again])
        run.publish({f"predictions/as_of={DAYS[0]}": "predictions"}, {})
    assert (first.sha256, first.rows) == (again.sha256, 2)
    kept = sorted(path.name for path in (out / "runs/000001/predictions").iterdir())
    assert kept == [f"{place:06d}-{one.sha256[:16]}.parquet" for place, one in enumerate((last, again))]
    assert store.read_predictions(out).equals(pl.concat([frames[0], frames[1]]))
    assert [path.name for path in (out / "runs/000001").iterdir() if path.is_dir()] == ["predictions"]
    assert not store.verify(out).damages


@pytest.mark.parametrize(("lose", "says"), [(False, "bytes that were written"), (True, "No such file")])
def test_a_part_that_is_not_as_it_was_written_stops_the_run(out: Path, lose: bool, says: str) -> None:
    with store.open_run(out, keep=1) as run:
        write = store.PartWriter(str(run.open_parts("predictions")))
        part = write(iter([pl.DataFrame({"mark": [1]})]))
        assert part is not None
        path = Path(write.folder) / part.file
        path.unlink() if lose else path.write_bytes(b"")
        with pytest.raises(OutputError, match=says):
            run.keep_parts("predictions", [part])
    assert not out.exists()


def run_folder(out: Path) -> Path:
    return out / "runs/000002"


def flip_manifest(out: Path) -> None:
    path = run_folder(out) / "manifest.json"
    path.write_text(path.read_text().replace("0.502", "0.602"))


def forge_manifest(out: Path) -> None:
    path = run_folder(out) / "manifest.json"
    found = {**json.loads(path.read_text()), "metrics": {"auc": float("nan")}}
    path.write_text(json.dumps(found))


def rename_run(out: Path) -> None:
    shutil.copytree(run_folder(out), out / "runs/000007")


def swap_links(out: Path) -> None:
    first, second = (out / f"predictions/as_of={date}" for date in DAYS[:2])
    targets = first.readlink(), second.readlink()
    for link, target in zip((first, second), reversed(targets), strict=True):
        link.unlink()
        link.symlink_to(target)


def lead_outside(out: Path) -> None:
    (out / "predictions" / f"as_of={DAYS[5]}").symlink_to("/etc")


def lead_nowhere(out: Path) -> None:
    shutil.rmtree(run_folder(out))


def lose_link(out: Path) -> None:
    (out / "predictions" / f"as_of={DAYS[1]}").unlink()


DAMAGES: list[tuple[Callable[[Path], object], str, int]] = [
    (lambda out: (run_folder(out) / "model/head.json").write_bytes(b"3"), "head.json is damaged", 1),
    (lambda out: (run_folder(out) / "model/head.json").unlink(), "head.json is missing", 1),
    (lambda out: (run_folder(out) / "model/x.pkl").touch(), "x.pkl is not in the manifest", 1),
    (lambda out: (run_folder(out) / "manifest.json").write_text("{"), "manifest.json is damaged", 1),
    (lambda out: (run_folder(out) / "manifest.json").write_text("[]"), "must be a JSON object", 1),
    (flip_manifest, "manifest.json is damaged", 1),
    (forge_manifest, "manifest.json is damaged", 1),
    (rename_run, "000007 holds run '000002'", 1),
    (swap_links, "was not published under that name", 2),
    (lead_outside, "leads outside", 1),
    (lead_nowhere, "leads to a run that is gone", 4),
    (lose_link, "is missing, and run 000002 published it", 1),
    (lambda out: (out / "predictions/x.parquet").touch(), "x.parquet is no link of recsys", 1),
    (lambda out: (out / "predictions/.x").symlink_to("../runs/000002/predictions"), "x is no day", 2),
]


@pytest.mark.parametrize(("damage", "says", "lines"), DAMAGES)
def test_each_damage_is_named_in_one_line(
    out: Path, damage: Callable[[Path], object], says: str, lines: int
) -> None:
    publish(out, 1, date=DAYS[0])
    publish(out, 2, date=DAYS[1])
    damage(out)
    found = store.verify(out).damages
    assert len(found) == lines, found
    assert any(says in line for line in found), found
    assert all("\n" not in line and str(out) in line for line in found)


def test_every_bit_of_a_run_is_watched(out: Path) -> None:
    publish(out, 1)
    draw = random.Random(5)
    for path in sorted(path for path in (out / "runs/000001").rglob("*") if path.is_file()):
        whole = path.read_bytes()
        for _ in range(25):
            place, bit = draw.randrange(len(whole)), 1 << draw.randrange(8)
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            assert len(store.verify(out).damages) >= 1, (path, place, bit)
        path.write_bytes(whole)
    assert not store.verify(out).damages


def test_what_a_crash_leaves_is_a_note_and_no_damage(out: Path) -> None:
    publish(out, 1)
    with store.open_run(out, keep=1) as run:
        run.write_bytes("predictions/x", b"")
        assert not store.verify(out).damages
        assert "000002 is not committed" in store.verify(out).notes[0]
    (out / "runs/000001/unfinished").touch()
    found = store.verify(out)
    assert not found.damages
    assert "000001 is committed, and the next start finishes" in found.notes[0]


def test_rollback_moves_the_pointer_and_nothing_else(out: Path) -> None:
    with pytest.raises(InputError, match="has no models"):
        store.rollback(out)
    first, second, third = (publish(out, mark, DAYS[mark]) for mark in (1, 2, 3))
    before = look(out)
    assert store.rollback(out) == (third, second)
    assert store.rollback(out) == (second, first)
    assert store.read_model_files(out)["head.json"] == b"1"
    with pytest.raises(InputError, match=f"no version is older than {first}"):
        store.rollback(out)
    assert store.rollback(out, third) == (first, third)
    changed = {name for name, about in look(out).items() if before.get(name) != about}
    assert {Path(name).name for name in changed} == {"current", "models"}
    assert not store.verify(out).damages


def test_rollback_to_a_damaged_version_is_refused(out: Path) -> None:
    first, second = publish(out, 1, DAYS[1]), publish(out, 2, DAYS[2])
    (out / "runs/000001/model/head.json").write_bytes(b"7")
    with pytest.raises(InputError, match="is damaged"):
        store.rollback(out, first)
    with pytest.raises(InputError, match=f"no model '../x': choose from {second}, {first}"):
        store.rollback(out, "../x")
    assert store.read_model_files(out)["head.json"] == b"2"


def test_keep_counts_by_as_of_and_never_takes_the_current_version(out: Path) -> None:
    nights = [publish(out, mark, DAYS[mark]) for mark in (20, 21, 22)]
    assert nights[0] is not None
    store.rollback(out, nights[0])
    for mark in range(1, 8):  # a backfill
        publish(out, mark, DAYS[mark], keep=2, without=("models/current", "evaluation"))
    assert store.list_models(out)["model_version"].to_list() == [nights[2], nights[1], nights[0]]
    assert store.read_model_files(out)["head.json"] == b"20"


def test_a_day_outlives_the_model_that_made_it(out: Path) -> None:
    for mark in range(5):
        publish(out, mark, DAYS[mark], keep=2)
    runs = {run.name: (run / "model").exists() for run in store.list_runs(out)}
    # Two are kept, and one more until the next publish: a reader may be inside.
    assert runs == {"000001": False, "000002": False, "000003": True, "000004": True, "000005": True}
    assert marks(out) == {DAYS[mark]: mark for mark in range(5)}
    found = store.verify(out)
    assert (found.damages, found.files) == ((), 3 * 5 + 2 * 2)
    assert publish(out, 4, DAYS[4], keep=2) is None
    shutil.rmtree(out / "runs/000005/model")
    assert len(store.verify(out).damages) == 2  # its version, and `current`


def test_keep_days_keeps_the_newest_days_whatever_the_calendar_says(out: Path) -> None:
    for mark in range(6):
        publish(out, mark, DAYS[mark], keep=1, keep_days=3)
    assert marks(out) == {DAYS[3]: 3, DAYS[4]: 4, DAYS[5]: 5}
    publish(out, 6, "2099-12-31", keep=1, keep_days=3)
    assert list(marks(out)) == [DAYS[4], DAYS[5], "2099-12-31"]
    publish(out, 7, DAYS[0], keep=1, keep_days=3)
    assert list(marks(out)) == [DAYS[0], DAYS[4], DAYS[5], "2099-12-31"]
    assert len(store.list_runs(out)) <= 6


def test_days_that_would_go_at_once_are_refused(out: Path) -> None:
    for mark in range(3, 6):
        publish(out, mark, DAYS[mark])
    days = [dt.date.fromisoformat(DAYS[day]) for day in range(2)]
    store.check_days_kept(out, days, None)
    store.check_days_kept(out, days, 5)
    with pytest.raises(UsageError, match=f"{DAYS[0]} is older than the 4 days .* {DAYS[1]} to {DAYS[5]}"):
        store.check_days_kept(out, days, 4)


def test_prune_applies_retention_and_spares_readers_until_the_next(out: Path) -> None:
    with pytest.raises(InputError, match="has no runs"):
        store.prune(out, keep=1)
    versions = [publish(out, mark, DAYS[mark], keep=9) for mark in range(4)]
    found = store.prune(out, keep=1, keep_days=2)
    assert (sorted(found.models), found.days, found.runs) == (sorted(map(str, versions[:3])), DAYS[:2], [])
    assert store.prune(out, keep=1, keep_days=2).runs == ["000001", "000002"]
    assert marks(out) == {DAYS[2]: 2, DAYS[3]: 3}
    assert not store.verify(out).damages
    with pytest.raises(UsageError, match="keep_days must be at least 1, got 0"):
        store.prune(out, keep=1, keep_days=0)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_run_whose_folder_went_says_so_and_touches_no_other(out: Path, replaced: bool) -> None:
    with store.open_run(out, 1) as run:
        run.write_bytes("predictions/x", b"mine")
        out.rename(out.with_name("moved"))
        if replaced:
            with store.open_run(out, keep=1) as other:
                other.write_bytes("predictions/x", b"theirs")
                with pytest.raises(OutputError, match="was removed"):
                    run.write_bytes("predictions/y", b"mine")
                other.publish({"evaluation": "predictions"}, {})
        for late in (lambda: run.write_bytes("predictions/y", b"mine"), lambda: run.publish({}, {})):
            with pytest.raises(OutputError, match=r"was removed or replaced .*: run again"):
                late()
    assert out.exists() is replaced
    if replaced:
        assert [path.read_bytes() for path in (out / "evaluation").iterdir()] == [b"theirs"]
        assert not store.verify(out).damages


def hold(out: str, seconds: float, ready: Any) -> None:
    with store.open_run(out, keep=1):
        ready.set()
        time.sleep(seconds)


@contextmanager
def holding(context: Any, out: Path, seconds: float) -> Iterator[Any]:
    ready = context.Event()
    process = context.Process(target=hold, args=(str(out), seconds, ready))
    process.start()
    try:
        assert ready.wait(60)
        yield process
    finally:
        process.kill()
        process.join()


def test_waiting_gives_up_in_time_and_outlasts_a_run_that_ends_or_dies(context: Any, out: Path) -> None:
    publish(out, 1)
    with holding(context, out, 60) as process:
        with pytest.raises(LockedError, match="or --wait SECONDS"), store.open_run(out, 1):
            pass
        with pytest.raises(LockedError, match=r"still after 0\.2 s"), store.open_run(out, 1, wait=0.2):
            pass
        process.kill()
        with store.open_run(out, keep=1, wait=30):
            pass
    with holding(context, out, 0.3), store.open_run(out, keep=1, wait=30) as run:
        assert run.run_id == "000002"


def test_who_waits_for_a_run_that_leaves_nothing_gets_the_lock(context: Any, out: Path) -> None:
    with holding(context, out / "deep", 0.3), store.open_run(out / "deep", keep=1, wait=30) as run:
        assert (out / "deep/.lock").exists()
        with pytest.raises(LockedError), store.open_run(out / "deep", keep=1):
            pass
        run.write_bytes("p/x", b"")
        run.publish({"evaluation": "p"}, {})
    assert not store.verify(out / "deep").damages


def contend(out: str, inside: str, turns: int, wrong: Any) -> None:
    """Take a lock that leaves nothing, again and again; only one may be inside."""
    for _ in range(turns):
        with store.open_run(out, keep=1, wait=60):
            try:
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                wrong.value += 1
                continue
            time.sleep(0.002)
            Path(inside).unlink()


def test_only_one_is_inside_though_the_lock_file_comes_and_goes(context: Any, tmp_path: Path) -> None:
    wrong = context.Value("i", 0)
    arguments = (str(tmp_path / "a/out"), str(tmp_path / "inside"), 40, wrong)
    processes = [context.Process(target=contend, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert wrong.value == 0


def test_a_clock_that_runs_backwards_changes_nothing(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10**6, 0, -1))
    monkeypatch.setattr(time, "time", lambda: float(next(ticks)))
    for mark in range(3):
        publish(out, mark, DAYS[mark])
        os.utime(out / "runs", (0, 10**9 - mark))
    assert marks(out) == {DAYS[0]: 0, DAYS[1]: 1, DAYS[2]: 2}
    assert store.list_models(out)["current"].to_list() == [True, False, False]


def test_publishes_do_not_pile_up(out: Path) -> None:
    sizes = []
    for mark in range(24):
        publish(out, mark, DAYS[mark], keep=2, keep_days=3)
        handles = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
        sizes.append((sum(1 for _ in out.rglob("*")), handles))
    assert len(set(sizes[6:])) == 1, sizes


@pytest.mark.slow
def test_a_kill_at_any_moment_of_publishing_leaves_whole_days(context: Any, tmp_path: Path) -> None:
    toll, seen = attacks.kill_publishes(context, tmp_path / "out", kills=15, seed=3)
    assert toll.kills == 15
    assert not toll.wrong, toll.wrong
    assert seen.scans > 0
