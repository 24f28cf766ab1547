"""What the residual press value is made of: later rates and past features by slow loops, means held out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from recsys.audit._residual_after import mark_sessions, rates_after
from recsys.audit._residual_means import predict_held_out
from recsys.audit._residual_past import describe_past

pytestmark = pytest.mark.slow

START = datetime(2026, 1, 1, tzinfo=UTC)


def sessions_of(rows: pl.DataFrame) -> list[tuple[datetime, datetime]]:
    """Start and end of every row's session, by looking at all other rows."""
    told = rows.to_dicts()
    if "session_id" in rows.columns:
        mates = [
            [
                b["timestamp"]
                for b in told
                if (a["user_id"], a["session_id"]) == (b["user_id"], b["session_id"])
            ]
            for a in told
        ]
        return [(min(times), max(times)) for times in mates]
    found = []
    for a in told:
        times = sorted(b["timestamp"] for b in told if b["user_id"] == a["user_id"])
        low = high = times.index(a["timestamp"])
        while low and times[low] - times[low - 1] < timedelta(minutes=30):
            low -= 1
        while high + 1 < len(times) and times[high + 1] - times[high] < timedelta(minutes=30):
            high += 1
        found.append((times[low], times[high]))
    return found


def rates_by_loop(rows: pl.DataFrame, link: list[str]) -> list[tuple[int, float]]:
    ends, told, found = sessions_of(rows), rows.to_dicts(), []
    for a, (_, end) in zip(told, ends, strict=True):
        after = [
            b["came_about"]
            for b, (start, _) in zip(told, ends, strict=True)
            if start > end and b["is_random"] and b["came_about"] is not None
            if all(a[name] == b[name] and a[name] is not None for name in ["user_id", *link])
        ]
        if a["is_random"] and after:
            found.append((a["row"], float(np.mean(after))))
    return found


@pytest.mark.parametrize("with_sessions", [True, False])
@pytest.mark.parametrize("link", [["creator_id"], ["category"], []])
def test_later_rates_agree_with_a_slow_loop(link: list[str], with_sessions: bool) -> None:
    rng = np.random.default_rng(3)
    count = 250
    rows = pl.DataFrame(
        {
            "user_id": rng.integers(0, 6, count),
            "timestamp": [START + timedelta(minutes=int(m)) for m in rng.choice(2000, count, replace=False)],
            "creator_id": pl.Series(rng.integers(-1, 4, count)).replace(-1, None),
            "category": rng.integers(0, 2, count),
            "is_random": rng.random(count) < 0.7,
            "history_only": False,
            "came_about": pl.Series(rng.integers(-1, 2, count)).replace(-1, None).cast(pl.Float64),
        }
    ).sort("user_id", "timestamp")
    rows = rows.with_row_index("row")
    if with_sessions:
        visits = (pl.col("timestamp") - START).dt.total_minutes() // 100
        rows = rows.with_columns(session_id=visits)
    found = rates_after(mark_sessions(rows), link).sort("row").select("row", "later_rate").rows()
    expected = rates_by_loop(rows, link)
    assert len(expected) > 50
    assert [row for row, _ in found] == [row for row, _ in expected]
    np.testing.assert_allclose([rate for _, rate in found], [rate for _, rate in expected])


def test_what_has_no_session_or_no_time_is_not_followed() -> None:
    rows = pl.DataFrame(
        {
            "user_id": 1,
            "timestamp": [START + timedelta(hours=hour) for hour in range(4)],
            "session_id": [1, None, 2, 3],
            "history_only": [False, False, False, True],
            "is_random": True,
            "came_about": 1.0,
            "row": range(4),
        }
    )
    assert rates_after(mark_sessions(rows), [])["row"].to_list() == [0]


def test_a_session_that_began_meanwhile_is_not_later() -> None:
    rows = pl.DataFrame(
        {
            "user_id": 1,
            "timestamp": [START + timedelta(hours=hour) for hour in range(5)],
            "session_id": [1, 2, 1, 2, 3],
            "history_only": False,
            "is_random": True,
            "came_about": [0.0, 0.0, 0.0, 0.0, 1.0],
            "row": range(5),
        }
    )
    found = rates_after(mark_sessions(rows), [])
    assert found.sort("row").select("row", "later_rate").rows() == [(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0)]


def past_by_loop(rows: pl.DataFrame) -> np.ndarray:
    """The features of `describe_past` for one flag, without the link's."""
    told, prior = rows.to_dicts(), 10
    overall = {
        "long_view": np.mean([np.log1p(r["long_view"]) for r in told if r["long_view"] is not None]),
        "liked": np.mean([r["liked"] for r in told]),
    }
    table = []
    for a in told:
        columns: list[float] = []
        for kind in ("user_id", "item_id"):
            before = [b for b in told if b[kind] == a[kind] and b["timestamp"] < a["timestamp"]]
            for name in ("long_view", "liked"):
                values = [
                    np.log1p(float(b[name])) if name == "long_view" else b[name]
                    for b in before
                    if b[name] is not None
                ]
                columns.append((sum(values) + prior * overall[name]) / (len(values) + prior))
            columns.append(np.log1p(len(before)))
        table.append(columns)
    return np.array(table)


def test_the_past_agrees_with_a_slow_loop() -> None:
    rng = np.random.default_rng(5)
    rows = pl.DataFrame(
        {
            "user_id": rng.integers(0, 5, 120),
            "item_id": rng.integers(0, 7, 120),
            "timestamp": [START + timedelta(hours=int(hour)) for hour in rng.integers(0, 40, 120)],
            "liked": rng.random(120) < 0.3,
            "long_view": pl.Series(rng.integers(-1, 2, 120)).replace(-1, None).cast(pl.Float64),
        }
    )
    found = describe_past(rows, ["long_view"])
    np.testing.assert_allclose(found[:, -6:], past_by_loop(rows))
    np.testing.assert_array_equal(found[:, 1], rows["long_view"].is_null())
    known = rows["long_view"].is_not_null().to_numpy()
    np.testing.assert_allclose(found[known, 0], np.log1p(rows["long_view"].drop_nulls()))


def test_what_a_user_has_over_for_a_category_counts_no_presses() -> None:
    rows = pl.DataFrame(
        {
            "user_id": 1,
            "item_id": range(4),
            "category": ["a", "a", "b", "a"],
            "timestamp": [START + timedelta(hours=hour) for hour in range(4)],
            "liked": [True, True, False, False],
            "long_view": [1.0, 1.0, 0.0, 0.0],
        }
    )
    found = describe_past(rows, ["long_view"])
    # The exposure 2; user, item and category 3 each; user and category 2.
    assert found.shape == (4, 2 + 9 + 2)
    flag, mean = np.log(2), np.log(2) / 2
    user = (2 * flag + 10 * mean) / 13
    np.testing.assert_allclose(found[3, -2:], [(2 * flag + 10 * user) / 12 - user, np.log(3)])


@pytest.mark.parametrize("labels", [True, False])
def test_held_out_means_come_from_other_users(labels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # The number of trees is what all folds choose together: leave no choice that one row could sway.
    monkeypatch.setattr("recsys.audit._residual_means.ROUNDS", (0, 60))
    rng = np.random.default_rng(2)
    features, folds = rng.normal(size=(2000, 3)), rng.integers(0, 4, 2000)
    p = 1 / (1 + np.exp(-2 * np.abs(features[:, 0]) + 1 - features[:, 1]))
    values = (rng.random(2000) < p).astype(float) if labels else p + rng.normal(0, 0.1, 2000)
    found = predict_held_out(features, values, folds, labels=labels, seed=0, threads=1)
    assert np.corrcoef(found, p)[0, 1] > 0.9
    values[0] = 1 - values[0]
    again = predict_held_out(features, values, folds, labels=labels, seed=0, threads=1)
    own = folds == folds[0]
    np.testing.assert_array_equal(again[own], found[own])
    assert (again[~own] != found[~own]).mean() > 0.9
