"""The engine spark, small: what it fits, what it reads, and what it says where it cannot start."""

from __future__ import annotations

import dataclasses
import random
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import hostile_logs as hostile
import polars as pl
import pytest
from engines import SETTINGS, EngineContract
from polars.testing import assert_frame_equal

pyspark = pytest.importorskip("pyspark", reason="needs the extra spark")

from pyspark.errors import PySparkException  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402

from recsys.config import EventsSettings, load_settings  # noqa: E402
from recsys.engines import engine_for  # noqa: E402
from recsys.engines.spark import SparkEngine, SparkLog, in_one_line  # noqa: E402
from recsys.engines.spark import read as read_in_spark  # noqa: E402
from recsys.errors import DataError, InputError, RecsysError  # noqa: E402
from recsys.events import EventLog, read  # noqa: E402
from recsys.pipeline import Job  # noqa: E402
from recsys.schema import ITEM, TIME, USER  # noqa: E402


class TestSparkEngine(EngineContract):
    counted = True
    ridges: ClassVar = {"weak": 0.05, "strong": 2.0}
    # The order of a shuffle shows in the last digits.
    rounding = 1e-4

    @pytest.fixture
    def engine(self, spark: SparkSession) -> SparkEngine:
        return SparkEngine()


def test_settings_choose_the_engine() -> None:
    assert engine_for(SETTINGS.model_copy(update={"engine": "spark"}), threads=2) == SparkEngine(2)


def test_of_what_java_says_the_line_that_tells_is_kept() -> None:
    said = "WARNING: Using incubator modules\nError: A JNI error has occurred\njava.lang.OutOfMemoryError: heap\n\tat x"
    with pytest.raises(RecsysError, match=r": java\.lang\.OutOfMemoryError: heap$"), in_one_line():
        raise PySparkException(said)


def test_of_inputs_where_spark_alone_can_look_the_place_is_told() -> None:
    counts = dict.fromkeys(("refused", "duplicates", "unsettled", "folded", "likes_without_view"), 0)
    log: Any = SimpleNamespace(files=("file:///nowhere/x", "s3://b/x"), counts=SimpleNamespace(**counts))
    job = Job("train", load_settings(environ={}))
    job.read_with(lambda: log)
    assert job.inputs == [{"path": "file:///nowhere/x"}, {"path": "s3://b/x"}]


def answers(settings: EventsSettings, as_of: datetime | None) -> tuple[Any, Any]:
    """Read a log on this machine and in Spark: a log, or the error, of each."""
    found: list[Any] = []
    for reader in (read, read_in_spark):
        try:
            found.append(reader(settings, as_of))
        except RecsysError as error:
            found.append(error)
    return found[0], found[1]


def assert_same(here: Any, there: Any) -> None:
    if isinstance(there, DataError) and "2^63" in str(there):
        return  # Spark has no integers to hold them, and says so
    if isinstance(here, RecsysError):
        assert type(there) is type(here), there
        # What a reader says of a damaged file is its own.
        assert isinstance(here, InputError) or str(there) == str(here)
        return
    assert isinstance(here, EventLog)
    assert isinstance(there, SparkLog), there
    for told in (
        "counts",
        "as_of",
        "signals",
        "outcomes",
        "positives_only",
        "settle",
        "negatives_kept",
        "files",
    ):
        assert getattr(here, told) == getattr(there, told), told
    assert_frame_equal(there.refused, here.refused)
    rows = there.collect()
    assert rows.columns == here.shown.columns
    assert_frame_equal(rows, here.shown.sort(USER, ITEM, TIME), check_dtypes=False)


def settings_of(case: hostile.Case, folder: Path) -> EventsSettings:
    options = {"max_refused": case.options["max_refused"], "time_unit": case.options.get("time_unit")}
    (folder / "recsys.toml").write_text(hostile.toml_of(case, options))
    return load_settings(folder, environ={}).events


#: Drawn so that most are read and many have rows to refuse; two drift apart, two are damaged.
HOSTILE = {
    "csv_case": [0, 5, 16],
    "typed_case": [8, 9, 18],
    "json_case": [5],
    "drift_case": [8, 16],
    "broken_csv": [14],
    "broken_parquet": [11],
}


@pytest.mark.parametrize(("kind", "seed"), [(kind, seed) for kind in HOSTILE for seed in HOSTILE[kind]])
def test_a_hostile_log_is_read_as_on_one_machine(
    spark: SparkSession, tmp_path: Path, kind: str, seed: int
) -> None:
    case = hostile.draw_case(seed, tmp_path, [kind])
    assert_same(*answers(settings_of(case, tmp_path), case.as_of))


def write_parts(folder: Path, kind: str) -> Path:
    """Write three files in folders; the last two hold rows to refuse, and a copy of a row of the first."""
    rows = hostile.draw_rows(random.Random(5), 40, text=False)
    for row in rows:
        row["timestamp"] = (row["timestamp"] - hostile.EPOCH) // timedelta(milliseconds=1)
    rows[25]["liked"] = rows[31]["user_id"] = None
    for at, part in enumerate((rows[:20], rows[20:28], [*rows[28:], rows[3]])):
        path = folder / f"log {{x}}/day={at // 2}/hour=a%20[{at}]"
        path.mkdir(parents=True)
        frame = pl.DataFrame(part, infer_schema_length=None).with_columns(
            pl.col("user_id").cast(pl.String), pl.col("item_id").cast(pl.String).alias("s.h`o`w`n")
        )
        getattr(frame, f"write_{kind}")(path / f"part.{kind}")
    return folder / "log {x}"


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_files_in_folders_are_one_log(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    settings = EventsSettings(
        path=str(write_parts(tmp_path, kind)),
        columns={"like": "liked", "session": "hour", "groups": {"day": "day", "shown": "s.h`o`w`n"}},
        signals=("clicks", "day + 1 AS tomorrow"),
        max_refused=0.5,
        settle="1h",
    )
    here, there = answers(settings, None)
    assert_same(here, there)
    assert here.refused["row"].to_list() == [25, 31]
    assert here.counts.duplicates
    assert here.counts.unsettled
    assert here.shown["group_day"].n_unique() == 2


def test_a_log_at_a_url_is_read_as_one_on_this_machine(spark: SparkSession, tmp_path: Path) -> None:
    folder = write_parts(tmp_path, "parquet")
    settings = EventsSettings(
        path=str(folder), signals=("clicks",), columns={"session": "hour"}, max_refused=0.5
    )
    at_url = settings.model_copy(update={"path": f"file://{tmp_path}/log*"})
    here, there = read(settings), read_in_spark(at_url)
    assert_same(here, dataclasses.replace(there, files=here.files))
    with pytest.raises(InputError, match=r"^'file:///nowhere' cannot be read: \[PATH_NOT_FOUND\]"):
        read_in_spark(at_url.model_copy(update={"path": "file:///nowhere"}))
