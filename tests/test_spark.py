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

from recsys.config import EventsSettings, SparkSettings, load_settings  # noqa: E402
from recsys.engines import engine_for  # noqa: E402
from recsys.engines._spark import _session  # noqa: E402
from recsys.engines._spark._arrow import to_frame, to_table  # noqa: E402
from recsys.engines._spark._fold import Fold  # noqa: E402
from recsys.engines.spark import SparkEngine, SparkLog, in_one_line, open_session  # noqa: E402
from recsys.engines.spark import read as read_in_spark  # noqa: E402
from recsys.errors import ConfigError, DataError, InputError, RecsysError  # noqa: E402
from recsys.events import EventLog, expose, read  # noqa: E402
from recsys.pipeline import Job  # noqa: E402
from recsys.schema import ROW, USER  # noqa: E402


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


def test_a_server_that_does_not_answer_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grpc", reason="needs pyspark[connect]")
    monkeypatch.setattr(_session, "_PATIENCE", 0.5)
    monkeypatch.setattr(_session, "_open_already", lambda: None)
    with pytest.raises(ConfigError, match=r"^no Spark Connect server answers at 127\.0\.0\.1:1 within"):
        open_session(SparkSettings(master="sc://127.0.0.1:1/;token=secret"))


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
    # Likes of two types, at one time and without a view, are two rows of one user, item and time.
    assert_frame_equal(rows.sort(pl.all()), here.shown.sort(pl.all()), check_dtypes=False)


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


#: Few users and items at a dozen instants: likes before, at and after views, of two types each, and again.
TYPES = {"view": ("VIEW", "OPEN"), "like": ("LIKE", "LOVE"), "follow": ("FOLLOW",)}
ANY_TYPE = ["VIEW", "VIEW", "OPEN", "LIKE", "LIKE", "LOVE", "FOLLOW", "SHARE"]


def draw_events(seed: int, count: int = 900, spoilt: float = 0.0) -> pl.DataFrame:
    draw = random.Random(seed)

    def one_of(choices: Any) -> Any:
        return None if draw.random() < spoilt else draw.choice(choices)

    rows = [
        {
            "user_id": one_of(range(40)),
            "item_id": one_of(["a", "b", "ü"]),
            "timestamp": hostile.NOON + timedelta(seconds=draw.randrange(12)),
            "event_type": one_of(ANY_TYPE),
            "dwell_seconds": draw.choice([None, 1.5, 20.0]),
            "history_only": draw.random() < 0.1,
        }
        for _ in range(count)
    ]
    return pl.DataFrame(rows)


def events_settings(path: Path, **options: Any) -> EventsSettings:
    described = {"layout": "event_log", "event_types": TYPES, "outcomes": ("follow",), "max_refused": 0.2}
    return EventsSettings(path=str(path), **{**described, **options})


@pytest.mark.parametrize("rows_at_once", [1, 13, 10_000])
def test_events_are_folded_some_users_at_a_time_as_all_at_once(rows_at_once: int) -> None:
    events = draw_events(rows_at_once, 300).with_row_index(ROW)
    settings = events_settings(Path(), like_within="3s")
    whole = expose(events, settings, ("follow",)).drop(ROW)
    batches = to_table(events.sample(fraction=1, shuffle=True, seed=1).sort(USER)).to_batches(max_chunksize=5)
    found = [to_frame(batch) for batch in Fold(settings, ("follow",), rows_at_once)(batches)]
    assert len(found) > 1 or rows_at_once > 300
    assert_frame_equal(pl.concat(found).sort(pl.all()), whole.sort(pl.all()))


@pytest.mark.parametrize(
    ("kind", "options", "seconds"),
    [
        ("parquet", {"like_within": "4s", "signals": ("follow", "dwell_seconds * 2 AS twice")}, None),
        ("csv", {"settle": "3s"}, 9),
        ("parquet", {"event_types": {"view": ("OPEN",)}, "outcomes": ()}, None),
    ],
)
def test_an_event_log_is_read_as_on_one_machine(
    spark: SparkSession, tmp_path: Path, kind: str, options: dict[str, Any], seconds: int | None
) -> None:
    events = draw_events(7, spoilt=0.02)
    for part in range(3):
        getattr(events[part::3], f"write_{kind}")(tmp_path / f"{part}.{kind}")
    as_of = None if seconds is None else hostile.NOON + timedelta(seconds=seconds)
    here, there = answers(events_settings(tmp_path, **options), as_of)
    assert_same(here, there)
    counts = here.counts
    assert min(counts.refused, counts.duplicates, counts.folded, counts.accepted) > 0
    assert bool(counts.likes_without_view) == ("event_types" not in options)
    assert bool(counts.unsettled) == ("settle" in options)


@pytest.mark.parametrize(
    ("types", "error", "says"),
    [
        ({"view": ("VEIW",), "like": ("LIKE",)}, ConfigError, "no event has the type 'VEIW' .*'VIEW'"),
        ({"view": ("VIEW",), "like": ("LIKED",)}, DataError, "no row of .* event_types.like"),
    ],
)
def test_a_wrong_event_log_is_named_as_on_one_machine(
    spark: SparkSession, tmp_path: Path, types: dict[str, tuple[str, ...]], error: type[Exception], says: str
) -> None:
    draw_events(1, 30).write_parquet(tmp_path / "log.parquet")
    here, there = answers(events_settings(tmp_path / "log.parquet", event_types=types, outcomes=()), None)
    assert_same(here, there)
    with pytest.raises(error, match=says):
        raise there


def test_a_log_that_is_not_there_or_lacks_a_column_is_told_of_before_spark_starts(tmp_path: Path) -> None:
    def open_session() -> SparkSession:
        raise AssertionError("Spark was opened")

    draw_events(1, 3).write_parquet(tmp_path / "log.parquet")
    for settings, says in (
        (events_settings(tmp_path / "lgo.parquet"), "there is no log at"),
        (events_settings(tmp_path / "log.parquet", columns={"user": "usr"}), "no column 'usr' for 'user_id'"),
        (
            events_settings(tmp_path / "log.parquet", columns={"item": "timestamp"}),
            "'item_id' must be an int",
        ),
    ):
        with pytest.raises(RecsysError, match=says):
            read_in_spark(settings, open_session=open_session)
