"""The files of a log, read by Spark row by row as the local reader reads them."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession, functions, types

from recsys.engines._spark._arrow import collect, to_batches, to_frame, to_table
from recsys.engines._spark._failures import one_line
from recsys.engines._spark._stored import carried, carried_as, restored
from recsys.errors import InputError
from recsys.events import Source, folder_values, format_of, open_source, reading, scan_file

FILE, PLACE, NUMBER = "file", "place", "number"
#: A row's number is its file's, then its place in the file: in the order of the log, and known without counting.
PLACES = 2**40
_URL = re.compile(r"[\w.+-]+:/")
_GLOBS = re.compile(r"([*?\[\]{}\\])")


@dataclass(frozen=True)
class SparkFiles:
    """A log that was opened but not read.

    Attributes
    ----------
    head : Source
        The log without its rows.
    session : pyspark.sql.SparkSession
    kind : str
        parquet, csv or ndjson.
    files : tuple of str
        Their paths, or URLs, in the order of the log.

    """

    head: Source
    session: SparkSession
    kind: str
    files: tuple[str, ...]

    def rows(self, columns: Iterable[str]) -> DataFrame:
        """Read some columns.

        Parameters
        ----------
        columns : iterable of str

        Returns
        -------
        pyspark.sql.DataFrame
            `file`, `place` in it, and the columns that can be carried under the names of `numbered`: whatever they are
            called in the log, Spark has them for neither equal nor part of an expression.

        """
        stored = self._carried(columns)
        return self._parquet(stored) if self.kind == "parquet" else self._texts(stored)

    def numbered(self, columns: Iterable[str]) -> dict[str, str]:
        """Name the columns that are carried, by the names under which they are."""
        return {f"c{place}": name for place, name in enumerate(self._carried(columns))}

    def pieces(self, columns: frozenset[str]) -> Pieces:
        """Say how to turn batches of `rows` back into pieces of the log."""
        return Pieces(self.head, columns, self.numbered(columns))

    def _carried(self, columns: Iterable[str]) -> dict[str, types.DataType]:
        wanted = set(columns)
        kinds = {name: carried_as(kind) for name, kind in self.head.types.items() if name in wanted}
        return {
            name: kind for name, kind in kinds.items() if kind is not None and name not in self.head.folders
        }

    def _parquet(self, stored: Mapping[str, types.DataType]) -> DataFrame:
        schema = types.StructType([types.StructField(name, kind) for name, kind in stored.items()])
        files = [_as_url(file) for file in self.files]
        rows = self.session.read.schema(schema).parquet(*files)
        place = functions.col("_metadata.row_index").alias(PLACE)
        named = [functions.col(_quoted(name)).alias(f"c{i}") for i, name in enumerate(stored)]
        if len(files) == 1:
            return rows.select(functions.lit(0).alias(FILE), place, *named)
        path = functions.col("_metadata.file_path").alias("path")
        return self._with_numbers(rows.select(path, place, *named), rows.inputFiles())

    def _with_numbers(self, rows: DataFrame, found: list[str]) -> DataFrame:
        places = {_path_of(file): number for number, file in enumerate(self.files)}
        numbers = {_one_slash(url): places[_path_of(url)] for url in found}
        table = pl.DataFrame({"path": list(numbers), FILE: pl.Series(list(numbers.values()), dtype=pl.Int32)})
        known = functions.broadcast(self.session.createDataFrame(to_table(table)))
        rows = rows.withColumn("path", functions.regexp_replace("path", "^file:/+", "file:/"))
        unknown = functions.raise_error(functions.concat(functions.lit("not a file of the log: "), "path"))
        number = functions.coalesce(FILE, unknown.cast("int")).alias(FILE)
        return rows.join(known, "path", "left").select(number, *(c for c in rows.columns if c != "path"))

    def _texts(self, stored: Mapping[str, types.DataType]) -> DataFrame:
        files = pl.DataFrame(
            {
                FILE: pl.Series(range(len(self.files)), dtype=pl.Int32),
                "path": [str(Path(file).absolute()) for file in self.files],
            }
        )
        fields = [types.StructField(FILE, types.IntegerType()), types.StructField(PLACE, types.LongType())]
        fields += [types.StructField(f"c{i}", kind) for i, kind in enumerate(stored.values())]
        kinds = {name: kind for name, kind in self.head.types.items() if name not in self.head.folders}
        read = ReadTexts(self.kind, self.head.name, kinds, tuple(stored))
        listed = self.session.createDataFrame(to_table(files)).repartitionByRange(len(files), FILE)
        return listed.mapInArrow(read, types.StructType(fields))


@dataclass(frozen=True)
class Pieces:
    """How batches of a log's rows are pieces of the log."""

    head: Source
    columns: frozenset[str]
    names: dict[str, str]

    def of(self, batch: pa.RecordBatch | pa.Table) -> tuple[Source, pl.DataFrame]:
        """Give a piece of the log, and what else its batch carries, `number` among it: each row's in the log."""
        frame = to_frame(batch)
        others = frame.select(pl.exclude(list(self.names))).with_columns(
            (pl.col(FILE).cast(pl.Int64) * PLACES + pl.col(PLACE)).alias(NUMBER)
        )
        kinds = {name: self.head.types[name] for name in sorted(self.columns - set(self.head.folders))}
        stored = restored(frame.select(list(self.names)).rename(self.names), kinds)
        folders = [
            pl.Series(name, values, pl.String).gather(others[FILE])
            for name, values in self.head.folders.items()
        ]
        row = self.head.private(NUMBER)
        stored = pl.concat([stored, pl.DataFrame([others[NUMBER].alias(row), *folders])], how="horizontal")
        return replace(self.head, rows=stored.lazy(), row=row, files=(), folders={}), others


@dataclass(frozen=True)
class ReadTexts:
    """Read whole text files where Spark runs: a line alone does not tell which quoted text it is part of."""

    kind: str
    name: str
    types: dict[str, pl.DataType]
    columns: tuple[str, ...]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Turn paths into rows."""
        for batch in batches:
            for number, path in to_frame(batch).select(FILE, "path").iter_rows():
                with reading(self.name):
                    stored = scan_file(path, self.kind, self.types).select(self.columns).collect()
                rows = carried(stored).rename({name: f"c{i}" for i, name in enumerate(self.columns)})
                place = pl.int_range(len(rows), dtype=pl.Int64).alias(PLACE)
                yield from to_batches(rows.select(pl.lit(number, pl.Int32).alias(FILE), place, pl.all()))


class Found(NamedTuple):
    """The files of a log on this machine.

    Attributes
    ----------
    head : Source
    kind : str
    files : tuple of str
        As those of `SparkFiles`.

    """

    head: Source
    kind: str
    files: tuple[str, ...]


def find_files(path: str) -> Found:
    """Find the files of a log, without Spark.

    Parameters
    ----------
    path : str
        As the local reader takes it, seen by every machine.

    Returns
    -------
    Found

    Raises
    ------
    InputError
        When nothing is there, or the format is not known.

    """
    source = open_source(path)
    head = replace(source, rows=pl.DataFrame(schema=source.types).lazy())
    kind = format_of(source.files[0])
    if kind == "parquet":
        _require_one_schema(head)
    return Found(head, kind, tuple(str(file) for file in source.files))


def open_url(url: str, session: SparkSession) -> SparkFiles:
    """Let Spark list what lies where it alone can look; the first file says what columns there are.

    Parameters
    ----------
    url : str
        Of parquet files, one that Spark knows.
    session : pyspark.sql.SparkSession

    Returns
    -------
    SparkFiles

    Raises
    ------
    InputError
        When nothing is there.

    """
    with one_line(url):
        listed = session.read.option("recursiveFileLookup", "true").schema("nothing int").parquet(url)
        files = sorted(listed.inputFiles(), key=lambda file: PurePosixPath(_path_of(file)))
        if not files:
            raise InputError(f"there is no log at {url!r}: check events.path or --events")
        content = session.read.format("binaryFile").load(_as_url(files[0])).select("content")
        (stored,) = collect(content.mapInArrow(_read_schema, "footer binary"))["footer"]
    types = dict(pl.read_ipc_schema(io.BytesIO(stored)))
    paths = [PurePosixPath(_path_of(file)) for file in files]
    root = PurePosixPath(os.path.commonpath([path.parent for path in paths]))
    folders = {key: values for key, values in folder_values(paths, root).items() if key not in types}
    types |= dict.fromkeys(folders, pl.String())
    rows = pl.DataFrame(schema=types).lazy()
    head = Source(rows, types, frozenset(folders), url, (), folders)
    return SparkFiles(head, session, "parquet", tuple(files))


def _read_schema(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for content in to_frame(batch)["content"]:
            empty = pl.DataFrame(schema=pl.read_parquet_schema(io.BytesIO(content)))
            footer = io.BytesIO()
            empty.write_ipc(footer)
            yield from to_batches(pl.DataFrame({"footer": [footer.getvalue()]}))


def _require_one_schema(head: Source) -> None:
    """Refuse files of several kinds: Spark would take what one of them lacks for null."""
    wanted = {name: kind for name, kind in head.types.items() if name not in head.folders}
    for file in head.files[1:]:
        with reading(head.name), file.open("rb") as stored:
            found = dict(pl.read_parquet_schema(stored))
        if found != wanted:
            odd = min(set(found.items()) ^ set(wanted.items()), key=str)[0]
            raise InputError(
                f"{head.name!r} cannot be read: {odd!r} is not alike in {file.name!r} and {head.files[0].name!r}"
            )


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _as_url(file: str) -> str:
    """Write a path so that Spark, which takes paths for globs, takes this one for itself."""
    path = unquote(file) if "://" in file else f"file://{Path(file).absolute()}"
    return _GLOBS.sub(r"\\\1", path)


def _one_slash(url: str) -> str:
    return re.sub("^file:/+", "file:/", url)


def _path_of(file: str) -> str:
    """Name a file alike whether it is given as a path or as Spark's URL of it."""
    return unquote(_one_slash(file)).removeprefix("file:") if _URL.match(file) else str(Path(file).absolute())
