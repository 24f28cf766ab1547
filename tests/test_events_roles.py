"""Laws of roles and of as_of: the right column, or one clear line; and nothing from at or after as_of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.errors import ConfigError, DataError, RecsysError, UsageError
from recsys.events import EventLog, read_events

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SECONDS = int(NOON.timestamp())
FRAME = pl.DataFrame(
    {
        "user_id": [1, 2, 1, 2],
        "item_id": ["a", "b", "b", "a"],
        "timestamp": [SECONDS - 30, SECONDS - 20, SECONDS - 10, SECONDS],
        "liked": [1, 0, 0, 0],
        "rating": [5.0, 3.0, None, 4.0],
        "is like": [0, 1, 1, 0],
        "click-out": [0, 1, 1, 0],
    }
)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"columns": {"user": "user_idd"}},
            r"the log has no column 'user_idd' for 'user_id': did you mean 'user_id'\?",
        ),
        ({"columns": {"like": "licked"}}, r"no column 'licked' for 'liked': did you mean 'liked'\?"),
        (
            {"columns": {"like": "zzz"}},
            "no column 'zzz' for 'liked': choose from 'click-out', 'is like', 'item_id'",
        ),
        ({"columns": {"creator": "author"}}, "no column 'author' for 'creator_id'"),
        ({"columns": {"like": "is  like"}}, r"neither a column \(did you mean 'is like'\?\) nor SQL: "),
        ({"columns": {"like": "rating >="}}, r"'rating >=' for 'liked' is neither a column .* nor SQL: "),
        (
            {"columns": {"like": "ratings >= 4"}},
            r"reads 'ratings', which is not a column: did you mean 'rating'\?",
        ),
        ({"columns": {"like": "STARS(rating) = 1"}}, "nor SQL: .*stars"),
        (
            {"columns": {"like": "item_id >= 4"}},
            "the expression for 'liked' cannot be computed: cannot compare",
        ),
        ({"columns": {"like": "MAX(rating) > 4"}}, "'liked' gives one value for the whole log"),
        ({"columns": {"like": "1 = 1"}}, "'liked' gives one value for the whole log"),
        ({"columns": {"like": "rating > AVG(rating) OVER (PARTITION BY user_id)"}}, "looks at other rows"),
        ({"signals": ["click"]}, r"no column 'click' for 'click': did you mean 'click-out'\?"),
        (
            {"signals": ["rating / 5"]},
            "the signal 'rating / 5' needs a name: write 'rating / 5 AS some_name'",
        ),
        ({"signals": ["rating AS liked"]}, "'liked' is a name that recsys uses itself"),
        ({"signals": ["rating AS exposed"]}, "'exposed' is a name that recsys uses itself"),
        ({"outcomes": ["rating AS row"]}, "'row' is a name that recsys uses itself"),
        ({"signals": ["rating", "rating AS rating_at"]}, "'rating_at' is a name that recsys uses itself"),
        ({"signals": ["rating AS item_created"]}, "'item_created' is a name that recsys uses itself"),
        ({"columns": {"item_created_at": "upload"}}, "no column 'upload' for 'item_created_at'"),
        ({"columns": {"session": "visit"}}, "no column 'visit' for 'session_id'"),
        ({"columns": {"is_random": "drawn"}}, "no column 'drawn' for 'is_random'"),
        ({"signals": ["rating AS is_random"]}, "'is_random' is a name that recsys uses itself"),
        ({"signals": ["rating AS filter"]}, "'filter' is a name that recsys uses itself"),
        (
            {"signals": ["rating AS x"], "outcomes": ["liked AS x"]},
            "'x' is both 'rating AS x' and 'liked AS x'",
        ),
        ({"layout": "event_log", "event_types": {"view": ["V"]}}, "no column 'event_type' for 'event_type'"),
        (
            {"layout": "event_log", "event_types": {"view": ["V"]}, "columns": {"like": "liked"}},
            "columns.like = 'liked' is for exposures",
        ),
    ],
)
def test_a_wrong_role_is_named_in_one_line(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        read_events(FRAME, **settings)
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("like", "liked"),
    [
        (None, [True, False, False, False]),
        ("is like", [False, True, True, False]),
        ('"is like" = 1', [False, True, True, False]),
        ("COALESCE(rating, 0) >= 4", [True, False, False, True]),
        ("CASE WHEN rating >= 4 THEN 1 ELSE 0 END", [True, False, False, True]),
        ("item_id IN ('a')", [True, False, False, True]),
    ],
)
def test_roles_are_columns_or_sql(like: str | None, liked: list[bool]) -> None:
    assert read_events(FRAME, like=like).exposures["liked"].to_list() == liked


def test_signals_are_named_after_their_column_or_their_as() -> None:
    signals = ["click-out", "rating / 2 AS half", 'rating AS "stars"']
    log = read_events(FRAME, signals=signals, outcomes=["half", "rating"])
    assert log.signals == ("click-out", "half", "stars")
    assert log.outcomes == ("half", "rating")
    assert log.exposures["half"].to_list() == [2.5, 1.5, None, 2.0]
    assert log.exposures["click-out"].dtype == pl.Float64


@pytest.mark.parametrize("settings", [{"columns": {"dwell": "rating"}}, {}])
def test_dwell_is_a_signal(settings: dict[str, Any]) -> None:
    frame = FRAME if settings else FRAME.rename({"rating": "dwell_seconds"})
    log = read_events(frame, **settings)
    assert log.signals == ("dwell_seconds",)
    assert log.exposures["dwell_seconds"].to_list() == [5.0, 3.0, None, 4.0]


@pytest.mark.parametrize("named", [True, False])
def test_chance_and_sessions_are_read_where_the_log_has_them(named: bool) -> None:
    columns = {"is_random": "drawn", "session": "visit"} if named else {}
    names = ("drawn", "visit") if named else ("is_random", "session_id")
    frame = FRAME.with_columns(pl.Series(names[0], [1, 0, None, 1]), pl.Series(names[1], ["x", "y", "", "z"]))
    log = read_events(frame, columns=columns)
    assert log.exposures["is_random"].to_list() == [True, False, False, True]
    assert log.exposures["session_id"].to_list() == ["x", "y", None, "z"]
    assert not {"is_random", "session_id"} & set(read_events(FRAME).exposures.columns)


def test_chance_and_sessions_are_those_of_the_view_in_an_event_log() -> None:
    frame = FRAME.with_columns(
        event_type=pl.Series(["V", "V", "L", "V"]), is_random=pl.Series([1, 0, 0, 0]), session_id=pl.lit(7)
    ).with_columns(item_id=pl.lit("a"))
    log = read_events(frame, layout="event_log", event_types={"view": ["V"], "like": ["L"]})
    assert log.exposures.select("user_id", "liked", "is_random", "session_id").rows() == [
        (1, True, True, 7),
        (2, False, False, 7),
        (2, False, False, 7),
    ]


@pytest.mark.parametrize("kind", ["frame", "csv"])
def test_the_sessions_of_a_csv_are_integers_where_they_are(kind: str, tmp_path: Path) -> None:
    log = _read(FRAME.with_columns(session_id=pl.Series([3, None, 5, 5])), tmp_path, kind)
    assert log.exposures["session_id"].to_list() == [3, None, 5, 5]


STRANGE = [
    "row",
    "reasons",
    "row_",
    "recsys:row",
    "recsys::timestamp",
    "plain:user_id",
    "view",
    "event_type",
    "len",
    "path",
]


@pytest.mark.parametrize("kind", ["frame", "csv"])
def test_columns_with_our_own_names_do_no_harm(kind: str, tmp_path: Path) -> None:
    frame = FRAME.with_columns(pl.lit(f"my {name}").alias(name) for name in STRANGE)
    frame = frame.with_columns(
        liked=pl.Series(["1", "0", "x", "0"]), factors_only=1, liked_at=pl.lit("never")
    )
    frame.write_csv(tmp_path / "x.csv")
    log = read_events(
        frame if kind == "frame" else tmp_path / "x.csv",
        max_refused=0.5,
        signals=["row_ = 'my row_' AS same"],
    )
    assert log.exposures["same"].to_list() == [1.0, 1.0, 1.0]
    assert log.refused["row"].to_list() == [2]
    assert log.refused["reasons"].to_list() == ["liked_not_0_or_1"]
    assert set(log.exposures.columns).isdisjoint(STRANGE)
    assert not log.exposures["factors_only"].any()
    assert {f"my {name}" for name in STRANGE if name != "row_"} <= set(log.refused.row(0))


def _read(frame: pl.DataFrame, folder: Path, kind: str, **settings: Any) -> EventLog:
    if kind == "csv":
        frame.write_csv(folder / "x.csv")
        return read_events(folder / "x.csv", **settings)
    return read_events(frame, **settings)


def _late(time: Any, **values: Any) -> pl.DataFrame:
    """Rows at and after noon that would change much, were they read."""
    row = {
        "user_id": "x",
        "item_id": None,
        "timestamp": time,
        "liked": "7",
        "clicks": "-3",
        "rating": "n/a",
    } | values
    return pl.DataFrame([row] * 30)


TEXTS = FRAME.head(3).select(
    pl.col("user_id", "liked").cast(pl.String),
    "item_id",
    pl.col("timestamp").cast(pl.String),
    pl.lit("1").alias("clicks"),
    pl.lit("4.5").alias("rating"),
)
NOONS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "s": lambda seconds: seconds.cast(pl.String),
    "ms": lambda seconds: (seconds.cast(pl.Int64) * 1000).cast(pl.String),
    "iso": lambda seconds: pl.from_epoch(seconds.cast(pl.Int64)).dt.to_string("%Y-%m-%dT%H:%M:%S+00:00"),
}


@pytest.mark.parametrize("unit", NOONS)
@pytest.mark.parametrize("kind", ["frame", "csv"])
def test_rows_at_or_after_as_of_move_nothing(unit: str, kind: str, tmp_path: Path) -> None:
    settings = {
        "as_of": NOON,
        "signals": ["clicks"],
        "outcomes": ["rating >= 4 AS good"] if kind == "csv" else [],
    }
    at = NOONS[unit](pl.col("timestamp"))
    before = TEXTS.with_columns(at)
    late = pl.concat([_late(str(SECONDS)), _late(str(SECONDS + 1)), _late(str(2**33))]).with_columns(at)
    mixed = pl.concat([late, before, late], how="diagonal_relaxed")
    once, again = (_read(frame, tmp_path, kind, **settings) for frame in (before, mixed))
    assert once.exposures.equals(again.exposures)
    assert (once.counts, once.as_of, once.positives_only) == (again.counts, again.as_of, again.positives_only)
    assert once.counts.read == 3


def test_as_of_comes_before_the_detection_of_the_unit() -> None:
    far = pl.concat([FRAME, FRAME.with_columns(timestamp=pl.col("timestamp") * 1_000_000_000)])
    with pytest.raises(ConfigError, match="in doubt"):
        read_events(pl.concat([FRAME, FRAME.with_columns(timestamp=pl.col("timestamp") * 1_000)]))
    later = FRAME.with_columns(timestamp=(pl.col("timestamp") + 100) * 1_000)
    for frame in (far, pl.concat([FRAME, later])):
        assert read_events(frame, as_of=NOON).counts.read == 3
    early = FRAME.with_columns(timestamp=pl.col("timestamp") * 1000)
    with pytest.raises(DataError, match=r"there are no rows in .* before as_of = 1999-01-01T00:00:00\+00:00"):
        read_events(early, as_of=datetime(1999, 1, 1, tzinfo=UTC))


def test_rows_without_a_time_are_counted_whatever_as_of() -> None:
    frame = FRAME.with_columns(timestamp=pl.when(pl.col("rating").is_not_null()).then("timestamp"))
    log = read_events(frame, as_of=NOON, max_refused=0.5)
    assert (log.counts.read, log.counts.refused, log.refused["row"].to_list()) == (3, 1, [2])


def test_as_of_in_another_zone_is_the_same_instant() -> None:
    log = read_events(FRAME, as_of=NOON.astimezone(timezone(timedelta(hours=8))))
    assert log.as_of == NOON
    assert log.as_of.utcoffset() == timedelta()
    assert log.exposures["timestamp"].max() == NOON - timedelta(seconds=10)


def test_as_of_needs_a_zone() -> None:
    with pytest.raises(UsageError, match="as_of needs its zone, as in 2024-05-01T12:00:00Z"):
        read_events(FRAME, as_of=NOON.replace(tzinfo=None))


def test_without_as_of_the_log_ends_just_after_its_last_row() -> None:
    log = read_events(FRAME)
    assert log.as_of == NOON + timedelta(microseconds=1)
    assert read_events(FRAME, as_of=log.as_of).exposures.equals(log.exposures)


def test_every_expected_failure_has_an_exit_code() -> None:
    with pytest.raises(RecsysError) as caught:
        read_events(FRAME.clear())
    assert caught.value.exit_code == 65
    assert (
        str(caught.value)
        == "there are no rows in 'a frame in memory': check the log, its time column and as_of"
    )


class TestGroups:
    FRAME = FRAME.with_columns(group_city=pl.Series(["x", "", None, "y"]), group_id=pl.Series([1, 1, 2, 2]))

    def test_columns_that_say_so_are_carried_as_text_and_null_is_unknown(self) -> None:
        found = read_events(self.FRAME).exposures
        assert found["group_city"].to_list() == ["x", None, None, "y"]
        assert found["group_id"].to_list() == ["1", "1", "2", "2"]

    def test_a_group_is_declared_like_a_role(self) -> None:
        groups = {"high": "rating >= 4", "city": "item_id"}
        found = read_events(self.FRAME, columns={"groups": groups}).exposures
        assert found["group_high"].to_list() == ["true", "false", None, "true"]
        assert found["group_city"].to_list() == ["a", "b", "b", "a"]

    def test_a_column_that_plays_a_role_is_no_group(self) -> None:
        found = read_events(self.FRAME, columns={"user": "group_id"}).exposures
        assert "group_id" not in found.columns
        found = read_events(self.FRAME, signals=["group_id"]).exposures
        assert found["group_id"].to_list() == [1.0, 1.0, 2.0, 2.0]
        with pytest.raises(ConfigError, match="'group_id' is a signal or an outcome"):
            read_events(self.FRAME, columns={"groups": {"id": "item_id"}}, signals=["group_id"])

    def test_they_come_through_an_event_log_and_a_csv(self, tmp_path: Path) -> None:
        events = self.FRAME.with_columns(event_type=pl.Series(["VIEW", "VIEW", "LIKE", "VIEW"])).drop("liked")
        events = events.with_columns(item_id=pl.Series(["a", "b", "a", "a"]))
        events.write_csv(tmp_path / "events.csv")
        types = {"view": ["VIEW"], "like": ["LIKE"]}
        settings = {"layout": "event_log", "event_types": types, "time_unit": "s"}
        found = read_events(tmp_path / "events.csv", **settings)
        assert found.exposures["group_city"].to_list() == ["x", None, "y"]
        assert found.exposures["group_id"].to_list() == ["1", "1", "2"]
