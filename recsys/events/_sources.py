"""Files, folders, globs and frames, opened lazily."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recsys.errors import InputError, UsageError
from recsys.schema import to_polars

_FORMATS = {
    "parquet": (".parquet", ".pq"),
    "csv": (".csv", ".csv.gz", ".csv.zst"),
    "ndjson": (".ndjson", ".jsonl"),
}
_HEAD_ROWS = 10_000


@dataclass(frozen=True)
class Source:
    """A log that was opened but not read.

    Attributes
    ----------
    rows : polars.LazyFrame
        All columns; those of a CSV are strings.
    types : dict of str to polars.DataType
        What each column looks like; for a CSV, guessed from its first 10,000 rows.
    is_text : bool
        Whether `rows` holds strings that stand for `types`.
    name : str
        For messages and manifests.
    files : tuple of pathlib.Path
        Empty for a frame in memory.

    """

    rows: pl.LazyFrame
    types: dict[str, pl.DataType]
    is_text: bool
    name: str
    files: tuple[Path, ...]


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

    """
    if isinstance(events, str | Path):
        return _open_files(str(events))
    if isinstance(events, pl.LazyFrame):
        return Source(events, dict(events.collect_schema()), False, "a frame in memory", ())
    frame = to_polars(events)
    return Source(frame.lazy(), dict(frame.schema), False, "a frame in memory", ())


def _open_files(pattern: str) -> Source:
    files = _files_of(pattern)
    kind = _format_of(files[0])
    strange = [file for file in files if _format_of(file) != kind]
    if strange:
        raise InputError(f"{pattern!r} mixes formats: {files[0].name} and {strange[0].name}")
    try:
        return _scan(kind, files, pattern)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(pattern, error) from None


def _scan(kind: str, files: tuple[Path, ...], pattern: str) -> Source:
    paths: Any = list(files)
    hive = Path(pattern).is_dir() or any("=" in part for part in Path(pattern).parts)
    if kind == "parquet":
        rows = pl.scan_parquet(paths, hive_partitioning=hive, glob=False)
    elif kind == "ndjson":
        rows = pl.scan_ndjson(paths, infer_schema_length=_HEAD_ROWS)
    else:
        rows = pl.scan_csv(paths, infer_schema=False, glob=False)
        return Source(rows, _guess_types(files[0]), True, pattern, files)
    return Source(rows, dict(rows.collect_schema()), False, pattern, files)


def _guess_types(file: Path) -> dict[str, pl.DataType]:
    looks = pl.read_csv(file, n_rows=_HEAD_ROWS, infer_schema_length=_HEAD_ROWS)
    texts = pl.read_csv(file, n_rows=_HEAD_ROWS, infer_schema=False)
    # Digits such as 007 are a name, not a number: read as integers they would not come out as given.
    padded = texts.select(pl.all().str.contains(r"^-?0\d").any()).row(0, named=True)
    return {name: pl.String() if padded[name] else kind for name, kind in looks.schema.items()}


def _files_of(pattern: str) -> tuple[Path, ...]:
    path = Path(pattern)
    if path.is_file():
        return (path,)
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.is_file() and _known(file)]
    else:
        anchor = Path(path.anchor) if path.is_absolute() else Path()
        found = [file for file in anchor.glob(str(path.relative_to(anchor))) if file.is_file()]
    if not found:
        raise InputError(f"there is no log at {pattern!r}")
    return tuple(sorted(found))


def _known(path: Path) -> bool:
    return not path.name.startswith((".", "_")) and any(
        path.name.endswith(suffix) for suffixes in _FORMATS.values() for suffix in suffixes
    )


def _format_of(path: Path) -> str:
    for kind, suffixes in _FORMATS.items():
        if path.name.endswith(suffixes):
            return kind
    known = ", ".join(suffix for suffixes in _FORMATS.values() for suffix in suffixes)
    raise InputError(f"{path.name!r} has no known format: its name must end in one of {known}")


def unreadable(name: str, error: Exception) -> InputError:
    """Say in one line that an input could not be read."""
    said = str(error).strip().splitlines()
    return InputError(f"{name!r} cannot be read: {said[0] if said else type(error).__name__}")


def read_table(path: str | Path, what: str) -> pl.DataFrame:
    """Read a small table (users, items or pairs) from parquet, CSV or NDJSON.

    Parameters
    ----------
    path : path-like
    what : str
        The table's name in messages.

    Returns
    -------
    polars.DataFrame
        Column types as stored; for a CSV, as they look.

    Raises
    ------
    InputError
        When it cannot be read.
    UsageError
        When it has no rows.

    """
    source = open_source(path)
    try:
        frame = source.rows.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(str(path), error) from None
    if frame.is_empty():
        raise UsageError(f"{what} {str(path)!r} has no rows")
    if source.is_text:
        frame = frame.cast({name: kind for name, kind in source.types.items() if kind != pl.String})
    return frame
