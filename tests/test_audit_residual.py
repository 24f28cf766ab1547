"""What a press says beyond dwell: slow loops, planted effects, and worlds whose truth is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys import World, simulate
from recsys.audit._residual import residual_press
from recsys.audit._residual_after import mark_sessions, rates_after
from recsys.audit._residual_means import predict_held_out
from recsys.audit._residual_past import describe_past
from recsys.audit._result import Missing, ResidualPress
from recsys.config import ModelSettings
from recsys.errors import UsageError
from recsys.events import EventLog, read_events
from recsys.model import WillLikeModel

START = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = ModelSettings()
#: Per-press effect in the planted logs, in shares.
PLANTED = 0.2


def measured(found: ResidualPress | Missing) -> ResidualPress:
    assert isinstance(found, ResidualPress), found
    return found


def read(frame: pl.DataFrame, **settings: Any) -> EventLog:
    return read_events(frame, **{"signals": ["long_view"], **settings})


def draw(seed: int, effect: float = PLANTED, users: int = 400, random: bool = True) -> pl.DataFrame:
    """Six creators a user, once in one session and twice in the next; dwell and habit drive press and outcome."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), 6)
    creator = np.tile(np.arange(6), users)
    habit, dwell = rng.normal(size=users)[user], rng.exponential(10, len(user))
    # A bow of dwell and habit that both press and outcome follow, and no straight line would hold fixed.
    bow = np.abs(np.log1p(dwell) - 2)
    liked = rng.random(len(user)) < np.clip(0.2 + 0.4 * bow + 0.1 * habit, 0, 1)
    later = 0.15 + 0.3 * np.clip(bow, 0, 1.5) + effect * liked
    first = {"user_id": user, "creator_id": creator, "liked": liked, "dwell_seconds": dwell, "hour": 0}
    shown = [first | {"long_view": rng.random(len(user)) < 0.3}]
    for place in (1, 2):
        seen = {"user_id": user, "creator_id": creator, "liked": rng.random(len(user)) < 0.3, "hour": 9}
        watched = {
            "dwell_seconds": rng.exponential(10, len(user)),
            "long_view": rng.random(len(user)) < later,
        }
        shown.append(seen | watched | {"place": place})
    rows = pl.concat([pl.DataFrame(one) for one in shown], how="diagonal").with_row_index("item_id")
    seconds = pl.duration(hours="hour", seconds=pl.col("creator_id") * 6 + pl.col("place").fill_null(0))
    return rows.select(pl.all().exclude("hour", "place"), timestamp=START + seconds, is_random=pl.lit(random))


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


def test_a_press_is_no_feature_of_its_own_exposure() -> None:
    rows = read(draw(1, users=20)).exposures
    swapped = rows.with_columns(liked=pl.col("liked").reverse())
    last = rows["timestamp"] == rows["timestamp"].max()
    kept = rows.with_columns(liked=pl.when(last).then(swapped["liked"]).otherwise("liked"))
    twice = [describe_past(one, ["long_view", "dwell_seconds"]) for one in (rows, kept)]
    shift = twice[0] - twice[1]
    # The mean of all moves, and every shrunk mean with it, whoever pressed last.
    assert rows.filter(last)["liked"].to_list() != kept.filter(last)["liked"].to_list()
    assert np.abs(shift).max() <= 10 / 10 * abs(rows["liked"].mean() - kept["liked"].mean()) + 1e-12  # type: ignore[operator]


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


def test_a_planted_effect_is_found() -> None:
    found = measured(residual_press(read(draw(seed=1)), "long_view", SETTINGS, threads=1))
    assert found.effect.low < PLANTED < found.effect.high
    assert found.effect.high - found.effect.low < 0.15
    assert found.p_value < 1e-6
    assert (found.exposures, found.users) == (2400, 400)
    assert (
        found.presses == draw(seed=1).filter(pl.col("timestamp") < START + timedelta(hours=1))["liked"].sum()
    )


def test_what_dwell_says_is_not_the_presss() -> None:
    statistics = []
    for seed in range(4):
        found = residual_press(read(draw(seed, effect=0.0)), "long_view", SETTINGS, threads=1)
        statistics.append(measured(found).statistic)
    assert np.abs(statistics).max() < 3.3
    assert abs(np.mean(statistics)) < 3 / np.sqrt(4)


def test_the_order_of_the_rows_and_other_threads_change_nothing() -> None:
    frame = draw(seed=2, users=150)
    once = residual_press(read(frame), "long_view", SETTINGS, threads=1)
    again = residual_press(
        read(frame.sample(fraction=1, shuffle=True, seed=4)), "long_view", SETTINGS, threads=2
    )
    assert measured(once) == measured(again)


def test_exposures_that_somebody_chose_are_not_looked_at() -> None:
    frame = draw(seed=3)
    chosen = frame.filter(pl.col("timestamp") > START + timedelta(hours=1)).with_columns(
        pl.col("item_id") + 100_000,
        pl.col("timestamp") + timedelta(days=1),
        long_view=pl.lit(False),
        is_random=pl.lit(None, pl.Boolean),
    )
    once, more = (
        measured(residual_press(read(f), "long_view", SETTINGS, threads=1))
        for f in (frame, pl.concat([frame, chosen]))
    )
    assert (once.exposures, once.presses) == (more.exposures, more.presses)
    # Their dwell bends the spline, and nothing else.
    assert once.effect.value == pytest.approx(more.effect.value, abs=0.02)


@pytest.mark.parametrize(
    ("link", "exposures"),
    [
        ({}, 2400),
        ({"creator_id": pl.lit(None, pl.Int64), "category": pl.col("creator_id") % 2}, 2400),
        ({"creator_id": pl.lit(None, pl.Int64)}, 2400),
    ],
)
def test_without_enough_of_a_link_the_next_is_taken(link: dict[str, pl.Expr], exposures: int) -> None:
    log = read(draw(seed=4).with_columns(**link))
    found = measured(residual_press(log, "long_view", SETTINGS, threads=1))
    assert found.exposures == exposures
    shares = {1: PLANTED, 2: PLANTED / 3, 3: PLANTED / 6}
    expected = shares[1 + bool(link) + (bool(link) and "category" not in link)]
    assert found.effect.low < expected < found.effect.high
    assert found.effect.high - found.effect.low < 0.13


@pytest.mark.parametrize(
    ("change", "why", "needs"),
    [
        (lambda frame: frame.drop("is_random"), "drawn at random", "events.columns.is_random"),
        (lambda frame: frame.with_columns(is_random=False), "drawn at random", "events.columns.is_random"),
        (lambda frame: frame.filter(pl.col("user_id") < 50), "300 random exposures are followed", "200 more"),
        (
            lambda frame: frame.with_columns(
                liked=pl.col("liked") & (pl.col("user_id") < 40) & (pl.col("user_id") > 0)
            ),
            "3[0-9] pressed and (399|400) did not",
            "at least 40 of each",
        ),
        (
            lambda frame: frame.with_columns(liked=pl.col("liked") | (pl.col("user_id") > 30)),
            "pressed and (2[0-9]|3[01]) did not",
            "at least 40 of each",
        ),
        (lambda frame: frame.with_columns(long_view=0), "same in all later sessions", "varies"),
        (lambda frame: frame.with_columns(session_id=1), "0 random exposures are followed", "500 more"),
    ],
)
def test_what_cannot_be_estimated_says_what_it_needs(change: Any, why: str, needs: str) -> None:
    found = residual_press(read(change(draw(seed=5))), "long_view", SETTINGS)
    assert isinstance(found, Missing)
    assert found.question.endswith("?")
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(found.why)
    assert needs in found.needs


def test_an_outcome_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"no outcome 'long_vie': did you mean 'long_view'\?"):
        residual_press(read(draw(seed=6)), "long_vie", SETTINGS)


@pytest.fixture(scope="module")
def statistics() -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for name, seeds in {"null": 3, "habit": 3, "large": 1}.items():
        for seed in range(seeds):
            world = World.preset(name, exposures=15_000, epsilon=1.0, seed=seed)
            one = residual_press(read(simulate(world).events), "long_view", SETTINGS, threads=1)
            found.setdefault(name, []).append(measured(one).statistic)
    return found


def test_worlds_without_value_in_a_press_are_not_said_to_have_it(statistics: dict[str, list[float]]) -> None:
    values = np.array(statistics["null"] + statistics["habit"])
    assert (np.abs(values) > 1.96).sum() <= 2
    assert abs(values.mean()) < 3 / np.sqrt(len(values))


def test_a_world_where_presses_tell_is_found(statistics: dict[str, list[float]]) -> None:
    assert min(statistics["large"]) > 4


def test_chance_and_sessions_do_not_move_the_model(
    log: EventLog, frame: pl.DataFrame, small: ModelSettings
) -> None:
    rng = np.random.default_rng(0)
    told = frame.with_columns(
        is_random=pl.Series(rng.random(len(frame)) < 0.5),
        session_id=pl.Series(rng.integers(0, 9, len(frame))),
    )
    more = read(told)
    assert {"is_random", "session_id"} <= set(more.exposures.columns)
    models = [WillLikeModel.fit(one, small, threads=1) for one in (log, more)]
    pairs = frame.select("user_id", "item_id").head(200)
    first, second = (model.predict_proba(pairs) for model in models)
    assert first.equals(second)
