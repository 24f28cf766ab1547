"""Bytes on disk: safe names, hashes, fsync, one file written atomically."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import polars as pl
from polars.io.plugins import register_io_source

from recsys.errors import InputError, OutputError

# Without a fixed size, polars lets the chunks of a frame decide, and equal frames get different bytes.
_ROW_GROUP = 2**18
_PART = re.compile(r"[\w=+@-][\w.=+@-]*", re.ASCII)
_WAYS_OUT = {
    errno.ENOSPC: "free some space, nothing was published",
    errno.EDQUOT: "free some of the quota, nothing was published",
    errno.EFBIG: "raise the limit on file sizes, nothing was published",
    errno.EROFS: "choose another --output",
    errno.EACCES: "give this user the right to write there, or choose another --output",
    errno.EPERM: "give this user the right to write there, or choose another --output",
}


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says while `path` is written into an OutputError."""
    try:
        yield
    except OSError as error:
        way_out = _WAYS_OUT.get(error.errno or 0)
        said = f"{path} cannot be written: {error.strerror or error}"
        raise OutputError(f"{said}: {way_out}" if way_out else said) from error


@contextmanager
def input_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says while `path` is read into an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def is_safe_name(name: str) -> bool:
    """Tell whether a name stays inside its folder and is visible to readers.

    Examples
    --------
    >>> [is_safe_name(name) for name in ("as_of=2022-04-30", "../etc", "/etc", "a/.hidden", "a//b")]
    [True, False, False, False, False]
    """
    return all(_PART.fullmatch(part) for part in name.split("/"))


def to_json(value: Any) -> bytes:
    """Write a value as JSON in its own key order, without NaN or infinity."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def to_parquet(frame: pl.DataFrame) -> bytes:
    """Write a frame as parquet: equal frames, equal bytes."""
    # In memory first: polars hides the reason for a failed write, and a content's name needs its hash.
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", statistics=True, row_group_size=_ROW_GROUP)
    return buffer.getvalue()


class _Sink:
    """A file that polars writes to: it keeps its hash, and why a write failed, which polars hides."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sha256 = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        try:
            self.file.write(content)
        except OSError as error:
            self.error = error
            raise
        self.sha256.update(content)
        return len(content)

    def flush(self) -> None:
        """Wait for the close: there an error is our own."""


def write_rows(path: Path, rows: pl.LazyFrame) -> str:
    """Write rows as parquet as they come: the bytes of `to_parquet`, in the memory of a few row groups.

    Parameters
    ----------
    path : pathlib.Path
        Its folder must exist.
    rows : polars.LazyFrame

    Returns
    -------
    str
        The file's hash, 64 hexadecimal digits.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    with output_errors(path), path.open("wb") as file:
        sink: Any = _Sink(file)
        try:
            rows.sink_parquet(sink, compression="zstd", statistics=True, row_group_size=_ROW_GROUP)
        except pl.exceptions.PolarsError:
            if sink.error:
                raise sink.error from None
            raise
    return str(sink.sha256.hexdigest())


def lazily(parts: Iterator[pl.DataFrame]) -> pl.LazyFrame:
    """Let polars ask for one frame after the other.

    Parameters
    ----------
    parts : iterator of polars.DataFrame
        At least one.

    Returns
    -------
    polars.LazyFrame
    """
    first = next(parts)

    def source(*_: object) -> Iterator[pl.DataFrame]:
        yield first
        yield from parts

    return register_io_source(source, schema=first.schema)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Hash a file without holding it in memory.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    with input_errors(Path(path)), Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Write one file atomically: a reader, or a crash, sees the old bytes or the new ones.

    Parameters
    ----------
    path : path-like
        Its folder must exist.
    content : bytes

    Raises
    ------
    OutputError
        When it cannot be written; what stood there before still stands.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "note.txt"
    >>> write_file(path, b"whole")
    >>> path.read_bytes()
    b'whole'
    """
    path = Path(path)
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    with output_errors(path):
        try:
            temporary.write_bytes(content)
            sync(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


def write_table(path: str | os.PathLike[str], frame: pl.DataFrame) -> None:
    """Write one frame as parquet, atomically; its folder is made.

    Parameters
    ----------
    path : path-like
    frame : polars.DataFrame

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    with output_errors(Path(path)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_file(path, to_parquet(frame))
