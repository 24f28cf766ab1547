"""Kill, starve and shut out `recsys run`, and look at what its readers see: 0 wrong, or exit status 1.

Run from the root of the repository::

    uv run python tests/benchmarks/faults.py [--kills 300] [--aimed-kills 60] [--publish-kills 300]
        [--publishes 1000] [--jobs 2] [--only NAME ...]

Every run is a process of its own, forked from one that has only loaded the libraries, on a log of 4,000
exposures; a kill is a SIGKILL at a moment drawn uniformly from the time a whole run takes. Attacks that need
a file system of their own need the right to mount, and say so where it is missing.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))
import attacks
from attacks import Ended, Folder, Seen, Toll

from recsys import store
from recsys.simulation import World, write_simulation


class Book:
    """What was attacked, and what went wrong."""

    def __init__(self) -> None:
        self.wrong = 0

    def tell(self, name: str, said: str, wrong: list[str]) -> None:
        """Print a line an attack, and what went wrong below it."""
        self.wrong += len(wrong)
        print(f"{name}: {said}; {len(wrong)} wrong", flush=True)
        for one in wrong[:20]:
            print(f"  WRONG {one}", flush=True)


def tell_kills(book: Book, name: str, found: list[tuple[Toll, Seen]], began: float) -> None:
    """Add up what the chains of kills found."""
    tolls, seen = [one for one, _ in found], [one for _, one in found]
    book.tell(
        name,
        f"{sum(one.kills for one in tolls)} killed ({sum(one.committed for one in tolls)} after their commit), "
        f"{sum(one.too_late for one in tolls)} had ended; the reader saw {sum(one.scans for one in seen):,} whole "
        f"scans of {sum(len(one.seen) for one in seen)} versions, {sum(one.missing for one in seen):,} times no file; "
        f"{time.monotonic() - began:.0f} s",
        [wrong for one in tolls for wrong in one.wrong],
    )


def kills(book: Book, context: Any, log: Path, top: Path, count: int, jobs: int, aimed: bool = False) -> None:
    """Kill runs, in several folders at once."""
    began, name = time.monotonic(), "aimed" if aimed else "kills"
    chains = [Folder(context, log, top / f"{name}-{job}/out") for job in range(jobs)]
    for chain in chains:
        chain.out.parent.mkdir()
    shares = [count // jobs + (job < count % jobs) for job in range(jobs)]
    with ThreadPoolExecutor(jobs) as pool:
        seeds = range(0, 10_000 * jobs, 10_000)
        found = list(pool.map(attacks.kill_runs, chains, shares, seeds, [aimed] * jobs))
    tell_kills(book, f"kill -9 of run{' as it publishes' if aimed else ''}", found, began)


def publish_kills(book: Book, context: Any, top: Path, count: int) -> None:
    """Kill a process that publishes all the time."""
    began = time.monotonic()
    found = attacks.kill_publishes(context, top / "publishing", count, seed=0)
    tell_kills(book, "kill -9 of publish", [found], began)


def refused(ended: Ended, says: str, status: int = 73) -> list[str]:
    """Say what is wrong with how a run ended that could not write."""
    lines = ended.said.strip().splitlines()
    wrong = [] if ended.status == status else [f"exit {ended.status}, not {status}: {ended.last}"]
    wrong += [] if len(lines) == 1 else [f"{len(lines)} lines: {ended.said}"]
    return wrong + ([] if says in ended.said else [f"does not say {says!r}: {ended.said}"])


def unchanged(folder: Folder, before: dict[str, Any]) -> list[str]:
    """Say what a refused run changed."""
    after = attacks.tree(folder.out)
    different = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    return [f"changed {name}" for name in sorted(different)] + list(store.verify(folder.out).damages)


def quota(book: Book, folder: Folder) -> None:
    """Limit the size of files, from nothing to enough."""
    assert folder.run(1).status == 0
    before, wrong, refusals = attacks.tree(folder.out), [], 0
    for limit in (0, 1, 10, 100, 1000, 3000, 10_000, 30_000, 100_000, 10**7):
        # Its own words go to a file too.
        ended = folder.run(2, before=partial(attacks.limit_file_size, limit))
        refusals += ended.status != 0
        if ended.status == 0:
            break
        wrong += refused(ended, "File too large") if limit > 500 else []
        wrong += [f"limit {limit}: {one}" for one in unchanged(folder, before)]
    wrong += folder.wrong() if not folder.run(3).status else ["the next run failed"]
    book.tell("RLIMIT_FSIZE", f"{refusals} refused", wrong)


@contextmanager
def mounted(place: Path, *options: str) -> Iterator[bool]:
    """Mount a file system, where that is allowed."""
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(place)], capture_output=True)
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", str(place)], check=True)


def full_disk(book: Book, context: Any, log: Path, top: Path) -> None:
    """Fill a small disk to its last kibibytes, a few more at a time."""
    with mounted(top / "tiny", "-t", "tmpfs", "-o", "size=4m", "tmpfs") as there:
        if not there:
            print("full disk: not tried, no right to mount")
            return
        folder, filler = Folder(context, log, top / "tiny/out"), top / "tiny/filler"
        assert folder.run(1).status == 0
        before, wrong, refusals = attacks.tree(folder.out), [], 0
        for left in (0, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024):
            free = os.statvfs(top / "tiny")
            filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - left * 1024 - 4096)))
            moved = Folder(context, log, folder.out)
            ended = _run_saying_elsewhere(moved, top)
            filler.unlink()
            if ended.status == 0:
                break
            refusals += 1
            wrong += refused(ended, "No space left on device: free some space")
            wrong += [f"{left} KiB left: {one}" for one in unchanged(folder, before)]
        wrong += [] if ended.status == 0 else [f"1 MiB is not enough: {ended.last}"]
        wrong += folder.wrong()
    book.tell("full disk", f"{refusals} refused, {left} KiB were enough", wrong)


def _run_saying_elsewhere(folder: Folder, top: Path) -> Ended:
    """Run with its words on another disk."""
    said = top / "said"
    process = folder.context.Process(target=attacks.call_recsys, args=(folder.arguments(2), str(said), None))
    process.start()
    process.join(300)
    return Ended(process.exitcode, said.read_text())


def no_right(book: Book, folder: Folder) -> None:
    """Run as one who may read the output and not write it; then where nothing may be made."""
    assert folder.run(1).status == 0
    before = attacks.tree(folder.out)
    wrong = refused(folder.run(2, before=attacks.become_nobody), "give this user the right to write there")
    wrong += unchanged(folder, before)
    elsewhere = Folder(folder.context, folder.log, folder.out.parent / "closed/out")
    elsewhere.out.parent.mkdir(mode=0o755)
    ended = folder.run(3, "-o", str(elsewhere.out), before=attacks.become_nobody)
    wrong += refused(ended, "give this user the right to write there")
    wrong += [str(path) for path in elsewhere.out.parent.iterdir()]
    book.tell("no permission", "2 refused", wrong)


def read_only(book: Book, folder: Folder) -> None:
    """Run on a file system that is mounted read-only."""
    assert folder.run(1).status == 0
    before = attacks.tree(folder.out)
    with mounted(folder.out, "--bind", str(folder.out)) as there:
        if not there or subprocess.run(["mount", "-o", "remount,ro,bind", str(folder.out)]).returncode:
            print("read-only: not tried, no right to mount")
            return
        wrong = refused(folder.run(2), "Read-only file system: choose another --output")
        wrong += unchanged(folder, before)
    book.tell("read-only file system", "1 refused", wrong)


def vanished(book: Book, folder: Folder) -> None:
    """Remove the output folder, or put another in its place, while a run works."""
    wrong, refusals = [], 0
    for number, share in enumerate([0.2, 0.4, 0.6, 0.8, 0.9] * 2):
        began = time.monotonic()
        assert folder.run(3 * number).status == 0
        lasts = time.monotonic() - began
        process = folder.start(3 * number + 1)
        process.join(share * lasts)
        if number < 5:
            attacks.remove(folder.out)
        else:
            folder.out.rename(folder.out.with_name(f"moved-{number}"))
            assert folder.run(3 * number + 2).status == 0
        ended = folder.end(process, 3 * number + 1)
        refusals += ended.status != 0
        wrong += refused(ended, "run again") if ended.status else []
        if folder.out.exists():
            wrong += store.verify(folder.out).damages
        after = folder.run(3 * number + 2)
        wrong += folder.wrong() if not after.status else [f"the next run failed: {after.last}"]
    book.tell("a folder that vanishes or is replaced", f"{refusals} of 10 refused", wrong)


def clock(book: Book, folder: Folder) -> None:
    """Let the clock stand in 1970 and run backwards."""
    wrong = [
        one.last for seed in (1, 2, 3) if (one := folder.run(seed, before=attacks.set_clock_back)).status
    ]
    book.tell("a clock that runs backwards", "3 runs", wrong + folder.wrong())


def at_once(book: Book, folder: Folder) -> None:
    """Start four runs at once, without and with the patience to wait."""
    processes = [folder.start(seed) for seed in range(4)]
    statuses = sorted(folder.end(process, seed).status for seed, process in enumerate(processes))
    wrong = [] if set(statuses) == {0, 75} else [f"exits {statuses}"]
    wrong += folder.wrong()
    processes = [folder.start(seed, "--wait", "300") for seed in range(10, 14)]
    waited = [
        folder.end(process, seed).status for seed, process in zip(range(10, 14), processes, strict=True)
    ]
    wrong += [] if not any(waited) else [f"exits {waited} after waiting"]
    book.tell("four runs at once", f"exits {statuses}, and {waited} with --wait", wrong + folder.wrong())


def many_publishes(book: Book, out: Path, count: int) -> None:
    """Publish a thousand days with retention: files, handles and memory must not grow."""
    sizes: list[tuple[int, int, int]] = []
    began = time.monotonic()
    for number in range(count):
        day = f"{2000 + number // 336:04d}-{number % 336 // 28 + 1:02d}-{number % 28 + 1:02d}"
        with store.open_run(out, keep=3, keep_days=5) as run:
            run.write_table("predictions", pl.DataFrame({"user_id": range(1000), "mark": number}))
            version = run.write_model({"head.json": str(number).encode()})
            links = {f"predictions/as_of={day}": "predictions", f"models/{version}": "model"}
            run.publish({**links, "models/current": "model"}, {"as_of": day})
        if number % 50 == 49:
            gc.collect()
            files = sum(1 for _ in out.rglob("*"))
            handles = len(list(Path("/proc/self/fd").iterdir()))
            sizes.append((files, handles, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))
    first, last = sizes[min(2, len(sizes) - 1)], sizes[-1]
    grown = [name for name, a, b in zip(("files", "handles"), first, last, strict=False) if b > a]
    grown += ["memory"] if last[2] > 1.05 * first[2] else []
    wrong = [f"{name} grew from {first} to {last}" for name in grown]
    book.tell(
        f"{count} publishes with retention",
        f"{last[0]} files, {last[1]} handles, {last[2]} MiB at most ({first} after 150), "
        f"{1000 * (time.monotonic() - began) / count:.0f} ms each",
        wrong + list(store.verify(out).damages),
    )


def main() -> None:
    """Attack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--aimed-kills", type=int, default=60)
    parser.add_argument("--publish-kills", type=int, default=300)
    parser.add_argument("--publishes", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[], help="names of attacks")
    options = parser.parse_args()
    context, book = attacks.prepare(), Book()
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        top.chmod(0o755)
        log = top / "log"
        write_simulation(World.preset("small", **attacks.WORLD), log)

        def place(name: str) -> Folder:
            (top / name).mkdir()
            return Folder(context, log, top / name / "out")

        chosen = {
            "kills": lambda: kills(book, context, log, top, options.kills, options.jobs),
            "aimed_kills": lambda: kills(
                book, context, log, top, options.aimed_kills, options.jobs, aimed=True
            ),
            "publish_kills": lambda: publish_kills(book, context, top, options.publish_kills),
            "quota": lambda: quota(book, place("quota")),
            "full_disk": lambda: full_disk(book, context, log, top),
            "no_right": lambda: no_right(book, place("no_right")),
            "read_only": lambda: read_only(book, place("read_only")),
            "vanished": lambda: vanished(book, place("vanished")),
            "clock": lambda: clock(book, place("clock")),
            "at_once": lambda: at_once(book, place("at_once")),
            "publishes": lambda: many_publishes(book, top / "publishes", options.publishes),
        }
        for name, attack in chosen.items():
            if not options.only or name in options.only:
                attack()
    sys.exit(1 if book.wrong else 0)


if __name__ == "__main__":
    main()
