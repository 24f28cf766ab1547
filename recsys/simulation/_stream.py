"""Parquet files that grow while their rows are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Full, Queue
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

# Left to itself, the size of a row group may follow the number of threads.
_ROW_GROUP = 1 << 18
_SECONDS = 0.1


class ParquetStream:
    """A file that is written by a thread of its own while the next frame is made."""

    def __init__(self) -> None:
        self._frames: Queue[pl.DataFrame | None] = Queue(maxsize=1)
        self.written: Future[Any] = Future()

    def put(self, frame: pl.DataFrame) -> None:
        """Hand over a frame; wait while the file is behind.

        Parameters
        ----------
        frame : polars.DataFrame

        Raises
        ------
        Exception
            Whatever kept the file from being written.
        """
        while not self._offer(frame):
            if self.written.done():
                self.written.result()

    def end(self) -> None:
        """Say that there are no more frames, unless the file has failed already."""
        while not self.written.done() and not self._offer(None):
            pass

    def _offer(self, frame: pl.DataFrame | None) -> bool:
        try:
            self._frames.put(frame, timeout=_SECONDS)
        except Full:
            return False
        return True

    def frames(self, *_: Any) -> Iterator[pl.DataFrame]:
        """Yield what was handed over; the sink asks for all columns and rows."""
        while (frame := self._frames.get()) is not None:
            if frame.height:
                yield frame


@contextmanager
def parquet_streams(files: Mapping[Path, Mapping[str, pl.DataType]]) -> Iterator[list[ParquetStream]]:
    """Open files to be written side by side; at the end of the block they are complete.

    Parameters
    ----------
    files : mapping of Path to schema

    Yields
    ------
    list of ParquetStream

    Raises
    ------
    Exception
        Whatever kept a file from being written.
    """
    streams = [ParquetStream() for _ in files]
    with ThreadPoolExecutor(len(streams)) as pool:
        for stream, (path, schema) in zip(streams, files.items(), strict=True):
            rows = register_io_source(stream.frames, schema=dict(schema))
            stream.written = pool.submit(
                rows.sink_parquet, path, compression="zstd", row_group_size=_ROW_GROUP, engine="streaming"
            )
        try:
            yield streams
        finally:
            for stream in streams:
                stream.end()
    for stream in streams:
        stream.written.result()
