"""Laws that hold for any log: rows are conserved, names and order mean nothing, the future changes nothing."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.events import EventLog, read_events

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
ROW = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from([None, 1, 2, 3]),
        "item_id": st.sampled_from([None, "a", "007", " x "]),
        "seconds": st.sampled_from([None, *range(6)]),
        "liked": st.sampled_from([None, 0.0, 1.0, 2.0]),
        "clicks": st.sampled_from([None, 0.0, 1.0, -1.0, float("inf")]),
        "history_only": st.sampled_from([None, True, False]),
    }
)
LOGS = st.lists(ROW, max_size=30)
KINDS = {
    "user_id": pl.Int64,
    "item_id": pl.String,
    "seconds": pl.Int64,
    "liked": pl.Float64,
    "clicks": pl.Float64,
    "history_only": pl.Boolean,
}
OPTIONS: dict[str, Any] = {"max_refused": 1.0, "signals": ["clicks"]}


def frame_of(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Build a log of any rows, and two good ones, so that it can be read."""
    blank = dict.fromkeys(KINDS)
    good = [blank | {"user_id": 9, "item_id": "b", "seconds": at, "liked": at} for at in (0, 1)]
    frame = pl.DataFrame([*rows, *good], schema=KINDS)
    return frame.with_columns(timestamp=pl.lit(NOON) + pl.duration(seconds="seconds")).drop("seconds")


def sorted_rows(log: EventLog) -> list[tuple[Any, ...]]:
    return sorted(log.exposures.rows(), key=repr)


def is_good(row: dict[str, Any]) -> bool:
    """Apply the rules to one row, without Polars."""
    known = all(row[name] is not None for name in ("user_id", "item_id", "seconds"))
    return known and row["liked"] in (0.0, 1.0) and row["clicks"] in (None, 0.0, 1.0)


@settings(max_examples=30, deadline=None)
@given(rows=LOGS, settle=st.integers(0, 4))
def test_rows_are_conserved(rows: list[dict[str, Any]], settle: int) -> None:
    as_of = NOON + timedelta(seconds=6)
    log = read_events(frame_of(rows), as_of=as_of, settle=f"{settle}s", **OPTIONS)
    counts = log.counts
    assert counts.read == len(rows) + 2
    assert counts.read == counts.accepted + counts.refused + counts.duplicates + counts.unsettled
    assert counts.refused == len(rows) - sum(map(is_good, rows))
    assert counts.accepted == len(log.exposures)
    keys = {(row["user_id"], row["item_id"], row["seconds"]) for row in rows if is_good(row)}
    assert counts.duplicates == sum(map(is_good, rows)) - len(keys)
    assert counts.unsettled == sum(at >= 6 - settle for _, _, at in keys)


@settings(max_examples=20, deadline=None)
@given(rows=LOGS, data=st.data())
def test_the_order_of_rows_means_nothing(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    """But for which of two duplicates is kept."""
    once = list({(row["user_id"], row["item_id"], row["seconds"]): row for row in rows}.values())
    first = read_events(frame_of(once), **OPTIONS)
    again = read_events(frame_of(data.draw(st.permutations(once))), **OPTIONS)
    assert sorted_rows(first) == sorted_rows(again)
    assert first.counts == again.counts


@settings(max_examples=20, deadline=None)
@given(rows=LOGS)
def test_the_names_of_users_and_items_mean_nothing(rows: list[dict[str, Any]]) -> None:
    frame = frame_of(rows)
    renamed = frame.with_columns(
        user_id="u" + pl.col("user_id").cast(pl.String),
        item_id=pl.col("item_id").replace({"a": "z", "b": "a"}),
    )
    first, again = read_events(frame, **OPTIONS), read_events(renamed, **OPTIONS)
    back = again.exposures.with_columns(
        user_id=pl.col("user_id").str.slice(1).cast(pl.Int64),
        item_id=pl.col("item_id").replace({"z": "a", "a": "b"}),
    )
    assert back.equals(first.exposures)
    assert again.counts == first.counts


@settings(max_examples=20, deadline=None)
@given(rows=LOGS, after=st.integers(1, 5))
def test_deleting_the_future_changes_nothing(rows: list[dict[str, Any]], after: int) -> None:
    as_of = NOON + timedelta(seconds=after)
    past = [row for row in rows if row["seconds"] is None or row["seconds"] < after]
    liked = {"user_id": 8, "item_id": "b", "seconds": 0, "liked": 1.0, "clicks": None, "history_only": None}
    whole = read_events(frame_of([liked, *rows]), as_of=as_of, **OPTIONS)
    cut = read_events(frame_of([liked, *past]), as_of=as_of, **OPTIONS)
    assert cut.exposures.equals(whole.exposures)
    assert (cut.counts, cut.as_of) == (whole.counts, whole.as_of)


@settings(max_examples=12, deadline=None)
@given(rows=LOGS)
def test_csv_and_parquet_agree(rows: list[dict[str, Any]]) -> None:
    frame = frame_of(rows)
    with tempfile.TemporaryDirectory() as folder:
        frame.write_csv(Path(folder) / "x.csv")
        frame.write_parquet(Path(folder) / "x.parquet")
        csv, parquet = (read_events(Path(folder) / name, **OPTIONS) for name in ("x.csv", "x.parquet"))
    assert csv.exposures.equals(parquet.exposures)
    assert csv.counts == parquet.counts
    assert csv.refused.select("row", "reasons").equals(parquet.refused.select("row", "reasons"))


@settings(max_examples=12, deadline=None)
@given(rows=LOGS)
def test_reading_twice_the_log_changes_only_the_duplicates(rows: list[dict[str, Any]]) -> None:
    once, frame = read_events(frame_of(rows), **OPTIONS), frame_of(rows)
    twice = read_events(pl.concat([frame, frame]), **OPTIONS)
    assert twice.exposures.equals(once.exposures)
    assert twice.counts.duplicates == 2 * once.counts.duplicates + once.counts.accepted
    assert twice.counts.refused == 2 * once.counts.refused


def test_equal_hashes_are_not_equal_keys(monkeypatch: Any) -> None:
    """Duplicates are found by their hash, then looked at closely."""
    frame = frame_of([])
    expected = read_events(frame, **OPTIONS)
    monkeypatch.setattr(pl.DataFrame, "hash_rows", lambda self: pl.Series([7] * len(self), dtype=pl.UInt64))
    assert read_events(frame, **OPTIONS).exposures.equals(expected.exposures)
    assert read_events(pl.concat([frame, frame]), **OPTIONS).counts.duplicates == 2
