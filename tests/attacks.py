"""Attacks on an output folder: processes that are killed, starved, shut out, and a reader who looks all the time."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import polars as pl

from recsys import store

DAY = "2026-01-18"
_PUBLISHES = 0.12  # seconds
#: The smallest log that every seed can be fitted on.
WORLD: dict[str, Any] = {"exposures": 4000, "users": 100, "items": 60, "seed": 1}
#: The least that still goes through every stage.
SMALLEST = {
    "RECSYS_MODEL__FACTORS": "2",
    "RECSYS_MODEL__ITERATIONS": "1",
    "RECSYS_MODEL__CUTS": "1",
    "RECSYS_MODEL__FOLDS": "2",
    "RECSYS_MODEL__L2": "10",
    "RECSYS_MODEL__CANDIDATES": "10",
    "RECSYS_EVALUATION__BOOTSTRAPS": "100",
    "RECSYS_EVALUATION__NULL_DRAWS": "100",
    "RECSYS_GATES__MAX_NORMALIZED_ENTROPY": "99",
    "RECSYS_OUTPUT__TOP_N": "5",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
#: Loaded once, in a process that never works: each run is forked from it, real, and killed by its own pid.
LOADED = [
    *("recsys_cli.app", "recsys_cli.options", "recsys.pipeline", "recsys.report", "recsys.engines.local"),
    *("matplotlib.backends.backend_svg", "matplotlib.figure", "numba", "implicit.als", "jinja2", "filelock"),
]

READER = """
import hashlib, json, sys, time
from pathlib import Path
import polars as pl

out, seen, scans, missing, torn = Path(sys.argv[1]), {}, 0, 0, []
print("ready", flush=True)
stopped = False
while not stopped:
    stopped = (out.parent / f"{out.name}.stop").exists()
    time.sleep(0.01)
    try:
        frame = pl.scan_parquet(out / "predictions", hive_partitioning=True).collect()
        scans += 1
        for day in frame.partition_by("as_of"):
            versions = day["model_version"].unique().to_list()
            if len(versions) != 1:
                torn.append(f"versions {versions} in one day")
            seen.setdefault(versions[0], set()).add(hashlib.sha256(day.write_csv().encode()).hexdigest())
    except FileNotFoundError:
        missing += 1
    except Exception as error:
        torn.append(f"{type(error).__name__}: {error}")
print(json.dumps({"scans": scans, "missing": missing, "torn": torn,
                  "seen": {version: sorted(hashes) for version, hashes in seen.items()}}))
"""


@dataclass
class Seen:
    """What a reader saw: `seen` maps a model version to hashes of whole days."""

    scans: int = 0
    missing: int = 0
    torn: list[str] = field(default_factory=list)
    seen: dict[str, list[str]] = field(default_factory=dict)


@contextmanager
def reading(out: Path) -> Iterator[Seen]:
    """Scan OUT/predictions all the time."""
    stop, found = out.parent / f"{out.name}.stop", Seen()
    stop.unlink(missing_ok=True)
    command = [sys.executable, "-c", READER, str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield found
            stop.touch()
            vars(found).update(json.loads(process.stdout.readline()))
        finally:
            process.kill()


def prepare() -> Any:
    """Make the context whose processes are forked from one that has loaded everything."""
    os.environ.update(SMALLEST)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    return context


def call_recsys(arguments: Sequence[str], said: str, before: Callable[[], None] | None = None) -> None:
    """Be a process that runs one command, its words in a file."""
    from recsys.pipeline import _outbox
    from recsys_cli.app import main

    # Half of a run, and nothing of it is attacked.
    _outbox.render_evaluation = lambda *_: "<html></html>"  # type: ignore[assignment]
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if before is not None:
        before()
    main(list(arguments))


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    said: str

    @property
    def last(self) -> str:
        """Its last line."""
        return self.said.strip().splitlines()[-1] if self.said.strip() else ""


@dataclass(frozen=True)
class Folder:
    """An output folder under attack."""

    context: Any
    log: Path
    out: Path

    def start(self, seed: int, *more: str, before: Callable[[], None] | None = None) -> BaseProcess:
        """Start `recsys run`."""
        Path(self._said(seed)).touch()
        process: BaseProcess = self.context.Process(
            target=call_recsys, args=([*self.arguments(seed), *more], self._said(seed), before)
        )
        process.start()
        return process

    def arguments(self, seed: int) -> list[str]:
        """Give the arguments of `recsys run`."""
        where = ["-c", str(self.log), "-o", str(self.out), "--as-of", DAY]
        return ["run", *where, "-q", "-j", "1", "--seed", str(seed)]

    def end(self, process: BaseProcess, seed: int) -> Ended:
        """Wait until it has ended."""
        process.join(300)
        assert process.exitcode is not None, "a run hangs"
        return Ended(process.exitcode, Path(self._said(seed)).read_text(errors="replace"))

    def run(self, seed: int, *more: str, before: Callable[[], None] | None = None) -> Ended:
        """Do a whole `recsys run`."""
        return self.end(self.start(seed, *more, before=before), seed)

    def _said(self, seed: int) -> str:
        return str(self.out.parent / f"{self.out.name}.{seed}.said")

    def days(self) -> dict[str, str]:
        """Hash the day of every committed run, by model version."""
        found = {}
        for run in store.list_runs(self.out):
            frame = store.read_run_table(run, "predictions")
            assert frame is not None
            found[frame["model_version"][0]] = _hash_day(frame)
        return found

    def wrong(self, most: int = 9) -> list[str]:
        """Say what is not as a run that succeeded leaves it: of seven versions kept, at most so many runs."""
        found = store.verify(self.out)
        runs = [run.name for run in store.list_runs(self.out)]
        links = [path for path in self.out.rglob("*") if path.is_symlink()]
        newest = self.out / "models/current"
        led = {
            path.resolve().relative_to(self.out.resolve()).parts[1]
            for path in links
            if path.parent != newest.parent
        }
        hidden = [path.name for path in self.out.rglob(".*") if path.name != ".lock"]
        strays = [path.name for path in self.out.rglob("unfinished")]
        mixed = (
            []
            if led == {newest.resolve().parts[-2]} == {runs[-1]}
            else [f"links lead to {sorted(led)} of {runs}"]
        )
        many = [f"{len(runs)} runs"] if len(runs) > most else []
        return [*found.damages, *found.notes, *hidden, *strays, *mixed, *many]


def _hash_day(frame: pl.DataFrame) -> str:
    import hashlib

    return hashlib.sha256(frame.write_csv().encode()).hexdigest()


@dataclass
class Toll:
    """What killing came to."""

    kills: int = 0
    too_late: int = 0
    committed: int = 0
    whole: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def kill_runs(folder: Folder, kills: int, seed: int, aimed: bool = False) -> tuple[Toll, Seen]:
    """Kill so many runs of `recsys run` at random moments, each of another seed, and let the next one succeed.

    A moment may come after the run's end; of twice as many moments so many must not. Aimed kills wait until the run
    has begun to write, and strike while it publishes.
    """
    draw, toll = random.Random(seed), Toll()
    first = folder.run(seed)
    assert first.status == 0, first.said
    began = time.monotonic()
    assert folder.run(seed + 1).status == 0
    lasts = time.monotonic() - began
    toll.whole |= folder.days()
    with reading(folder.out) as seen:
        for number in takewhile(lambda _: toll.kills < kills, range(2 * kills)):
            next_seed = seed + 2 * number + 2
            _kill_one(folder, toll, next_seed, draw.uniform(0, _PUBLISHES if aimed else lasts), aimed)
            began = time.monotonic()
            ended = folder.run(next_seed + 1)
            lasts = time.monotonic() - began
            toll.whole |= folder.days()
            toll.wrong += [f"kill {number}: {one}" for one in folder.wrong()]
            if ended.status:
                toll.wrong.append(f"kill {number}: the next run ended with {ended.status}: {ended.last}")
            if (number + 1) % 20 == 0:
                print(f"{toll.kills} kills, {len(toll.wrong)} wrong, a run lasts {lasts:.1f} s")
    toll.wrong += [f"the reader: {one}" for one in seen.torn]
    toll.wrong += [
        f"the reader saw a day of {version} that no run wrote"
        for version, hashes in seen.seen.items()
        if hashes != [toll.whole.get(version)]
    ]
    return toll, seen


def _kill_one(folder: Folder, toll: Toll, seed: int, after: float, aimed: bool) -> None:
    newest = store.list_runs(folder.out)[-1].name
    process = folder.start(seed)
    # Every second one at the flips, which take a few milliseconds.
    flips = seed % 4 == 0
    while (
        aimed
        and process.is_alive()
        and not _writes(folder.out, newest, "manifest.json" if flips else "evaluation")
    ):
        process.join(0.001)
    process.join(after / 10 if aimed and flips else after)
    process.kill()
    ended = folder.end(process, seed)
    toll.kills += ended.status == -signal.SIGKILL
    toll.too_late += ended.status == 0
    if ended.status not in (0, -signal.SIGKILL):
        toll.wrong.append(f"ended with {ended.status}: {ended.last}")
    toll.whole |= folder.days()
    _start_again(folder, toll)


def _start_again(folder: Folder, toll: Toll) -> None:
    """Look at what a kill left; where a commit was not finished, let a start that publishes nothing finish it."""
    found = store.verify(folder.out)
    toll.wrong += found.damages
    if any("next start finishes" in note for note in found.notes):
        toll.committed += 1
        with store.open_run(folder.out, keep=7):
            pass
        # What a start finishes stands beside what it supersedes until the next publish.
        toll.wrong += [f"after a start: {one}" for one in folder.wrong(most=10)]


def _writes(out: Path, newest: str, name: str) -> bool:
    return any((run / name).exists() for run in (out / "runs").glob("0*") if run.name > newest)


def publish_forever(out: str, seed: int) -> None:
    """Be a process that publishes and publishes, every file marked with its turn."""
    for turn in range(1_000_000):
        mark = f"{seed}-{turn}"
        with store.open_run(out, keep=2) as run:
            frame = pl.DataFrame({"user_id": range(300), "model_version": mark})
            run.write_table("predictions", frame.with_columns(as_of=pl.lit(DAY).str.to_date()))
            run.write_bytes("evaluation/evaluation.json", mark.encode())
            version = run.write_model({"head.json": mark.encode()})
            links = {f"predictions/as_of={DAY}": "predictions", f"models/{version}": "model"}
            run.publish({**links, "models/current": "model", "evaluation": "evaluation"}, {"as_of": DAY})


def kill_publishes(context: Any, out: Path, kills: int, seed: int) -> tuple[Toll, Seen]:
    """Kill a process that does nothing but publish, and look at what the next start makes of it."""
    draw, toll, folder = random.Random(seed), Toll(), Folder(context, out, out)
    with reading(out) as seen:
        for number in range(kills):
            process = context.Process(target=publish_forever, args=(str(out), number))
            process.start()
            process.join(draw.uniform(0.02, 0.6))
            process.kill()
            process.join()
            toll.kills += process.exitcode == -signal.SIGKILL
            if not store.list_runs(out) if out.exists() else True:
                continue
            toll.whole |= folder.days()
            toll.wrong += store.verify(out).damages
            left = store.verify(out).notes
            with store.open_run(out, keep=2):
                pass
            toll.committed += any("next start finishes" in note for note in left)
            toll.wrong += [f"kill {number}: {one}" for one in folder.wrong()]
    toll.wrong += [f"the reader: {one}" for one in seen.torn]
    # A day that was superseded between two kills is known by its reader alone: it must be one whole day.
    toll.wrong += [
        f"the reader saw two days of {version}" for version, hashes in seen.seen.items() if len(hashes) > 1
    ]
    return toll, seen


def limit_file_size(limit: int) -> None:
    """Make every write beyond a size fail, as a quota does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def become_nobody() -> None:
    """Lose the rights of root, which no permission holds back."""
    if os.getuid() == 0:
        os.setgid(65_534)
        os.setuid(65_534)


def set_clock_back() -> None:
    """Make the clock say 1970, and run backwards."""
    ticks = iter(range(10**6, 0, -1))
    time.time = lambda: float(next(ticks))


def tree(out: Path) -> dict[str, bytes | str | None]:
    """Read everything below a folder: links, bytes; the lock file apart."""
    return {
        str(path.relative_to(out)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in sorted(out.rglob("*"))
        if path.name != ".lock"
    }


def remove(folder: Path) -> None:
    """Remove a folder under the feet of whoever writes in it."""
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
