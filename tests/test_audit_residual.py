"""What a press says beyond dwell: planted effects, and worlds whose truth is known."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys import World, simulate
from recsys.audit._residual import residual_press
from recsys.audit._residual_past import describe_past
from recsys.audit._result import Missing, ResidualPress
from recsys.config import ModelSettings
from recsys.errors import UsageError
from recsys.events import EventLog, read_events
from recsys.model import WillLikeModel

pytestmark = pytest.mark.slow

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


def test_a_press_is_no_feature_of_its_own_exposure() -> None:
    rows = read(draw(1, users=20)).exposures
    swapped = rows.with_columns(liked=pl.col("liked").reverse())
    last = rows["timestamp"] == rows["timestamp"].max()
    kept = rows.with_columns(liked=pl.when(last).then(swapped["liked"]).otherwise("liked"))
    twice = [describe_past(one, ["long_view", "dwell_seconds"]) for one in (rows, kept)]
    shift = twice[0] - twice[1]
    # The mean of all moves, and every shrunk mean with it, whoever pressed last.
    assert rows.filter(last)["liked"].to_list() != kept.filter(last)["liked"].to_list()
    assert np.abs(shift).max() <= abs(rows["liked"].mean() - kept["liked"].mean()) + 1e-12  # type: ignore[operator]


def test_a_planted_effect_is_found() -> None:
    found = measured(residual_press(read(draw(seed=1)), "long_view", SETTINGS, threads=1))
    assert found.effect.low < PLANTED < found.effect.high
    assert found.effect.high - found.effect.low < 0.15
    assert found.p_value < 1e-6
    assert (found.link, found.exposures, found.users) == ("creator_id", 2400, 400)
    assert (
        found.presses == draw(seed=1).filter(pl.col("timestamp") < START + timedelta(hours=1))["liked"].sum()
    )


def test_what_dwell_says_is_not_credited_to_the_press() -> None:
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
    ("change", "link", "among"),
    [
        ({}, "creator_id", 1),
        ({"creator_id": pl.lit(None, pl.Int64), "category": pl.col("creator_id") % 2}, "category", 3),
        ({"creator_id": pl.lit(None, pl.Int64)}, "any", 6),
    ],
    ids=["creator", "category", "any"],
)
def test_without_enough_of_a_link_the_next_is_taken(
    change: dict[str, pl.Expr], link: str, among: int
) -> None:
    """A press on one of the creators that share the link moves the rate over all of them by its share."""
    log = read(draw(seed=4).with_columns(**change))
    found = measured(residual_press(log, "long_view", SETTINGS, threads=1))
    assert (found.link, found.exposures) == (link, 2400)
    assert found.effect.low < PLANTED / among < found.effect.high
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
    assert re.search(why, found.why)
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
