"""Parts of one table that others write, on other machines too, out of every reader's sight."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.store._files import lazily, output_errors, write_rows


@dataclass(frozen=True)
class Part:
    """A part that was written.

    Attributes
    ----------
    file : str
        Its name where it was written, which no other has.
    sha256 : str
    rows, bytes : int
    """

    file: str
    sha256: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class PartWriter:
    """Writes parts into a folder that every machine sees.

    A part that is written twice, as when a machine was given up too early, is two files: whoever asked for it says
    which to keep. Once the folder is gone nothing is written any more.

    Attributes
    ----------
    folder : str
    """

    folder: str

    def __call__(self, frames: Iterator[pl.DataFrame]) -> Part | None:
        """Write one frame after the other.

        Parameters
        ----------
        frames : iterator of polars.DataFrame

        Returns
        -------
        Part or None
            None where there is no frame.

        Raises
        ------
        OutputError
            When it cannot be written.
        """
        path, rows = Path(self.folder) / f"{secrets.token_hex(8)}.parquet", 0

        def counted() -> Iterator[pl.DataFrame]:
            nonlocal rows
            for frame in frames:
                rows += len(frame)
                yield frame

        try:
            found = lazily(counted())
        except StopIteration:
            return None
        sha256 = write_rows(path, found)
        with output_errors(path):
            return Part(path.name, sha256, rows, path.stat().st_size)
