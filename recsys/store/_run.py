"""One run: what it writes, how it is committed, and what it cleans up."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recsys.errors import UsageError
from recsys.store._files import is_safe_name, output_errors, sync, to_json, to_parquet, write_file, write_rows
from recsys.store._links import (
    RUNS,
    check_places,
    check_pointers,
    committed_runs,
    delete_run,
    delete_runs,
    flip_links,
    linked_runs,
    prune_models,
    run_folders,
    sweep,
)
from recsys.store._lock import locked
from recsys.store._manifest import MANIFEST, UNFINISHED, describe_file, files_in, model_manifest

_MODEL = "model"


@dataclass(frozen=True)
class Run:
    """What one run writes, out of every reader's sight until `publish`.

    Attributes
    ----------
    out : pathlib.Path
        The output folder, absolute.
    folder : pathlib.Path
        ``OUT/runs/<id>``.
    keep : int
        Model versions to keep.
    held : frozenset of str
        Ids of the runs that links led to when this one began: readers may be inside them.
    """

    out: Path
    folder: Path
    keep: int
    held: frozenset[str] = frozenset()

    @property
    def run_id(self) -> str:
        """The run's number, six digits or more; a later run has a larger one."""
        return self.folder.name

    @property
    def committed(self) -> bool:
        """Whether the manifest stands: from then on the run is published, or will be at the next start."""
        return (self.folder / MANIFEST).exists()

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write one file of the run.

        Parameters
        ----------
        name : str
            Relative to the run's folder, with ``/``; folders are made.
        content : bytes

        Raises
        ------
        UsageError
            When the name is hidden, leads outside, is the store's own, or the run is committed.
        OutputError
            When it cannot be written.
        """
        path = self._make_room(name)
        with output_errors(path):
            path.write_bytes(content)

    def _make_room(self, name: str) -> Path:
        if self.committed:
            raise UsageError(f"run {self.run_id} is committed, {name!r} comes too late")
        if not is_safe_name(name) or name in (MANIFEST, UNFINISHED):
            raise UsageError(f"a file's name is relative, visible and without '..', got {name!r}")
        path = self.folder / name
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as JSON, in its own key order.

        Parameters
        ----------
        name : str
        value : JSON value
            NaN and infinity raise ValueError.
        """
        self.write_bytes(name, to_json(value))

    def write_table(self, folder: str, frame: pl.DataFrame | pl.LazyFrame) -> str:
        """Write a frame as parquet, named by its content.

        Parameters
        ----------
        folder : str
            Relative to the run's folder.
        frame : polars.DataFrame or LazyFrame
            A lazy one is written as it comes.

        Returns
        -------
        str
            ``<folder>/<16 hexadecimal digits>.parquet``: equal frames have equal names.
        """
        path = self._make_room(f"{folder}/unnamed.parquet")
        name = f"{folder}/{write_rows(path, frame.lazy())[:16]}.parquet"
        with output_errors(path):
            path.rename(self.folder / name)
        return name

    def write_named_table(self, name: str, frame: pl.DataFrame) -> None:
        """Write a frame as parquet under the given name.

        Parameters
        ----------
        name : str
        frame : polars.DataFrame
        """
        self.write_bytes(name, to_parquet(frame))

    def write_model(self, files: Mapping[str, bytes]) -> str:
        """Write a model's files and their manifest into ``model/``.

        Parameters
        ----------
        files : mapping of file name to content
            Names without ``/``.

        Returns
        -------
        str
            The model's version, see `model_version`.
        """
        if not files or MANIFEST in files or any("/" in name for name in files):
            raise UsageError(f"a model is files without folders, none named {MANIFEST}, got {sorted(files)}")
        manifest = model_manifest(files)
        for name, content in files.items():
            self.write_bytes(f"{_MODEL}/{name}", content)
        self.write_json(f"{_MODEL}/{MANIFEST}", manifest)
        return str(manifest["model_version"])

    def publish(self, pointers: Mapping[str, str], manifest: Mapping[str, Any]) -> None:
        """Commit the run, flip its links in order, and delete what nothing leads to any more.

        Parameters
        ----------
        pointers : mapping of link to folder
            Links are paths below OUT, folders are paths below the run:
            ``{"predictions/as_of=2022-04-30": "predictions", "models/current": "model"}``.
        manifest : mapping
            What else to keep of the run. ``run_id``, ``pointers`` and ``files`` are added.

        Raises
        ------
        UsageError
            When a name is not allowed, or the run is committed already.
        OutputError
            When the disk says no. If `committed` is then true, the next start finishes the publish.
        """
        wrong = check_pointers(pointers, self.folder)
        if wrong or self.committed:
            raise UsageError(wrong or f"run {self.run_id} is committed already")
        with output_errors(self.out):
            check_places(self.out, pointers)
            self._commit(pointers, manifest)
            before = linked_runs(self.out)
            flip_links(self.out, self.folder)
            prune_models(self.out, self.keep)
            delete_runs(self.out, self.held | before | {self.run_id})

    def _commit(self, pointers: Mapping[str, str], manifest: Mapping[str, Any]) -> None:
        files = self._publishable_files()
        whole = {
            **manifest,
            "run_id": self.run_id,
            "pointers": dict(pointers),
            "files": {name: describe_file(path) for name, path in files.items()},
        }
        content = to_json(whole)
        for path in [*files.values(), *(path for path in self.folder.rglob("*") if path.is_dir())]:
            sync(path)
        for folder in (self.folder, self.out / RUNS, self.out):
            sync(folder)
        write_file(self.folder / MANIFEST, content)

    def _publishable_files(self) -> dict[str, Path]:
        files = files_in(self.folder)
        for name, path in files.items():
            if not is_safe_name(name) or not stat.S_ISREG(path.lstat().st_mode):
                raise UsageError(f"a run holds visible, regular files only, got {name!r}")
        del files[UNFINISHED]
        return files


@contextmanager
def open_run(out: str | os.PathLike[str], keep: int) -> Iterator[Run]:
    """Take the lock, finish what a crash left, and begin a run.

    A run that is not published when the block ends is removed. In a folder where nothing was ever
    published, nothing is left behind.

    Parameters
    ----------
    out : path-like
        The output folder; it and its parents are made.
    keep : int
        Model versions to keep, at least 1. The current one always stays.

    Yields
    ------
    Run

    Raises
    ------
    LockedError
        At once, when another run holds the lock. The lock dies with its process.
    OutputError
        When the folder cannot be written.
    InputError
        When an unfinished run's manifest is damaged.
    """
    if keep < 1:
        raise UsageError(f"keep must be at least 1, got {keep}")
    with locked(out) as folder:
        run = _begin(folder, keep)
        try:
            _make_folder(run)
            yield run
        finally:
            if not run.committed:
                with suppress(OSError):  # the error on its way out matters more, and the next start sweeps
                    delete_run(run.folder)


def _begin(out: Path, keep: int) -> Run:
    with output_errors(out):
        held = linked_runs(out)
        sweep(out)
        for folder in committed_runs(out):
            if (folder / UNFINISHED).exists():
                flip_links(out, folder)
        return Run(out, out / RUNS / _next_id(out, held), keep, held)


def _make_folder(run: Run) -> None:
    with output_errors(run.out):
        run.folder.mkdir(parents=True)
        (run.folder / UNFINISHED).touch()


def _next_id(out: Path, linked: frozenset[str]) -> str:
    # A link to a run that someone deleted counts too: the new run must not appear behind it half-written.
    taken = {int(folder.name) for folder in run_folders(out)} | {int(name) for name in linked}
    return f"{max(taken, default=0) + 1:06d}"
