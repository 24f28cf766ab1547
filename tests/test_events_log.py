"""Laws of the event log: what happened after a view belongs to it, once, and only by then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import ConfigError, DataError
from recsys.events import EventLog, read_events

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
TYPES = {"view": ["VIEW", "OPEN"], "like": ["LIKE", "LOVE"], "follow": ["FOLLOW"]}


def read_log(*events: tuple[Any, ...], **options: Any) -> EventLog:
    """Read (user, item, seconds after noon, type), in that order."""
    rows = [(user, item, NOON + timedelta(seconds=at), kind) for user, item, at, kind in events]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "event_type"], orient="row")
    described = {"layout": "event_log", "event_types": TYPES, "outcomes": ["follow"], "like_within": "1m"}
    return read_events(frame, **{**described, **options})


def seconds(log: EventLog, column: str) -> list[float | None]:
    since = (log.exposures[column] - NOON).dt.total_microseconds() / 1e6
    return since.to_list()


A_LIKE = (9, 9, 0, "VIEW"), (9, 9, 1, "LIKE")


@pytest.mark.parametrize(
    ("events", "liked_at", "alone"),
    [
        ([(0, "VIEW"), (5, "LIKE")], [5], 0),
        ([(0, "VIEW"), (0, "LIKE")], [0], 0),
        ([(5, "LIKE"), (0, "VIEW")], [5], 0),
        ([(0, "VIEW"), (60, "LIKE")], [60], 0),
        ([(0, "VIEW"), (61, "LIKE")], [None], 1),
        ([(5, "VIEW"), (0, "LIKE")], [None], 1),
        ([(0, "VIEW"), (10, "VIEW"), (15, "LIKE")], [None, 15], 0),
        ([(0, "VIEW"), (10, "OPEN"), (10, "LIKE")], [None, 10], 0),
        ([(0, "VIEW"), (20, "VIEW"), (15, "LIKE")], [15, None], 0),
        ([(0, "VIEW"), (10, "VIEW"), (5, "LIKE"), (15, "LIKE")], [5, 15], 0),
        ([(0, "VIEW"), (20, "LIKE"), (10, "LOVE"), (30, "LIKE")], [10], 0),
        ([(0, "VIEW"), (10, "SHARE"), (15, "FOLLOW")], [None], 0),
    ],
)
def test_a_like_belongs_to_the_last_view_within_reach(
    events: list[tuple[int, str]], liked_at: list[int | None], alone: int
) -> None:
    log = read_log(*((1, 1, at, kind) for at, kind in events), *A_LIKE)
    views = log.exposures.filter(~pl.col("factors_only") & (pl.col("user_id") == 1))
    assert [None if at is None else (at - NOON).total_seconds() for at in views["liked_at"]] == liked_at
    assert views["liked"].to_list() == [at is not None for at in liked_at]
    assert log.counts.likes_without_view == alone


@pytest.mark.parametrize("other", [(2, 1), (1, 2)])
def test_a_like_belongs_to_its_own_user_and_item(other: tuple[int, int]) -> None:
    log = read_log((1, 1, 0, "VIEW"), (*other, 1, "LIKE"), *A_LIKE)
    assert log.exposures.filter(user_id=1, item_id=1)["liked"].to_list() == [False]
    assert log.counts.likes_without_view == 1


def test_a_like_without_a_view_feeds_factors_only() -> None:
    log = read_log((1, 1, 0, "LIKE"), *A_LIKE, (1, 2, 3, "VIEW"))
    assert log.exposures.select("user_id", "liked", "factors_only", "follow").rows() == [
        (9, True, False, 0.0),
        (1, False, False, 0.0),
        (1, True, True, None),
    ]
    assert not log.positives_only


def test_outcomes_are_events_too() -> None:
    log = read_log((1, 1, 0, "VIEW"), (1, 1, 7, "FOLLOW"), (1, 1, 5, "FOLLOW"), (2, 2, 0, "FOLLOW"), *A_LIKE)
    assert log.exposures["follow"].to_list() == [1.0, 0.0]
    assert seconds(log, "follow_at") == [5, None]
    assert log.outcomes == ("follow",)


def test_columns_of_the_view_are_signals() -> None:
    rows = {
        "user_id": 1,
        "item_id": 1,
        "at": [0, 10, 20],
        "kind": ["VIEW", "LIKE", "VIEW"],
        "dwell_seconds": [3.0, 9.0, None],
    }
    frame = pl.DataFrame(rows).with_columns(at=pl.lit(NOON) + pl.duration(seconds="at"))
    columns = {"time": "at", "event_type": "kind"}
    log = read_events(
        frame,
        layout="event_log",
        event_types=TYPES,
        columns=columns,
        signals=["2 * dwell_seconds AS twice", "follow"],
    )
    assert log.signals == ("twice", "follow", "dwell_seconds")
    assert log.exposures["twice"].to_list() == [6.0, None]
    assert log.exposures["liked"].to_list() == [True, False]


def test_repeated_events_are_counted_once() -> None:
    once = [(1, 1, 0, "VIEW"), (1, 1, 5, "LIKE"), (1, 1, 6, "FOLLOW"), *A_LIKE]
    twice = read_log(*once, *once)
    assert twice.exposures.equals(read_log(*once).exposures)
    assert twice.counts.duplicates == len(once)


def test_two_kinds_of_view_at_one_time_are_one_exposure() -> None:
    log = read_log((1, 1, 0, "OPEN"), (1, 1, 0, "VIEW"), *A_LIKE)
    assert (len(log.exposures), log.counts.duplicates) == (2, 1)


def test_a_type_may_be_a_view_and_an_outcome() -> None:
    log = read_log((1, 1, 0, "VIEW"), (1, 1, 0, "OPEN"), *A_LIKE, event_types=TYPES | {"follow": ["OPEN"]})
    assert log.exposures["follow"].to_list() == [1.0, 0.0]


@pytest.mark.parametrize(("as_of", "liked"), [(5, False), (5.000001, True), (6, True)])
def test_a_like_at_or_after_as_of_leaves_the_view_unliked(as_of: float, liked: bool) -> None:
    events = [*A_LIKE, (1, 1, 2, "VIEW"), (1, 1, 5, "LIKE"), (1, 1, 4, "FOLLOW")]
    log = read_log(*events, as_of=NOON + timedelta(seconds=as_of))
    assert log.exposures.filter(user_id=1)["liked"].to_list() == [liked]
    assert log.exposures.filter(user_id=1)["follow"].to_list() == [1.0]


def test_settle_leaves_out_young_views_but_no_likes_alone() -> None:
    log = read_log(
        *A_LIKE, (1, 1, 9, "VIEW"), (2, 2, 9, "LIKE"), settle="5s", as_of=NOON + timedelta(seconds=10)
    )
    assert log.exposures["user_id"].to_list() == [9, 2]
    assert (log.counts.unsettled, log.counts.likes_without_view) == (1, 1)


def test_events_without_a_type_are_refused() -> None:
    log = read_log((1, 1, 0, None), (1, 1, 1, ""), *A_LIKE, max_refused=0.5)
    assert log.counts.reasons == {"event_type_missing": 2}


@pytest.mark.parametrize("kind", [pl.String, pl.Categorical, pl.Enum(["1", "2"]), pl.Int8], ids=str)
def test_event_types_may_be_numbers_or_categories(kind: Any) -> None:
    types = pl.Series(["1", "2", "1"]).cast(kind)
    frame = pl.DataFrame(
        {
            "user_id": "a",
            "item_id": "b",
            "timestamp": [NOON, NOON, NOON + timedelta(hours=1)],
            "event_type": types,
        }
    )
    log = read_events(frame, layout="event_log", event_types={"view": ["1"], "like": ["2"]})
    assert log.exposures["liked"].to_list() == [True, False]


def test_without_like_types_every_view_counts_as_liked() -> None:
    log = read_log((1, 1, 0, "VIEW"), (1, 2, 0, "VIEW"), event_types={"view": ["VIEW"]}, outcomes=[])
    assert log.positives_only
    assert log.exposures.select("liked", "factors_only").rows() == [(True, True)] * 2
    assert log.counts.likes_without_view == 0


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (
            {"event_types": {"view": ["VEIW"], "like": ["LIKE"]}, "outcomes": []},
            ConfigError,
            "no event has the type 'VEIW' .* did you mean 'VIEW'",
        ),
        (
            {"event_types": {"view": ["VIEW"], "like": ["LOVE"]}, "outcomes": []},
            DataError,
            "no row of .* event_types.like",
        ),
        (
            {"event_types": {"like": ["LIKE"]}, "outcomes": []},
            ConfigError,
            "needs the event types that are views",
        ),
        ({"outcomes": ["folow"]}, ConfigError, "no column 'folow' for 'folow': did you mean 'follow'"),
        ({"signals": ["view"]}, ConfigError, "'view' is a name that recsys uses itself"),
        ({"columns": {"event_type": "event"}}, ConfigError, "no column 'event' for 'event_type'"),
    ],
)
def test_a_wrong_event_log_is_named(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        read_log(*A_LIKE, **options)


def _slowly(events: list[tuple[int, int, int, str]], within: int) -> dict[tuple[int, int, int], int | None]:
    """Oracle: the first like for which a view is the last one before it, by going through all pairs."""
    views = {(user, item, at): None for user, item, at, kind in events if kind == "VIEW"}
    first: dict[tuple[int, int, int], int | None] = dict(views)
    for user, item, at, kind in events:
        reach = [seen for (u, i, seen) in views if (u, i) == (user, item) and 0 <= at - seen <= within]
        if kind == "LIKE" and reach:
            key = (user, item, max(reach))
            known = first[key]
            first[key] = at if known is None else min(at, known)
    return first


EVENT = st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(0, 12), st.sampled_from(["VIEW", "LIKE"]))


@settings(max_examples=30, deadline=None)
@given(events=st.lists(EVENT, min_size=1, max_size=25), within=st.integers(0, 6))
def test_folding_agrees_with_going_through_all_pairs(
    events: list[tuple[int, int, int, str]], within: int
) -> None:
    log = read_log(*events, *A_LIKE, like_within=f"{within}s", outcomes=[])
    views = log.exposures.filter(~pl.col("factors_only") & (pl.col("user_id") != 9))
    found = {
        (user, item, int((at - NOON).total_seconds())): None
        if liked is None
        else int((liked - NOON).total_seconds())
        for user, item, at, liked in views.select("user_id", "item_id", "timestamp", "liked_at").iter_rows()
    }
    assert found == _slowly(events, within)
    likes = {event for event in events if event[3] == "LIKE"}
    alone = {
        like
        for like in likes
        if not any(0 <= like[2] - at <= within for u, i, at in found if (u, i) == like[:2])
    }
    assert log.counts.likes_without_view == len(alone) + (within < 1)


@pytest.mark.parametrize(("user", "item"), [(-(2**62), 5), ("007", "ü"), (2**63, 1)])
def test_ids_of_any_kind_fold(user: Any, item: Any) -> None:
    log = read_log((user, item, 0, "VIEW"), (user, item, 1, "LIKE"), (item, user, 2, "VIEW"), outcomes=[])
    assert log.exposures.select("user_id", "item_id", "liked").rows() == [
        (user, item, True),
        (item, user, False),
    ]


def test_only_some_columns_keep_what_says_which_rows_feed_what() -> None:
    log = read_log((1, 1, 0, "VIEW"), (1, 1, 5, "LIKE"), (1, 1, 6, "FOLLOW"), (2, 1, 7, "VIEW"))
    kept = log.only("user_id", "liked", "no such column")
    assert kept.exposures.columns == ["user_id", "factors_only", "liked_at", "liked", "history_only"]
    assert kept.exposures.equals(log.exposures.select(kept.exposures.columns))
    assert kept.shown.columns == kept.exposures.columns
