"""Files, folders, globs and frames, opened lazily."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import unquote

import polars as pl

from recsys.errors import DataError, InputError, RecsysError, UsageError, cut
from recsys.events._panics import PanickedError, panics_apart
from recsys.events._text import as_it_looks, ids_from_text
from recsys.events._totals import Totals, count_here
from recsys.schema import ROW, to_polars

_FORMATS = {
    "parquet": (".parquet", ".pq"),
    "csv": (".csv", ".csv.gz", ".csv.zst"),
    "ndjson": (".ndjson", ".jsonl"),
}
_SUFFIXES = tuple(suffix for suffixes in _FORMATS.values() for suffix in suffixes)
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_IN_MEMORY = "a frame in memory"
_LONGEST_REASON = 200
_DOUBLED = re.compile(r"_duplicated_\d+$", re.ASCII)


@dataclass(frozen=True)
class Source:
    """A log that was opened but not read.

    Attributes
    ----------
    rows : polars.LazyFrame
        All columns.
    types : dict of str to polars.DataType
        The type of each column, as stored.
    texts : frozenset of str
        Columns whose strings stand for something else: all of a CSV, and those of a hive folder.
    name : str
        For messages and manifests.
    files : tuple of pathlib.Path
        Empty for a frame in memory.
    folders : dict of str to list of (str or None)
        What the ``key=value`` folders say that no column does: one value a file for each key.
    row : str, optional
        The column that holds each row's position in the log, of which these rows are a part. Without it they are
        all of the log.
    totals : Totals
        Who counts figures of the whole log.

    """

    rows: pl.LazyFrame
    types: dict[str, pl.DataType]
    texts: frozenset[str]
    name: str
    files: tuple[Path, ...]
    folders: dict[str, list[str | None]] = field(default_factory=dict)
    row: str | None = None
    totals: Totals = count_here

    def numbered(self, columns: Collection[str] | None = None) -> pl.LazyFrame:
        """Give each row its position in the log, in the private column `row`, before some of the columns or all."""
        own = self.private(ROW)
        wanted = list(self.types) if columns is None else sorted(columns)
        if self.row is None:
            return self.rows.select(wanted).with_row_index(own)
        return self.rows.select(pl.col(self.row).alias(own), *wanted)

    def private(self, name: str) -> str:
        """Name a column of ours so that it cannot be one of the log's."""
        prefix = "recsys:"
        while any(column.startswith(prefix) for column in self.types):
            prefix += ":"
        return prefix + name


def open_source(events: Any) -> Source:
    """Open a path, a glob, a folder or a frame.

    Parameters
    ----------
    events : path-like or polars or pandas frame

    Returns
    -------
    Source

    Raises
    ------
    InputError
        When nothing is there, or the format is not known.
    DataError
        When a file has not even a header.

    """
    if isinstance(events, str | os.PathLike):
        return _open_files(os.fspath(events))
    try:
        rows = events if isinstance(events, pl.LazyFrame) else to_polars(events).lazy()
        return Source(rows, dict(rows.collect_schema()), frozenset(), _IN_MEMORY, ())
    except RecsysError:
        raise
    except (pl.exceptions.PolarsError, ValueError, TypeError, NotImplementedError) as error:
        raise _unreadable(_IN_MEMORY, error) from None


def _open_files(pattern: str) -> Source:
    with reading(pattern):
        files, root = _files_of(pattern)
        kind = format_of(files[0])
        strange = next((file for file in files if format_of(file) != kind), None)
        if strange:
            raise InputError(
                f"{pattern!r} mixes formats, {files[0].name!r} and {strange.name!r}: give files of one format"
            )
        empty = next((file for file in files if kind != "parquet" and file.stat().st_size == 0), None)
        if empty:
            raise DataError(f"{str(empty)!r} is empty: a log has at least a header and a row")
        return _scan_with_folders(kind, files, root, pattern)


def _scan_with_folders(kind: str, files: tuple[Path, ...], root: Path | None, name: str) -> Source:
    rows = _scan(kind, files)
    stored = dict(rows.collect_schema())
    if kind == "csv":
        _refuse_doubled(files[0], stored)
    source = Source(rows, stored, frozenset(stored if kind == "csv" else ()), name, files)
    folders = folder_values(files, root)
    added = {key: values for key, values in folders.items() if key not in stored}
    if not added:
        return source
    path, paths = source.private("path"), [str(file) for file in files]
    rows = _scan(kind, files, path).with_columns(
        pl.col(path).replace_strict(paths, values, return_dtype=pl.String).alias(key)
        for key, values in added.items()
    )
    types = stored | dict.fromkeys(added, pl.String())
    return Source(rows.drop(path), types, source.texts | set(added), name, files, added)


def _refuse_doubled(file: Path, stored: Collection[str]) -> None:
    # Polars gives the second of two equal names another one, and nobody would know which was meant.
    for name in stored:
        first = _DOUBLED.sub("", name)
        if first != name and first in stored:
            raise InputError(f"{str(file)!r} has several columns {cut(first)!r}: rename all but one of them")


def _scan(kind: str, files: tuple[Path, ...], path: str | None = None) -> pl.LazyFrame:
    paths: Any = list(files)
    if kind == "parquet":
        return pl.scan_parquet(paths, hive_partitioning=False, glob=False, include_file_paths=path)
    if kind == "ndjson":
        # The whole log is looked at: a field may turn up, or turn out to have decimals, on any line.
        return pl.scan_ndjson(paths, infer_schema_length=None, include_file_paths=path)
    # Strings, so that what cannot be read is told from what is missing, and 007 is not 7.
    return pl.scan_csv(paths, infer_schema=False, glob=False, include_file_paths=path)


def scan_file(path: str, kind: str, types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """Open one of the text files of a log.

    Parameters
    ----------
    path : str
    kind : str
        csv or ndjson.
    types : mapping of str to polars.DataType
        What the whole log has.

    Returns
    -------
    polars.LazyFrame

    """
    if kind == "csv":
        return _scan(kind, (Path(path),))
    return pl.scan_ndjson(path, schema=types)


def folder_values(files: Sequence[PurePath], root: PurePath | None) -> dict[str, list[str | None]]:
    """Read the ``key=value`` folders below root.

    Parameters
    ----------
    files : sequence of pathlib.PurePath
    root : pathlib.PurePath, optional

    Returns
    -------
    dict of str to list of (str or None)
        One value a file for each key.

    """
    if root is None:
        return {}
    said = [
        dict(part.split("=", 1) for part in file.relative_to(root).parts[:-1] if "=" in part)
        for file in files
    ]
    keys = dict.fromkeys(key for values in said for key in values)
    return {key: [_unescape(values.get(key, _HIVE_NULL)) for values in said] for key in keys}


def _unescape(value: str) -> str | None:
    return None if value in (_HIVE_NULL, "") else unquote(value)


def _files_of(pattern: str) -> tuple[tuple[Path, ...], Path | None]:
    """Find the files, and the folder below which ``key=value`` in a path means a column."""
    path = Path(pattern)
    if path.is_file():
        return (path,), None
    if path.is_dir():
        root = path
        found = [file for file in path.rglob("*") if _is_part(file, path)]
    else:
        root, wild = _fixed_and_wild(path)
        try:
            found = [file for file in root.glob(wild) if file.is_file()]
        except (ValueError, NotImplementedError) as error:
            raise InputError(f"{pattern!r} is neither a file nor a glob: {error}") from None
    if not found and "://" in pattern:
        raise InputError(
            f'{pattern!r} is a URL, which run, train, evaluate and predict read with model.engine = "spark": '
            "copy the log to this machine"
        )
    if not found:
        what = f"no file ending in {', '.join(_SUFFIXES)}" if path.is_dir() else "no log"
        raise InputError(f"there is {what} at {pattern!r}: check events.path or --events")
    return tuple(sorted(found)), root


def _fixed_and_wild(path: Path) -> tuple[Path, str]:
    parts = path.parts
    fixed = next((i for i, part in enumerate(parts) if set(part) & set("*?[=")), len(parts) - 1)
    return Path(*parts[:fixed]), str(Path(*parts[fixed:]))


def _is_part(file: Path, root: Path) -> bool:
    """Pass over what other tools leave beside the data: hidden files, _SUCCESS, .crc, checkpoints."""
    ours = not any(part.startswith((".", "_")) for part in file.relative_to(root).parts)
    return ours and file.name.lower().endswith(_SUFFIXES) and file.is_file()


def format_of(path: Path) -> str:
    """Tell the format of a file by its name: parquet, csv or ndjson."""
    for kind, suffixes in _FORMATS.items():
        if path.name.lower().endswith(suffixes):
            return kind
    raise InputError(f"{path.name!r} has no known format: its name must end in one of {', '.join(_SUFFIXES)}")


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Say in one line why an input could not be read.

    Parameters
    ----------
    name : str
        Of the input.

    Raises
    ------
    InputError

    """
    try:
        with panics_apart(pl.exceptions.PanicException):
            yield
    except PanickedError as error:
        raise InputError(f"{name!r} is damaged, its reader gave up: {first_line(error)}") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(name, error) from None


@contextmanager
def undisturbed(files: Sequence[str | os.PathLike[str]]) -> Iterator[None]:
    """Refuse what is read from files that somebody else writes to meanwhile.

    Parameters
    ----------
    files : sequence of path-like

    Raises
    ------
    InputError
        When the size, the time of the last change or the identity of one is not what it was.

    """
    before = [_stamp(file) for file in files]
    yield
    for file, stamp in zip(files, before, strict=True):
        if _stamp(file) != stamp:
            raise InputError(f"{os.fspath(file)!r} changed while it was read: start again when it is written")


def _stamp(file: str | os.PathLike[str]) -> tuple[int, int, int] | None:
    """Tell a file from what becomes of it; None where there is none that can be looked at."""
    try:
        about = Path(file).stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns, about.st_ino


def _unreadable(name: str, error: Exception) -> InputError:
    return InputError(f"{name!r} cannot be read: {first_line(error)}")


def first_line(error: Exception) -> str:
    """Cut what a library said to one line of a length that can be read."""
    said = str(error).strip().splitlines()
    line = said[0].strip() if said else type(error).__name__
    return line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 3] + "..."


def read_table(path: str | os.PathLike[str], what: str) -> pl.DataFrame:
    """Read a small table (users, items or pairs) from parquet, CSV or NDJSON.

    Parameters
    ----------
    path : path-like
    what : str
        The table's name in messages.

    Returns
    -------
    polars.DataFrame
        Column types as stored; for a CSV, numbers where every value is one.

    Raises
    ------
    InputError
        When it cannot be read.
    UsageError
        When it has no rows.

    """
    try:
        source = open_source(path)
    except InputError as error:
        raise InputError(f"{what} cannot be read: {str(error).split(': check events')[0]}") from None
    with reading(source.name):
        frame = source.rows.collect()
    if frame.is_empty():
        raise UsageError(f"{what} {str(path)!r} has no rows: give a file with at least one")
    return frame.with_columns(_typed(frame[name]) for name in source.texts)


def _typed(texts: pl.Series) -> pl.Series:
    ids = ids_from_text(texts, stray=0.0)
    return ids if ids.dtype.is_integer() else as_it_looks(texts, share=1.0)
