"""One run: what it writes, and how it is committed."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recsys.errors import OutputError, UsageError
from recsys.store._files import is_safe_name, output_errors, sync, to_json, to_parquet, write_file, write_rows
from recsys.store._links import (
    MODEL,
    RUNS,
    check_places,
    check_pointers,
    delete_folder,
    delete_runs,
    flip_links,
    linked_folders,
    prune_days,
    prune_models,
    set_aside,
)
from recsys.store._manifest import (
    MANIFEST,
    UNFINISHED,
    describe_file,
    files_in,
    model_manifest,
    seal_manifest,
)
from recsys.store._parts import Part
from recsys.store._published import is_published

_IN_PARTS = "-in-parts"


@dataclass
class Run:
    """What one run writes, out of every reader's sight until `publish`.

    Attributes
    ----------
    out : pathlib.Path
        The output folder, absolute.
    folder : pathlib.Path
        ``OUT/runs/<id>``.
    token : str
        What marks the folder as this run's own while it is written.
    keep : int
        Model versions to keep.
    keep_days : int or None
        Days of predictions to keep; None keeps all.
    held : frozenset of str
        Folders, ``<run>/<folder>``, that links led to when this run began: readers may be inside them.
    committed : bool
        Whether the manifest stands: from then on the run is published, or will be at the next start.
    """

    out: Path
    folder: Path
    token: str
    keep: int
    keep_days: int | None = None
    held: frozenset[str] = frozenset()
    committed: bool = False

    @property
    def run_id(self) -> str:
        """The run's number, six digits or more; a later run has a larger one."""
        return self.folder.name

    @property
    def stands(self) -> bool:
        """Whether the folder is still there and still this run's, not one that another put in its place."""
        try:
            return (self.folder / UNFINISHED).read_text() == self.token
        except (OSError, ValueError):
            return False

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
        self._require_folder()
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

    def open_parts(self, folder: str) -> Path:
        """Make room for a table that others write in parts, see `PartWriter`.

        Parameters
        ----------
        folder : str
            Where `keep_parts` will put them, relative to the run's folder.

        Returns
        -------
        pathlib.Path
            Nothing in it is published.
        """
        return self._make_room(f"{folder}{_IN_PARTS}/unnamed").parent

    def keep_parts(self, folder: str, parts: Iterable[Part]) -> None:
        """Keep the parts that are named, each by its place and its content, and delete what else was written.

        Parameters
        ----------
        folder : str
        parts : iterable of Part
            In the order in which they are read.

        Raises
        ------
        OutputError
            When a part is not there as it was written: all machines must see one and the same folder.
        """
        written, room = self.folder / f"{folder}{_IN_PARTS}", self._make_room(f"{folder}/unnamed").parent
        for place, part in enumerate(parts):
            path = written / part.file
            with output_errors(path):
                if path.stat().st_size != part.bytes:
                    raise OutputError(f"{path} is not the {part.bytes:,} bytes that were written: run again")
                path.rename(room / f"{place:06d}-{part.sha256[:16]}.parquet")
        with output_errors(written):
            delete_folder(written)

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
            self.write_bytes(f"{MODEL}/{name}", content)
        self.write_json(f"{MODEL}/{MANIFEST}", manifest)
        return str(manifest["model_version"])

    def set_aside(self, name: str) -> Path:
        """Move a folder of a run that will not be published to ``OUT/rejected``, in place of the last one there.

        Parameters
        ----------
        name : str
            The folder's name in the run.

        Returns
        -------
        pathlib.Path

        Raises
        ------
        OutputError
            When something stands there that no run put there, or the disk says no.
        """
        self._require_folder()
        return set_aside(self.out, self.folder / name)

    def publish(self, pointers: Mapping[str, str], manifest: Mapping[str, Any]) -> bool:
        """Commit the run, flip its links in order, and delete what nothing leads to any more.

        Parameters
        ----------
        pointers : mapping of link to folder
            Links are paths below OUT, folders are paths below the run:
            ``{"predictions/as_of=2022-04-30": "predictions", "models/current": "model"}``.
        manifest : mapping
            What else to keep of the run. ``run_id``, ``pointers`` and ``files`` are added.

        Returns
        -------
        bool
            False when every link leads to the same bytes already: nothing is committed, flipped or deleted.

        Raises
        ------
        UsageError
            When a name is not allowed, or the run is committed already.
        OutputError
            When the disk says no. If `committed` is then true, the next start finishes the publish.
        """
        if self.committed:
            raise UsageError(f"run {self.run_id} is committed already")
        self._require_folder()
        if wrong := check_pointers(pointers, self.folder):
            raise UsageError(wrong)
        with output_errors(self.out):
            check_places(self.out, pointers)
            files = {name: describe_file(path) for name, path in self._publishable_files().items()}
            if is_published(self.out, pointers, files):
                return False
            self._commit(
                files, {**manifest, "run_id": self.run_id, "pointers": dict(pointers), "files": files}
            )
            before = linked_folders(self.out)
            flip_links(self.out, self.folder)
            prune_models(self.out, self.keep)
            prune_days(self.out, self.keep_days, spared=pointers)
            delete_runs(self.out, self.held | before | linked_folders(self.out) | {self.run_id})
        return True

    def _require_folder(self) -> None:
        if not self.stands:
            raise OutputError(f"{self.folder} was removed or replaced while the run was writing: run again")

    def _commit(self, files: Iterable[str], manifest: Mapping[str, Any]) -> None:
        content = seal_manifest(manifest)
        for path in [
            *(self.folder / name for name in files),
            *(path for path in self.folder.rglob("*") if path.is_dir()),
        ]:
            sync(path)
        for folder in (self.folder, self.out / RUNS, self.out):
            sync(folder)
        try:
            write_file(self.folder / MANIFEST, content)
        finally:
            self.committed = (self.folder / MANIFEST).exists()

    def _publishable_files(self) -> dict[str, Path]:
        files = files_in(self.folder)
        for name, path in files.items():
            if not is_safe_name(name) or not stat.S_ISREG(path.lstat().st_mode):
                raise UsageError(f"a run holds visible, regular files only, got {name!r}")
        files.pop(UNFINISHED, None)
        return files
