"""Laws of values: ids come out as they went in, times are instants, what is unknown is never zero."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.errors import ConfigError, DataError, RefusedRowsError
from recsys.events import EventLog, read_events

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SECONDS = int(NOON.timestamp())
INTEGERS = [pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64]


def log_of(max_refused: float = 1.0, like: str | None = None, **columns: Any) -> EventLog:
    """Read a log of these columns; the others are filled in."""
    rows = max(len(values) for name, values in columns.items() if name not in ("signals", "outcomes", "unit"))
    settings = {name: columns.pop(name) for name in ("signals", "outcomes") if name in columns}
    unit = columns.pop("unit", None)
    frame = pl.DataFrame(columns)
    filled = {
        "user_id": pl.int_range(rows),
        "item_id": pl.lit("a"),
        "timestamp": pl.lit(NOON),
        "liked": pl.int_range(rows) == 0,
    }
    frame = frame.with_columns(value.alias(name) for name, value in filled.items() if name not in columns)
    return read_events(frame, like=like, max_refused=max_refused, time_unit=unit, **settings)


def reasons_of(log: EventLog) -> dict[int, str]:
    return dict(log.refused.select("row", "reasons").rows())


@pytest.mark.parametrize("kind", INTEGERS, ids=str)
def test_integer_ids_keep_their_type(kind: Any) -> None:
    low, high = pl.select(low=kind.min(), high=kind.max()).row(0)
    values = pl.Series([low, high, 1], dtype=kind)
    log = log_of(user_id=values, item_id=values)
    assert log.exposures["user_id"].equals(values)
    assert log.exposures["item_id"].equals(values)


@pytest.mark.parametrize("kind", [pl.String, pl.Categorical, pl.Enum(["007", " x ", "ü", "a,b"])], ids=str)
def test_string_ids_are_kept_as_given(kind: Any) -> None:
    texts = ["007", " x ", "ü", "a,b"]
    log = log_of(user_id=pl.Series(texts, dtype=kind), item_id=pl.Series(texts, dtype=kind))
    assert log.exposures["user_id"].equals(pl.Series(texts))
    assert log.exposures["item_id"].to_list() == texts


@pytest.mark.parametrize(
    ("texts", "ids"),
    [
        (["7", "-3", None], [7, -3]),
        (["7", str(2**64 - 1), None], [7, 2**64 - 1]),
        (["7", str(2**64), None], ["7", str(2**64)]),
        (["7.0", "12.0", None], [7, 12]),
        (["7.0", "12", None], ["7.0", "12"]),
        (["007", "7", None], ["007", "7"]),
        ([" 7", "8", None], [" 7", "8"]),
        (["1e3", "8", ""], ["1e3", "8"]),
        (["+7", "-0", ""], ["+7", "-0"]),
    ],
)
def test_ids_of_a_csv_are_integers_only_if_nothing_is_lost(
    texts: list[str | None], ids: list[Any], tmp_path: Path
) -> None:
    frame = pl.DataFrame({"user_id": texts, "item_id": 1, "timestamp": SECONDS, "liked": [1, 0, 0]})
    frame.write_csv(tmp_path / "x.csv")
    log = read_events(tmp_path / "x.csv", max_refused=0.5)
    assert log.exposures["user_id"].to_list() == ids
    assert reasons_of(log) == {2: "user_id_missing_or_unparseable"}


def test_a_stray_text_among_the_integers_of_a_csv_is_refused(tmp_path: Path) -> None:
    users = [str(i) for i in range(200)]
    users[50] = "n/a"
    frame = pl.DataFrame({"user_id": users, "item_id": 1, "timestamp": SECONDS, "liked": 1})
    frame.write_csv(tmp_path / "x.csv")
    log = read_events(tmp_path / "x.csv")
    assert reasons_of(log) == {50: "user_id_missing_or_unparseable"}
    assert log.refused["user_id"].to_list() == ["n/a"]
    assert log.exposures["user_id"].dtype == pl.Int64


@pytest.mark.parametrize("values", [[1.0, 2.0**52], [Decimal(1), Decimal(2**52)]])
def test_whole_numbers_are_ids(values: list[Any]) -> None:
    assert log_of(user_id=values).exposures["user_id"].to_list() == [1, 2**52]


@pytest.mark.parametrize("wrong", [None, 1.5, float("nan"), float("inf"), 2.0**53])
def test_other_numbers_are_not_ids(wrong: float | None) -> None:
    assert reasons_of(log_of(item_id=[1.0, wrong])) == {1: "item_id_missing_or_unparseable"}


def test_an_empty_string_is_no_id() -> None:
    assert reasons_of(log_of(user_id=["a", ""])) == {1: "user_id_missing_or_unparseable"}


@pytest.mark.parametrize(
    "kind", [pl.Boolean, pl.Date, pl.List(pl.Int64), pl.Struct({"a": pl.Int8}), pl.Binary]
)
def test_ids_of_other_types_are_a_wrong_configuration(kind: Any) -> None:
    with pytest.raises(ConfigError, match="'user_id' must be an integer or a string, its column is"):
        log_of(user_id=pl.Series([None, None], dtype=kind))


def test_creators_and_categories_are_ids_that_may_be_unknown() -> None:
    log = log_of(creator_id=[5.0, None], category=pl.Series(["a", ""], dtype=pl.Categorical))
    assert log.exposures.select("creator_id", "category").rows() == [(5, "a"), (None, None)]


TIMES: dict[str, Any] = {
    "zoned": NOON,
    "other zone": NOON.astimezone(timezone(timedelta(hours=8))),
    "naive": NOON.replace(tzinfo=None),
    "nanoseconds": pl.Series([NOON.replace(tzinfo=None)], dtype=pl.Datetime("ns")),
    "milliseconds": pl.Series([NOON.replace(tzinfo=None)], dtype=pl.Datetime("ms")),
    "s": SECONDS,
    "s as Int32": pl.Series([SECONDS], dtype=pl.Int32),
    "s as UInt64": pl.Series([SECONDS], dtype=pl.UInt64),
    "s as float": float(SECONDS),
    "s as Decimal": Decimal(SECONDS),
    "s as text": str(SECONDS),
    "ms": SECONDS * 1000,
    "ms as float": SECONDS * 1e3,
    "ms as text": f"{SECONDS}000",
    "us": SECONDS * 1_000_000,
    "Z": "2024-05-01T12:00:00Z",
    "lower case": "2024-05-01t12:00:00z",
    "blank": "2024-05-01 12:00:00",
    "minutes": "2024-05-01 12:00",
    "fraction": "2024-05-01T12:00:00.000",
    "nine digits": "2024-05-01T12:00:00.000000000Z",
    "UTC": "2024-05-01 12:00:00 UTC",
    "+08:00": "2024-05-01T20:00:00+08:00",
    "+0800": "2024-05-01T20:00:00.000000+0800",
    "+08": "2024-05-01 20:00:00+08",
    "-03:30": "2024-05-01T08:30:00-03:30",
    "+00:00": "2024-05-01T12:00:00+00:00",
    "Categorical": pl.Series(["2024-05-01T12:00:00Z"], dtype=pl.Categorical),
}


@pytest.mark.parametrize("name", TIMES)
def test_every_way_to_write_noon_is_noon(name: str) -> None:
    given = TIMES[name]
    values = given if isinstance(given, pl.Series) else pl.Series([given])
    log = log_of(timestamp=values)
    assert log.exposures["timestamp"].dtype == pl.Datetime("us", "UTC")
    assert log.exposures["timestamp"].to_list() == [NOON]
    assert log.as_of == NOON + timedelta(microseconds=1)


def test_dates_are_midnights_utc() -> None:
    for value in (date(2024, 5, 1), "2024-05-01"):
        assert log_of(timestamp=[value]).exposures["timestamp"].to_list() == [NOON.replace(hour=0)]


def test_texts_need_not_agree_on_their_format() -> None:
    texts = [
        "2024-05-01T12:00:00Z",
        "2024-05-01 14:00+02:00",
        "2024-05-01T12:00:00.000",
        str(SECONDS),
        "  2024-05-01 12:00 ",
    ]
    assert log_of(timestamp=texts).exposures["timestamp"].to_list() == [NOON] * 5


@pytest.mark.parametrize(
    ("value", "micros"),
    [(SECONDS + 0.125, 125_000), (str(SECONDS) + ".25", 250_000), ("2024-05-01T12:00:00.1", 100_000)],
)
def test_fractions_of_a_second_are_kept(value: Any, micros: int) -> None:
    assert log_of(timestamp=[value]).exposures["timestamp"][0].microsecond == micros


@pytest.mark.parametrize("value", [None, "", "yesterday", "2024-13-01", "2024-05-01T25:00", "01/05/2024"])
def test_texts_that_are_no_time_are_refused(value: str | None) -> None:
    log = log_of(timestamp=["2024-05-01T12:00Z", value])
    assert reasons_of(log) == {1: "timestamp_missing_or_unparseable"}
    assert log.refused["timestamp"].to_list() == [value]


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize(
    "wild",
    [
        [0, -1, 2**62, -(2**63), 2**63 - 1],
        [0.5, 1e300, -1e300, 1e19, -1e19],
        ["0", "9" * 30, "1e300", "-1e300", "2.5"],
    ],
    ids=["integers", "floats", "texts"],
)
def test_wild_epochs_are_refused_and_do_not_overflow(unit: str, wild: list[Any]) -> None:
    noon = type(wild[0])(SECONDS * {"s": 1, "ms": 1000, "us": 1_000_000}[unit])
    for declared in (unit, None):
        log = log_of(timestamp=[noon, *wild], unit=declared)
        assert log.exposures["timestamp"].to_list() == [NOON]
        assert reasons_of(log) == dict.fromkeys(range(1, 6), "timestamp_implausible")


@pytest.mark.parametrize(
    "none", [[float("inf"), float("-inf"), float("nan"), None], ["inf", "nan", "-", None]]
)
def test_epochs_that_are_no_number_are_refused(none: list[Any]) -> None:
    log = log_of(timestamp=[type(none[0])(SECONDS), *none])
    assert reasons_of(log) == dict.fromkeys(range(1, 5), "timestamp_missing_or_unparseable")


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([0, -(2**31)], dtype=pl.Int32).cast(pl.Date),
        pl.Series([2**31 - 1, 0], dtype=pl.Int32).cast(pl.Date),
        pl.Series([2**63 - 1, -(2**63)]).cast(pl.Datetime("ms")),
        pl.Series([2**63 - 1, -(2**63)]).cast(pl.Datetime("us", "Asia/Shanghai")),
        pl.Series([2**64 - 1, 2**63], dtype=pl.UInt64),
        pl.Series(["1989-12-31", "2100-01-02T00:00Z"]),
        pl.Series(["0001-01-01", "9999-12-31T23:59:59.999999+00:00"]),
    ],
    ids=["early dates", "late dates", "milliseconds", "microseconds", "uint64", "texts", "far texts"],
)
def test_implausible_times_are_refused(values: pl.Series) -> None:
    with pytest.raises(
        RefusedRowsError, match=r"2 of 2 rows .* nothing is left; most often timestamp_implausible"
    ):
        log_of(timestamp=values, unit="s")


@pytest.mark.parametrize(
    "values",
    [
        [0, 1_000_000],
        [SECONDS, SECONDS * 1000],
        [20240501, 20240502],
        [SECONDS * 10**9] * 2,
        [315_532_800.0, 5e8],
        ["5", "6"],
    ],
)
def test_an_epoch_in_doubt_asks_for_its_unit(values: list[Any]) -> None:
    with pytest.raises(
        ConfigError, match=r"unit of columns.time is in doubt \(values from .* declare events.time_unit"
    ):
        log_of(timestamp=values)


@pytest.mark.parametrize("unit", [None, "ms"])
@pytest.mark.parametrize("name", TIMES)
def test_a_creation_is_read_as_a_time_is_and_its_unit_is_its_own(name: str, unit: str | None) -> None:
    given = TIMES[name]
    values = given if isinstance(given, pl.Series) else pl.Series([given])
    log = log_of(timestamp=[SECONDS * 1000], item_created_at=values, unit=unit)
    assert log.exposures["item_created_at"].dtype == pl.Datetime("us", "UTC")
    assert log.exposures["item_created_at"].to_list() == [NOON]


@pytest.mark.parametrize(
    ("values", "known"),
    [
        ([SECONDS, None, 0, -1, 2**62], [NOON, None, None, None, None]),
        (["2024-05-01T12:00Z", "", "yesterday", "1970-01-01"], [NOON, None, None, None]),
        ([date(2024, 5, 1), date(1989, 12, 31), date(2100, 1, 1)], [NOON - timedelta(hours=12), None, None]),
        ([float(SECONDS), float("nan"), float("inf")], [NOON, None, None]),
        ([None, None], [None, None]),
        ([NOON + timedelta(days=9)], [NOON + timedelta(days=9)]),
    ],
)
def test_a_creation_that_cannot_be_is_unknown_and_refuses_no_row(values: list[Any], known: list[Any]) -> None:
    log = log_of(item_created_at=values, max_refused=0.0)
    assert log.exposures["item_created_at"].to_list() == known


@pytest.mark.parametrize("values", [[20240501, 20240502], [0, 0], [SECONDS, SECONDS * 1000]])
def test_creations_in_doubt_ask_for_an_expression(values: list[Any]) -> None:
    with pytest.raises(ConfigError, match=r"unit of columns.item_created_at is in doubt .* SQL expression"):
        log_of(item_created_at=values, unit="s", timestamp=[SECONDS] * 2)


def test_a_creation_may_be_an_expression() -> None:
    frame = pl.DataFrame({"user_id": 1, "item_id": 1, "timestamp": NOON, "liked": 1, "day": "20240501"})
    read = read_events(frame, columns={"item_created_at": "STRPTIME(day, '%Y%m%d')"})
    assert read.exposures["item_created_at"].to_list() == [NOON - timedelta(hours=12)]


def test_creations_of_another_type_are_a_wrong_configuration() -> None:
    with pytest.raises(
        ConfigError, match=r"columns.item_created_at must be a datetime, an epoch or ISO 8601"
    ):
        log_of(item_created_at=[True])


@pytest.mark.parametrize("kind", [pl.Boolean, pl.Time, pl.List(pl.Int64), pl.Duration])
def test_times_of_other_types_are_a_wrong_configuration(kind: Any) -> None:
    with pytest.raises(ConfigError, match=r"columns.time must be a datetime, an epoch or ISO 8601 text"):
        log_of(timestamp=pl.Series([None], dtype=kind))


@pytest.mark.parametrize(
    ("values", "liked"),
    [
        ([True, False], [True, False]),
        ([1, 0], [True, False]),
        ([1.0, 0.0], [True, False]),
        ([Decimal(1), Decimal(0)], [True, False]),
        (["1", "0"], [True, False]),
        ([" True", "FALSE "], [True, False]),
        (["1.0", "0e0"], [True, False]),
    ],
)
def test_likes_are_booleans_or_0_and_1(values: list[Any], liked: list[bool]) -> None:
    assert log_of(liked=values).exposures["liked"].to_list() == liked


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "liked_missing"),
        (2.0, "liked_not_0_or_1"),
        (-1.0, "liked_not_0_or_1"),
        (0.5, "liked_not_0_or_1"),
        (float("nan"), "liked_not_0_or_1"),
        ("", "liked_missing"),
        ("maybe", "liked_not_0_or_1"),
        ("nan", "liked_not_0_or_1"),
    ],
)
def test_other_likes_are_refused(value: Any, reason: str) -> None:
    yes, no = ("1", "0") if isinstance(value, str) else (1.0, 0.0)
    log = log_of(liked=[yes, no, value])
    assert reasons_of(log) == {2: reason}
    assert log.counts.reasons == {reason: 1}


@pytest.mark.parametrize("role", ["clicks", "dwell_seconds"])
@pytest.mark.parametrize("value", [-1.0, float("inf"), float("-inf"), float("nan"), "a lot", "-0.5", "inf"])
def test_signals_that_are_no_amount_are_refused(role: str, value: Any) -> None:
    known = "2.5" if isinstance(value, str) else 2.5
    log = log_of(**{role: [known, None, value]}, signals=["clicks"] if role == "clicks" else [])
    assert reasons_of(log) == {2: f"{role}_negative_or_not_a_number"}
    assert log.exposures[role].to_list() == [2.5, None]
    assert log.signals == (role,)


@pytest.mark.parametrize(
    "column",
    [
        *("creator_id", "category", "session_id", "history_only", "is_random"),
        *("dwell_seconds", "clicks", "shares"),
    ],
)
def test_null_means_unknown_and_is_accepted(column: str) -> None:
    log = log_of(**{column: [None, None]}, signals=["clicks"], outcomes=["shares"], **_absent(column))
    assert log.counts.refused == 0
    assert log.exposures[column].to_list() == (
        [False, False] if column in ("history_only", "is_random") else [None, None]
    )


def _absent(column: str) -> dict[str, Any]:
    return {name: [1, 0] for name in ("clicks", "shares") if name != column}


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        ([True, False, None], [True, False, False]),
        ([1, 0, None], [True, False, False]),
        (["true", "0", ""], [True, False, False]),
        (["rebuilt", "False", "2"], [True, False, True]),
    ],
)
def test_history_only_is_read_on_the_safe_side(values: list[Any], flags: list[bool]) -> None:
    assert log_of(history_only=values).exposures["history_only"].to_list() == flags


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        ([True, False, None], [True, False, False]),
        ([1, 0, None], [True, False, False]),
        (["true", "0", ""], [True, False, False]),
        (["random", "1", "2"], [False, True, False]),
    ],
)
def test_only_what_is_known_to_be_random_is_random(values: list[Any], flags: list[bool]) -> None:
    assert log_of(is_random=values).exposures["is_random"].to_list() == flags


@pytest.mark.parametrize("role", ["liked", "dwell_seconds", "history_only", "is_random"])
def test_numbers_of_other_types_are_a_wrong_configuration(role: str) -> None:
    with pytest.raises(ConfigError, match=f"'{role}' must be a boolean or a number, its column is List"):
        log_of(**{role: [[1], [0]]})


def test_a_row_may_break_several_rules_and_keeps_what_was_written() -> None:
    log = log_of(
        user_id=[1, None], liked=["1", "x"], tags=[["a"], ["b"]], raw=[b"\xff", b"\xfe"], seen=[None, NOON]
    )
    assert reasons_of(log) == {1: "user_id_missing_or_unparseable, liked_not_0_or_1"}
    assert log.counts.reasons == {"liked_not_0_or_1": 1, "user_id_missing_or_unparseable": 1}
    assert log.refused.row(0, named=True) == {
        "row": 1,
        "reasons": "user_id_missing_or_unparseable, liked_not_0_or_1",
        "user_id": None,
        "liked": "x",
        "seen": "2024-05-01 12:00:00.000000+00:00",
        "item_id": "a",
        "timestamp": "2024-05-01 12:00:00.000000+00:00",
    }


def test_objects_and_nested_columns_do_not_break_refused_rows() -> None:
    frame = pl.DataFrame(
        {
            "user_id": [1, None],
            "item_id": 1,
            "timestamp": NOON,
            "liked": 1,
            "object": pl.Series([object(), object()], dtype=pl.Object),
            "nested": [{"a": [1]}, {"a": [2]}],
            "length": timedelta(1),
        }
    )
    assert read_events(frame, max_refused=0.5).refused.columns[-1] == "liked"


@pytest.mark.parametrize(("refused", "allowed"), [(1, True), (2, False)])
def test_more_than_max_refused_stops_the_job(refused: int, allowed: bool) -> None:
    users = list(range(100 - refused)) + [None] * refused
    if allowed:
        assert log_of(max_refused=0.01, user_id=users).counts.refused == refused
        return
    with pytest.raises(
        RefusedRowsError, match=r"2 of 100 rows of .* above events.max_refused = 0.01; most"
    ) as caught:
        log_of(max_refused=0.01, user_id=users)
    assert caught.value.refused["row"].to_list() == [98, 99]
    assert caught.value.exit_code == 65


def test_duplicates_are_counted_and_the_first_is_kept() -> None:
    log = log_of(
        max_refused=0.0,
        user_id=[1, 1, 1, 2, 1],
        timestamp=[NOON, NOON, NOON + timedelta(microseconds=1), NOON, NOON],
        liked=[0, 1, 1, 0, 1],
    )
    assert log.counts.duplicates == 2
    assert log.exposures.select("user_id", "liked").rows() == [(1, False), (1, True), (2, False)]


def test_a_refused_row_does_not_stand_in_for_its_duplicate() -> None:
    log = log_of(user_id=[1, 1, 2], liked=[None, 1, 0])
    assert (log.counts.refused, log.counts.duplicates) == (1, 0)
    assert log.exposures["liked"].to_list() == [True, False]


def test_positives_only() -> None:
    frame = pl.DataFrame({"user_id": [1, 2], "item_id": 1, "timestamp": NOON})
    without, all_liked = read_events(frame), read_events(frame.with_columns(liked=1))
    assert without.positives_only
    assert all_liked.positives_only
    assert without.exposures.select("liked", "factors_only").rows() == [(True, True)] * 2
    assert not read_events(frame.with_columns(liked=pl.col("user_id") - 1)).positives_only


def test_no_like_at_all_is_refused() -> None:
    with pytest.raises(DataError, match=r"no row of .* is liked: check columns.like"):
        log_of(liked=[0, 0])


def test_settle_leaves_out_the_young() -> None:
    times = [NOON - timedelta(hours=hours) for hours in (3, 2, 1, 0)]
    frame = pl.DataFrame({"user_id": range(4), "item_id": 1, "timestamp": times, "liked": [1, 0, 0, 0]})
    log = read_events(frame, settle="2h", as_of=NOON)
    assert log.exposures["user_id"].to_list() == [0]
    assert (log.counts.unsettled, log.counts.read, log.counts.accepted) == (2, 3, 1)
