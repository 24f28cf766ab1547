"""Laws of sources: whatever a log is stored in, the same exposures are read."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.config import Settings
from recsys.errors import ConfigError, DataError, InputError, UsageError
from recsys.events import EventLog, _read, measure, propose_config, read_events, read_table

ROWS = pl.DataFrame(
    {
        "user_id": [3, 1, 1, 2, 3],
        "item_id": ["007", " x ", "ü", 'naïve, "quoted"', "7"],
        "timestamp": [1_700_000_000 + 60 * i for i in range(5)],
        "liked": [True, False, False, True, False],
        "clicks": [0, None, 2, 1, 0],
        "dwell_seconds": [0.5, 2.25, None, 3.0, 1e-3],
        "creator_id": [9, 8, None, 9, 9],
        "category": ["a,b", None, "007", "c", "7"],
        "history_only": [True, False, None, False, False],
    }
)
SETTINGS: dict[str, Any] = {"signals": ["clicks"], "outcomes": ["clicks", "2 * clicks AS twice"]}


def _csv(frame: pl.DataFrame, folder: Path) -> Path:
    frame.write_csv(folder / "log.csv")
    return folder / "log.csv"


def _gz(frame: pl.DataFrame, folder: Path) -> Path:
    (folder / "log.csv.gz").write_bytes(gzip.compress(frame.write_csv().encode()))
    return folder / "log.csv.gz"


def _zst(frame: pl.DataFrame, folder: Path) -> Path:
    import pyarrow as pa

    with pa.CompressedOutputStream(str(folder / "log.csv.zst"), "zstd") as out:
        out.write(frame.write_csv().encode())
    return folder / "log.csv.zst"


def _parquet(frame: pl.DataFrame, folder: Path) -> Path:
    frame.write_parquet(folder / "LOG.PARQUET")
    return folder / "LOG.PARQUET"


def _ndjson(frame: pl.DataFrame, folder: Path) -> str:
    frame.write_ndjson(folder / "log.ndjson")
    return str(folder / "log.ndjson")


def _glob(frame: pl.DataFrame, folder: Path) -> str:
    for i, part in enumerate(frame.iter_slices(2)):
        part.write_parquet(folder / f"part-{i}.parquet")
    (folder / "notes.txt").write_text("not a part")
    return str(folder / "part-*.parquet")


def _folder(frame: pl.DataFrame, folder: Path) -> Path:
    """A folder beside what other tools leave in it."""
    _glob(frame, folder)
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.parquet.crc").touch()
    hidden = folder / "_temporary"
    hidden.mkdir()
    frame.write_parquet(hidden / "half.parquet")
    return folder


SOURCES: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "csv": _csv,
    "csv.gz": _gz,
    "csv.zst": _zst,
    "parquet": _parquet,
    "ndjson": _ndjson,
    "glob": _glob,
    "folder": _folder,
    "lazy": lambda frame, _: frame.lazy(),
    "pandas": lambda frame, _: frame.to_pandas(),
    "pandas arrow": lambda frame, _: frame.to_pandas(use_pyarrow_extension_array=True),
    "pandas csv": lambda frame, folder: (
        frame.to_pandas().to_csv(folder / "log.csv", index=False) or folder / "log.csv"
    ),
}


def _same(first: EventLog, second: EventLog) -> bool:
    plain = first.exposures.with_columns(pl.col("creator_id").cast(pl.Int64))
    again = second.exposures.with_columns(pl.col("creator_id").cast(pl.Int64))
    return plain.equals(again) and first.counts == second.counts and first.as_of == second.as_of


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_exposures(kind: str, tmp_path: Path) -> None:
    log = read_events(SOURCES[kind](ROWS, tmp_path), **SETTINGS)
    assert _same(log, read_events(ROWS, **SETTINGS))
    assert log.exposures["item_id"].to_list() == ROWS["item_id"].to_list()
    assert log.exposures["twice"].to_list() == [0, None, 4, 2, 0]
    assert bool(log.files) is (kind not in ("lazy", "pandas", "pandas arrow"))


@pytest.mark.parametrize("kind", [kind for kind in SOURCES if kind not in ("ndjson",)])
def test_every_source_refuses_the_same_rows(kind: str, tmp_path: Path) -> None:
    broken = ROWS.with_columns(user_id=pl.Series([3, None, 1, 2, 3]), clicks=pl.Series([0, 1, -2, 1, 0]))
    settings = {**SETTINGS, "max_refused": 0.5}
    log, plain = read_events(SOURCES[kind](broken, tmp_path), **settings), read_events(broken, **settings)
    assert _same(log, plain)
    assert log.refused.select("row", "reasons").equals(plain.refused.select("row", "reasons"))


@pytest.mark.parametrize("write", ["write_parquet", "write_csv", "write_ndjson"])
@pytest.mark.parametrize("users", [["007", "008"], ["7", "8"], ["a b", "ü/%"]])
def test_hive_folders_are_columns(write: str, users: list[str], tmp_path: Path) -> None:
    root = tmp_path / "env=prod" / "log"
    for user in users:
        part = root / f"user_id={user.replace('/', '%2F').replace(' ', '%20')}" / "day=2024-01-02"
        part.mkdir(parents=True)
        rows = pl.DataFrame({"item_id": [1, 2], "timestamp": [1_700_000_000, 1_700_000_001], "liked": [0, 1]})
        getattr(rows.with_columns(env=pl.lit("real")), write)(part / ("x." + write.removeprefix("write_")))
    settings = {"columns": {"category": "env", "creator": "day"}}
    for place in (root, root / "*" / "*" / "*"):
        log = read_events(str(place), **settings).exposures
        expected = [int(user) if user in ("7", "8") else user for user in users for _ in range(2)]
        assert sorted(log["user_id"].to_list()) == sorted(expected)
        assert set(log["category"]) == {"real"}
        assert set(log["creator_id"]) == {"2024-01-02"}


def test_columns_of_parquet_parts_are_found_by_name(tmp_path: Path) -> None:
    ROWS[:2].write_parquet(tmp_path / "a.parquet")
    ROWS[2:].select(reversed(ROWS.columns)).write_parquet(tmp_path / "b.parquet")
    assert _same(read_events(tmp_path, **SETTINGS), read_events(ROWS, **SETTINGS))


@pytest.mark.parametrize("text", ["time", "timestamp / 1000.0", "1000 * timestamp"])
def test_expressions_mean_the_same_on_csv(text: str, tmp_path: Path) -> None:
    frame = ROWS.with_columns(time=pl.col("timestamp"))
    columns = {"user": "user_id + 1", "item": "item_id || '!'", "time": text, "like": "clicks >= 1"}
    settings: dict[str, Any] = {"columns": columns, "time_unit": "s", "max_refused": 1.0}
    if text != "time":
        frame = frame.with_columns(
            timestamp=pl.col("timestamp") * 1000 if "/" in text else pl.col("timestamp")
        )
        settings["time_unit"] = "s" if "/" in text else "ms"
    log = read_events(_csv(frame, tmp_path), **settings)
    assert _same(log, read_events(frame, **settings))
    assert log.exposures["user_id"].to_list() == [4, 2, 3, 4]
    assert log.exposures["item_id"][0] == "007!"
    assert log.exposures["liked"].to_list() == [False, True, True, False]


def test_numbers_after_the_ten_thousandth_row_count_too(tmp_path: Path) -> None:
    rows = 10_500
    frame = pl.DataFrame({"user_id": range(rows), "item_id": 1, "timestamp": 1_700_000_000, "liked": "1"})
    late = pl.Series(["4"] * (rows - 2) + ["3.5", "4.5"])
    frame = frame.with_columns(rating=late)
    for write, name in ((frame.write_csv, "x.csv"), (frame.write_ndjson, "x.ndjson")):
        write(tmp_path / name)
    log = read_events(tmp_path / "x.csv", like="rating >= 4").exposures
    assert log["liked"].tail(2).to_list() == [False, True]


def test_a_stray_text_in_an_expression_is_unknown(tmp_path: Path) -> None:
    frame = ROWS.with_columns(rating=pl.Series(["5", "3.5", "n/a", "4.0", None]))
    log = read_events(
        _csv(frame, tmp_path), like="rating >= 4", outcomes=["rating / 2 AS half"], max_refused=0.5
    )
    assert log.exposures["liked"].to_list() == [True, False, True]
    assert log.refused.select("row", "reasons").rows() == [(2, "liked_missing"), (4, "liked_missing")]


def test_ndjson_fields_may_turn_up_late(tmp_path: Path) -> None:
    head = '{"user_id": 1, "item_id": 1, "timestamp": 1700000000, "liked": 1, "clicks": 1}\n'
    tail = '{"user_id": 1, "item_id": 2, "timestamp": 1700000001.5, "liked": 0, "clicks": 2.5, "swipes": 1}\n'
    (tmp_path / "x.jsonl").write_text(head * 10_050 + tail)
    log = read_events(tmp_path / "x.jsonl", signals=["clicks", "swipes"])
    assert log.exposures.select("clicks", "swipes").rows() == [(1.0, None), (2.5, 1.0)]
    assert log.counts.duplicates == 10_049


def _append(file: Path) -> None:
    with file.open("a") as log:
        log.write("9,9,1700000000,true\n")


def _replace(file: Path) -> None:
    # Of the same size and time: another file all the same.
    other = file.with_suffix(".new")
    shutil.copy2(file, other)
    other.rename(file)


@pytest.mark.parametrize("disturb", [_append, _replace, Path.unlink])
def test_a_log_that_is_written_meanwhile_is_refused(
    disturb: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _csv(ROWS.select("user_id", "item_id", "timestamp", "liked"), tmp_path)
    assert read_events(file).counts.accepted == 5
    honest = _read.accept_rows

    def disturbed(*given: Any) -> Any:
        accepted = honest(*given)
        disturb(file)
        return accepted

    monkeypatch.setattr(_read, "accept_rows", disturbed)
    with pytest.raises(InputError, match=r"log.csv' (changed while it was read|cannot be read)"):
        read_events(file)


@pytest.mark.parametrize(
    ("place", "error", "says"),
    [
        ("nowhere.parquet", InputError, "there is no log at .*nowhere.parquet"),
        ("nothing-*.csv", InputError, "there is no log at"),
        ("folder", InputError, "no file ending in .parquet"),
        ("log.xlsx", InputError, "'log.xlsx' has no known format: its name must end in one of"),
        ("mixed", InputError, "mixes formats, 'a.csv' and 'b.parquet'"),
        ("broken.parquet", InputError, "'.*broken.parquet' cannot be read: "),
        ("broken.csv.gz", InputError, "cannot be read: "),
        ("latin.csv", InputError, "cannot be read: .*utf-8"),
        ("ragged.csv", InputError, "cannot be read: .*fields"),
        ("broken.ndjson", InputError, "cannot be read: "),
        ("shapes", InputError, "cannot be read: "),
        ("**.csv", InputError, "neither a file nor a glob"),
        ("empty.csv", DataError, "is empty"),
        ("empty.ndjson", DataError, "is empty"),
        ("header.csv", DataError, "there are no rows in"),
        ("header.parquet", DataError, "there are no rows in"),
    ],
)
def test_unreadable_sources_say_why_in_one_line(
    place: str, error: type[Exception], says: str, tmp_path: Path
) -> None:
    for folder in ("folder", "mixed", "shapes"):
        (tmp_path / folder).mkdir()
    (tmp_path / "log.xlsx").write_bytes(b"PK")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really PAR1")
    (tmp_path / "broken.csv.gz").write_bytes(gzip.compress(ROWS.write_csv().encode())[:40])
    (tmp_path / "latin.csv").write_bytes("user_id,item_id,timestamp\n1,café,1700000000\n".encode("latin-1"))
    (tmp_path / "ragged.csv").write_text("user_id,item_id,timestamp\n1,2,1700000000,5\n")
    (tmp_path / "broken.ndjson").write_text('{"user_id": 1\n')
    (tmp_path / "empty.csv").touch()
    (tmp_path / "empty.ndjson").touch()
    ROWS.clear().write_csv(tmp_path / "header.csv")
    ROWS.clear().write_parquet(tmp_path / "header.parquet")
    ROWS.write_csv(tmp_path / "mixed" / "a.csv")
    ROWS.write_parquet(tmp_path / "mixed" / "b.parquet")
    ROWS.write_csv(tmp_path / "shapes" / "a.csv")
    ROWS.drop("clicks").write_csv(tmp_path / "shapes" / "b.csv")
    with pytest.raises(error, match=says) as caught:
        read_events(tmp_path / place)
    assert len(str(caught.value).splitlines()) == 1


def test_a_long_complaint_is_cut() -> None:
    frame = pl.LazyFrame({"a": ["x"]}).select(pl.col("a").cast(pl.Int64).alias("user_id" * 400))
    wrong = frame.with_columns(item_id=1, timestamp=pl.col("a" * 4000))
    with pytest.raises(InputError, match="a frame in memory") as caught:
        read_events(wrong)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("as_of", [None, datetime(2030, 1, 1, tzinfo=UTC)])
def test_pages_that_turn_out_to_be_broken_are_an_unreadable_input(
    as_of: datetime | None, tmp_path: Path
) -> None:
    """The footer is whole, so that the file opens; what is in it is not."""
    ROWS.write_parquet(tmp_path / "x.parquet", compression="zstd")
    whole = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(
        whole[:4] + b"\xff" * (len(whole) // 2) + whole[4 + len(whole) // 2 :]
    )
    settings = Settings().events.model_copy(update={"path": str(tmp_path / "x.parquet")})
    for work in (
        lambda: read_events(tmp_path / "x.parquet", as_of=as_of),
        lambda: propose_config(tmp_path / "x.parquet"),
        lambda: measure(settings),
        lambda: read_table(tmp_path / "x.parquet", "users"),
    ):
        with pytest.raises(InputError, match=r"x.parquet' cannot be read: "):
            work()


def test_frames_that_are_none() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(UsageError, match="Polars or pandas frame"):
        read_events({"user_id": [1]})
    with pytest.raises(InputError, match="a frame in memory"):
        read_events(pandas.DataFrame({"user_id": [1, object()]}))
    with pytest.raises(ConfigError, match=r"events.path is not set"):
        read_events(None)


@pytest.mark.parametrize("kind", ["parquet", "csv", "ndjson"])
def test_tables_keep_their_types(kind: str, tmp_path: Path) -> None:
    table = pl.DataFrame(
        {"user_id": [7, 12], "item_id": ["007", "b"], "weight": [0.5, 2.0], "big": [2**63, 1]}
    )
    table = table.with_columns(flag=pl.Series([True, False]))
    table = table.drop("big") if kind == "ndjson" else table
    getattr(table, f"write_{kind}")(tmp_path / f"pairs.{kind}")
    assert read_table(tmp_path / f"pairs.{kind}", "pairs").equals(table)


def test_tables_say_what_is_wrong(tmp_path: Path) -> None:
    ROWS.clear().write_csv(tmp_path / "users.csv")
    with pytest.raises(UsageError, match=r"users '.*users.csv' has no rows"):
        read_table(tmp_path / "users.csv", "users")
    with pytest.raises(InputError, match=r"no log|no file"):
        read_table(tmp_path / "none.csv", "users")
    mixed = tmp_path / "mixed.csv"
    mixed.write_text("user_id\n" + "1\n" * 10_001 + "x\n")
    assert read_table(mixed, "users")["user_id"][-1] == "x"


def test_a_path_with_brackets_is_a_file(tmp_path: Path) -> None:
    ROWS.write_parquet(tmp_path / "a[1]*.parquet")
    shutil.copy(tmp_path / "a[1]*.parquet", tmp_path / "a1.parquet")
    assert read_events(tmp_path / "a[1]*.parquet", **SETTINGS).counts.read == len(ROWS)
