"""Publish, and die or fail at the k-th step that touches the disk, for every k: `python store_crashes.py kill|fail`.

Death is an exception that strikes again at each later step, so that no clean-up of the dead process reaches the disk.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recsys import store
from recsys.errors import OutputError

Work = Callable[[], None]
Tree = dict[str, str | bytes | bool]

STEPS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink"}
WRITES = os.O_WRONLY | os.O_RDWR
#: What readers look at.
NAMES = ("predictions/as_of=2022-04-30/x.parquet", "evaluation/evaluation.json", "models/current/head")


class DeadError(BaseException):
    """The process is no more."""


class Disk:
    """Counts the steps, and strikes at one of them."""

    def __init__(self) -> None:
        self.left, self.action = sys.maxsize, ""

    def step(self, *_: object) -> None:
        self.left -= 1
        if self.left <= 0 and self.action == "kill":
            raise DeadError
        if self.left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        if event in STEPS or (event == "open" and args[2] & WRITES):
            self.step()


class Trials:
    """Attempts in a folder that is put back before each."""

    def __init__(self, here: Path, disk: Disk, action: str) -> None:
        self.here, self.disk, self.action = here, disk, action
        self.base, self.out = here / "base", here / "new" / "out"

    def publish(self, mark: bytes) -> None:
        with store.open_run(self.out, keep=1) as run:
            run.write_bytes("predictions/x.parquet", mark)
            run.write_bytes("evaluation/evaluation.json", mark)
            version = run.write_model({"head": mark})
            links = {"predictions/as_of=2022-04-30": "predictions", "evaluation": "evaluation"}
            run.publish({**links, f"models/{version}": "model", "models/current": "model"}, {})

    def restart(self) -> None:
        with store.open_run(self.out, keep=1):
            pass

    def attempt(self, k: int, work: Work, action: str) -> str:
        """Do some work, struck at step k, and say how it ended."""
        self.disk.left, self.disk.action = k, action
        try:
            work()
        except DeadError:
            return "kill"
        except OutputError as error:
            if "No space left" in str(error) and str(self.out) in str(error):
                return "fail"
            raise
        else:
            return "done" if self.disk.left > 0 else "survived"
        finally:
            self.disk.left = sys.maxsize

    def state(self) -> list[bytes | None]:
        places = [self.out / name for name in NAMES]
        return [place.read_bytes() if place.exists() else None for place in places]

    def reset(self) -> None:
        shutil.rmtree(self.here / "new", ignore_errors=True)
        if self.base.exists():
            shutil.copytree(self.base, self.out, symlinks=True)

    def is_committed(self, run: str) -> bool:
        return (self.out / "runs" / run / "manifest.json").exists()

    def prepare(self, begun: str) -> tuple[list[bytes | None], str, Work]:
        """Lay the start out: what readers see there, the run that the work makes, and the work."""
        shutil.rmtree(self.here, ignore_errors=True)
        self.here.mkdir()
        if begun == "empty":
            return [None] * 3, "000001", lambda: self.publish(b"c")
        for mark in (b"a", b"b"):
            self.publish(mark)
        self.out.rename(self.base)
        if begun == "committed":
            self._die_between_commit_and_links()
            return [b"b"] * 3, "000003", self.restart
        return [b"b"] * 3, "000003", lambda: self.publish(b"c")

    def _die_between_commit_and_links(self) -> None:
        k = 0
        while not self.is_committed("000003"):
            k += 1
            self.reset()
            self.attempt(k, lambda: self.publish(b"c"), "kill")
        shutil.rmtree(self.base)
        self.out.rename(self.base)

    def check(self, k: int, old: list[bytes | None], last: str, work: Work) -> bool | None:
        """Strike at step k, and say whether the run was committed; None when there is no such step."""
        self.reset()
        before = tree(self.here)
        ended = self.attempt(k, work, self.action)
        if ended == "done":
            return None
        assert ended == self.action or (self.action == "fail" and ended == "survived")
        assert all(part in (was, b"c") for part, was in zip(self.state(), old, strict=True))
        assert not (self.out / "predictions").is_dir() or any((self.out / "predictions").iterdir())
        published = self.is_committed(last)
        if ended == "fail" and not published:
            assert tree(self.here) == before, tree(self.here).keys() ^ before.keys()
        self.restart()
        assert self.state() == ([b"c"] * 3 if published else old)
        self.require_whole()
        if k % 4 == 0:
            self.publish(b"d")
            assert self.state() == [b"d"] * 3
        return published

    def require_whole(self) -> None:
        runs = store.list_runs(self.out) if self.out.exists() else []
        if runs:
            found = store.verify(self.out)
            assert not found.damages, found
            assert not found.notes, found
        hidden = [name for name in tree(self.here / "new") if "/." in name or name.endswith("unfinished")]
        assert hidden == ["out/.lock"][: len(runs)], hidden
        assert len(runs) <= 3


def tree(top: Path) -> Tree:
    paths = {str(path.relative_to(top)): path for path in sorted(top.rglob("*"))}
    return {
        name: str(path.readlink()) if path.is_symlink() else path.is_file() and path.read_bytes()
        for name, path in paths.items()
    }


def main(action: str) -> None:
    memory, disk = Path("/dev/shm"), Disk()  # the law is about steps, not about disks
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as top:
        trials = Trials(Path(top) / "here", disk, action)
        sys.addaudithook(disk.hook)
        os.fsync = disk.step  # type: ignore[assignment]
        for begun in ("empty", "published", "committed"):
            start, seen = trials.prepare(begun), list[bool | None]()
            while not seen or seen[-1] is not None:
                try:
                    seen.append(trials.check(len(seen) + 1, *start))
                except Exception as error:
                    raise AssertionError(f"{begun}, step {len(seen) + 1}") from error
            print(begun, seen.count(False), seen.count(True))


if __name__ == "__main__":
    main(sys.argv[1])
