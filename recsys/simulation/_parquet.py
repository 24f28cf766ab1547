"""Parquet files that grow while their rows are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Full, Queue
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

# Left to itself, the size of a row group may follow the number of threads.
_ROW_GROUP = 1 << 18
_POLL_SECONDS = 0.1


class GrowingParquet:
    """A file that a thread of its own writes while the next frame is made.

    Parameters
    ----------
    path : Path
    schema : mapping of str to polars.DataType
    threads : Executor
    """

    def __init__(self, path: Path, schema: Mapping[str, pl.DataType], threads: Executor) -> None:
        self._frames: Queue[pl.DataFrame | None] = Queue(maxsize=1)
        rows = register_io_source(self._handed_over, schema=dict(schema))
        self._written = threads.submit(
            rows.sink_parquet, path, compression="zstd", row_group_size=_ROW_GROUP, engine="streaming"
        )

    def append(self, frame: pl.DataFrame) -> None:
        """Hand over a frame; wait while the file is behind.

        Parameters
        ----------
        frame : polars.DataFrame

        Raises
        ------
        OSError, polars.exceptions.ComputeError
            When the file cannot be written.
        """
        while not self._offer(frame):
            if self._written.done():
                self._written.result()

    def end(self) -> None:
        """Say that there are no more frames, unless the file has failed already."""
        while not self._written.done() and not self._offer(None):
            pass

    def result(self) -> None:
        """Wait until the file is complete.

        Raises
        ------
        OSError, polars.exceptions.ComputeError
            When it could not be written.
        """
        self._written.result()

    def _offer(self, frame: pl.DataFrame | None) -> bool:
        try:
            self._frames.put(frame, timeout=_POLL_SECONDS)
        except Full:
            return False
        return True

    def _handed_over(self, *_: Any) -> Iterator[pl.DataFrame]:
        """Yield the frames; the sink asks for all of their columns and rows."""
        while (frame := self._frames.get()) is not None:
            if frame.height:
                yield frame


@contextmanager
def growing_parquets(files: Mapping[Path, Mapping[str, pl.DataType]]) -> Iterator[list[GrowingParquet]]:
    """Open files to be written side by side; at the end of the block they are complete.

    Parameters
    ----------
    files : mapping of Path to schema

    Yields
    ------
    list of GrowingParquet

    Raises
    ------
    OSError, polars.exceptions.ComputeError
        When one cannot be written.
    """
    with ThreadPoolExecutor(len(files)) as threads:
        growing = [GrowingParquet(path, schema, threads) for path, schema in files.items()]
        try:
            yield growing
        finally:
            for one in growing:
                one.end()
    for one in growing:
        one.result()
